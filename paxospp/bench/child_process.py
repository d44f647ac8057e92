"""Child processes of a benchmark, and how parent and child talk.

A child runs ``python -m paxospp.bench.child_main ROLE``. It reads lines of JSON from its standard input, answers in
lines of JSON on its standard output, and exits when its input is closed, so it never outlives its parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import IO, Any

from paxospp.errors import PaxosppError

LINE_BYTES_MAX = 64 << 20


class ChildEndedError(PaxosppError):
    """A child process ended by itself; the message holds the last line of its standard error."""


class ChildProcess:
    """A running child, as its parent sees it."""

    def __init__(
        self, role: str, process: subprocess.Popen[bytes], out: asyncio.StreamReader, err: asyncio.StreamReader
    ) -> None:
        self._role = role
        self._process = process
        self._out = out
        self._err = err

    def send(self, message: object) -> None:
        """Send ``message`` as a line of JSON. If the child has ended, the next ``receive`` says why."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            # A blocking write is fine: a line is much shorter than the buffer of a pipe.
            self._process.stdin.write(json.dumps(message).encode() + b"\n")

    async def receive(self) -> Any:
        """Return the next message of the child.

        Raises:
            ChildEndedError: it ended instead.
        """
        line = await self._out.readline()
        if not line:
            said = (await self._err.read()).decode(errors="replace").strip().splitlines()
            code = self._process.wait()
            raise ChildEndedError(
                f"the {self._role} process of the benchmark ended with exit code {code}: {said[-1] if said else '-'}"
            )
        return json.loads(line)


@contextlib.asynccontextmanager
async def started(role: str) -> AsyncIterator[ChildProcess]:
    """Run a child process in the given role; it is killed on leaving the context."""
    process = _start(role)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(_end, process)
        out = await stack.enter_async_context(_lines_of(process.stdout))
        err = await stack.enter_async_context(_lines_of(process.stderr))
        yield ChildProcess(role, process, out, err)


def _start(role: str) -> subprocess.Popen[bytes]:
    # Not asyncio.create_subprocess_exec: with uvloop it runs gRPC's fork handlers in the child, which crashes about one
    # child in ten (SIGSEGV before exec) while another thread is inside gRPC. Popen forks without running them.
    return subprocess.Popen(
        (sys.executable, "-m", "paxospp.bench.child_main", role),
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A session of its own, so that Ctrl-C reaches the benchmark only, which then ends its children in order.
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


async def messages_of_parent() -> asyncio.StreamReader:
    """Return the stream of the parent's messages, a line of JSON each. Call it in the child."""
    reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def send_to_parent(message: object) -> None:
    """Send ``message`` as a line of JSON. Call it in the child."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
