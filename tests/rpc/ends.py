"""The other end for the tests of rpc: a peer that records frames, and a node that echoes calls."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from paxospp.messages import Accept, Message, Sender
from paxospp.model import Ballot, Kind, NodeId, Slot
from paxospp.rpc.server import ClientConnection, Server
from paxospp.wire.frames import decode_frame, encode_frame
from paxospp.wire.v1 import client_pb2 as pb

N1, N2, N3 = NodeId("n1"), NodeId("n2"), NodeId("n3")
BALLOT = Ballot(1, N1, 5)
LOOPBACK = "127.0.0.1:0"
PATIENCE_S = 10.0


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run ``test`` in an event loop of its own, in debug mode, and check that it leaves no task behind."""

    async def whole() -> None:
        async with asyncio.timeout(60):
            await test()
        # gRPC needs a moment to release a call that was cancelled instead of answered.
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            _, left = await asyncio.wait(left, timeout=0.2)
        assert not left, f"left behind: {left}"

    asyncio.run(whole(), debug=True)


def accept(slot: int, value: bytes = b"v") -> Accept:
    return Accept(ballot=BALLOT, slot=Slot(slot), kind=Kind.COMMANDS, value=value, decided_up_to=Slot(0))


def encode_from(name: NodeId) -> Callable[[NodeId, Any], bytes]:
    return lambda to, messages: encode_frame(Sender(b"", 0, name, 5, 1, 9), to, messages)


async def until(condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    """Poll ``condition`` every few milliseconds until it holds."""
    async with asyncio.timeout(patience_s):
        while not condition():  # noqa: ASYNC110  what is waited for is on the far side of a socket
            await asyncio.sleep(0.002)


def threads_left(patience_s: float = PATIENCE_S) -> list[str]:
    """Return the names of other threads that do not end; gRPC's poller ends soon after its last channel is freed."""
    gc.collect()
    others = [thread for thread in threading.enumerate() if thread is not threading.current_thread()]
    for thread in others:
        thread.join(patience_s)
    return [thread.name for thread in others if thread.is_alive()]


class Peer:
    """A server that records the frames it got; ``hold`` makes it stop reading."""

    def __init__(self, name: NodeId = N2) -> None:
        self.name = name
        self.frames: list[list[Message]] = []
        self.reading = asyncio.Event()
        self.reading.set()
        self.echo = EchoingCalls()
        self.server = Server(on_frame=self._on_frame, calls=self.echo, status=lambda: b'{"name": "n2"}')
        self.address = ""

    @property
    def messages(self) -> list[Message]:
        return [message for frame in self.frames for message in frame]

    async def start(self, listen: str = LOOPBACK) -> Peer:
        port = await self.server.start(listen)
        self.address = f"127.0.0.1:{port}"
        return self

    def hold(self) -> None:
        self.reading.clear()

    async def got(self, count: int) -> list[Message]:
        await until(lambda: len(self.messages) >= count)
        return self.messages

    def _on_frame(self, data: bytes) -> Awaitable[None] | None:
        self.frames.append(decode_frame(data, self.name)[1])
        return None if self.reading.is_set() else self._read_on()

    async def _read_on(self) -> None:
        await self.reading.wait()


class EchoingCalls:
    """Answers every run with itself and every query with its request; records connections and disconnections."""

    def __init__(self) -> None:
        self.connections: list[ClientConnection] = []
        self.gone: list[ClientConnection] = []
        self.runs: list[bytes] = []
        self.queries: list[tuple[int, int, float]] = []
        self.before_greeting: list[pb.CallResponse] = []
        self.answer_bytes = 0
        self.gate: asyncio.Event | None = None
        self.failure: Exception | None = None

    def greeting(self) -> pb.Greeting:
        return pb.Greeting(log_time=77, node="n2", value_bytes_max=1 << 20)

    def on_connect(self, connection: ClientConnection) -> None:
        self.connections.append(connection)
        for response in self.before_greeting:
            connection.answer(response)

    def on_run(self, connection: ClientConnection, run: bytes) -> Awaitable[None] | None:
        if self.failure is not None:
            raise self.failure
        self.runs.append(run)
        outcome = run + bytes(self.answer_bytes)
        connection.answer(pb.CallResponse(run_answer=pb.RunAnswer(first=len(self.runs), outcomes=[outcome])))
        return None if self.gate is None else self._wait()

    def on_queries(self, connection: ClientConnection, queries: pb.Queries) -> Awaitable[None] | None:
        self.queries.append((queries.first_id, queries.consistency, queries.timeout_s))
        answers = pb.QueryAnswers(first_id=queries.first_id, results=queries.requests)
        connection.answer(pb.CallResponse(query_answers=answers).SerializeToString())
        return None

    def on_disconnect(self, connection: ClientConnection) -> None:
        self.gone.append(connection)

    async def _wait(self) -> None:
        assert self.gate is not None
        await self.gate.wait()
