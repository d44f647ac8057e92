"""The other processes of a bench: ``python -m paxospp.cli.bench.child echo|load``.

Each is told what to do in lines of JSON on its standard input, answers in lines on its standard
output, and ends when its input does: it never outlives whoever started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import IO, Any

from paxospp.errors import PaxosppError

LINE_BYTES_MAX = 64 << 20


class ChildEndedError(PaxosppError):
    """A process of the bench ended by itself; the text is what it said last."""


class Child:
    """The parent's end of one such process."""

    def __init__(
        self, role: str, process: subprocess.Popen[bytes], out: asyncio.StreamReader, err: asyncio.StreamReader
    ) -> None:
        self._role = role
        self._process = process
        self._out = out
        self._err = err

    def tell(self, line: object) -> None:
        """If it has ended, ``hear`` will say why."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(line).encode() + b"\n")  # far less than a pipe holds

    async def hear(self) -> Any:
        """The next line it writes."""
        line = await self._out.readline()
        if not line:
            said = (await self._err.read()).decode(errors="replace").strip().splitlines()
            code = self._process.wait()
            raise ChildEndedError(f"the bench's {self._role} process ended with {code}: {said[-1] if said else '-'}")
        return json.loads(line)


@contextlib.asynccontextmanager
async def started(role: str) -> AsyncIterator[Child]:
    """A process that does ``role``, gone when this is left."""
    process = _start(role)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(_end, process)
        out = await stack.enter_async_context(_lines_of(process.stdout))
        err = await stack.enter_async_context(_lines_of(process.stderr))
        yield Child(role, process, out, err)


def _start(role: str) -> subprocess.Popen[bytes]:
    # Not by asyncio: uvloop's subprocesses run gRPC's fork handlers, and every tenth dies of them (SIGSEGV) before its
    # exec while another thread is in gRPC. Popen forks without them.
    return subprocess.Popen(
        (sys.executable, "-m", __name__, role),
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A session of its own: Ctrl-C is for the bench, which then ends its processes in order.
        start_new_session=True,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.kill()
    process.wait()


@contextlib.asynccontextmanager
async def _lines_of(pipe: IO[bytes] | None) -> AsyncIterator[asyncio.StreamReader]:
    assert pipe is not None
    reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    try:
        yield reader
    finally:
        transport.close()


async def orders() -> asyncio.StreamReader:
    """The child's end: what it is told, line by line."""
    reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def answer(line: object) -> None:
    print(json.dumps(line), flush=True)


def _work(role: str) -> Callable[[], Coroutine[Any, Any, None]]:
    if role == "echo":
        from paxospp.cli.bench.echo import serve

        return serve
    from paxospp.cli.bench.clients import load

    return load


def _main() -> None:
    from paxospp.cli import grpc_core, loop
    from paxospp.cli.arguments import one_line

    grpc_core.set_up()
    try:
        loop.run(_work(sys.argv[1])())
    except PaxosppError as error:
        sys.exit(one_line(error))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    _main()
