"""Half-open connections: the other end has vanished without closing them (fault N8, bug B52)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from random import Random

import pytest

from paxospp.rpc.call_stream import CallStream
from paxospp.rpc.peers import PeerLinks
from tests.rpc.ends import N1, N2, Peer, accept, encode_from, run, until


class Wire:
    """Forwards every connection to ``port`` until ``cut``, which discards all later bytes in both directions."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._generation = 0
        self.accepted = 0

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """Discard everything on the present connections; later connections are forwarded."""
        self._generation += 1

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += (writer, there_writer)
        for source, target in ((reader, there_writer), (there_reader, writer)):
            task = asyncio.create_task(self._pump(source, target, self._generation))
            self._tasks.add(task)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, generation: int) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 16):
                if generation == self._generation:
                    target.write(data)
                    await target.drain()
            if generation == self._generation:
                target.close()


async def _links_through_a_wire() -> tuple[Peer, Wire, PeerLinks]:
    peer = await Peer().start()
    wire = Wire(int(peer.address.rpartition(":")[2]))
    links = PeerLinks(N1, encode=encode_from(N1), queue_bytes_max=1 << 20, random=Random(1))
    links.set_peers({N2: await wire.start()})
    links.send(N2, accept(1))
    await peer.got(1)
    return peer, wire, links


async def _close(peer: Peer, wire: Wire, links: PeerLinks) -> None:
    await links.close()
    await peer.server.close()
    await wire.close()


@pytest.mark.long
def test_a_link_whose_peer_is_silent_is_given_up_and_opened_again_within_ten_seconds() -> None:
    async def scenario() -> None:
        peer, wire, links = await _links_through_a_wire()
        wire.cut()
        began = time.monotonic()
        async with asyncio.timeout(12):
            while len(peer.messages) < 2:
                links.send(N2, accept(2))
                await asyncio.sleep(0.05)

        assert time.monotonic() - began < 10
        await _close(peer, wire, links)

    run(scenario)


@pytest.mark.long
def test_a_client_that_is_gone_without_a_word_is_noticed() -> None:
    """The node's own pings detect it; otherwise the node would keep the client's stream for ever."""

    async def scenario() -> None:
        peer = await Peer().start()
        wire = Wire(int(peer.address.rpartition(":")[2]))
        stream = CallStream(await wire.start())
        await stream.open(1.0)
        wire.cut()
        await until(lambda: bool(peer.echo.gone), patience_s=20)
        with pytest.raises(ConnectionError):
            await anext(stream)
        await stream.close()
        await peer.server.close()
        await wire.close()

    run(scenario)
