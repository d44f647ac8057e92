"""A TCP proxy that misbehaves as told: one address that stands for another.

It knows nothing of what it carries. Each direction of its connections is a ``Way`` that can be
cut, delayed and slowed down; on top of that the proxy can reset what is connected, refuse whoever
comes, or leave what is connected half-open. Bytes are never reordered, changed or lost within a
connection that goes on: TCP sees to that in a real network too. What a network does to a
connection is what is done here:

* *cut*: packets are dropped. Nothing arrives, no end of a connection either, and nobody is told;
  after ``heal`` everything held back arrives, as it does when TCP sends again;
* *refuse*: a firewall that rejects. Whoever is connected or connects gets a reset;
* *half-open*: what is connected now stays silent for ever, also after ``heal``; new connections
  work. It is what a peer leaves that lost power and came back.

These are the faults N3 to N8 of ``paxospp/testing/simulation/README.md``, modelled on Jepsen and Toxiproxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections import Counter
from collections.abc import Callable

_READ_BYTES = 1 << 16
_HELD_MAX = 64
"""Reads that may wait in one direction of one connection; then the sender is held up, as by a full window."""

_End = bytes | None
"""What was read: bytes, b"" for an orderly end, None for a reset."""


class Way:
    """One direction of everything a proxy carries."""

    def __init__(self, random: random.Random) -> None:
        self._random = random
        self._open = asyncio.Event()
        self._open.set()
        self.delay_s = 0.0
        self.jitter_s = 0.0
        self.bytes_per_s: float | None = None

    @property
    def is_cut(self) -> bool:
        return not self._open.is_set()

    def cut(self) -> None:
        """Let nothing through until ``heal``."""
        self._open.clear()

    def heal(self) -> None:
        """Let everything through, at once and as fast as it comes."""
        self.delay_s = self.jitter_s = 0.0
        self.bytes_per_s = None
        self._open.set()

    def delay(self, seconds: float, jitter_s: float = 0.0) -> None:
        """What comes from now on arrives so much later, and by chance up to ``jitter_s`` more; in order."""
        self.delay_s, self.jitter_s = seconds, jitter_s

    def throttle(self, bytes_per_s: float | None) -> None:
        self.bytes_per_s = bytes_per_s

    def due(self, now: float) -> float:
        """When something that came ``now`` may arrive."""
        jitter = self._random.uniform(0.0, self.jitter_s) if self.jitter_s else 0.0
        return now + self.delay_s + jitter

    async def let_through(self, size: int, due: float, now: Callable[[], float]) -> None:
        if (wait := due - now()) > 0:
            await asyncio.sleep(wait)
        if self.bytes_per_s:
            await asyncio.sleep(size / self.bytes_per_s)
        await self._open.wait()


class FaultProxy:
    """Listens on a port of its own on loopback and forwards to ``target`` (host:port)."""

    def __init__(self, target: str, *, random: random.Random | None = None) -> None:
        self._target = target
        self._random = random or _unseeded()
        self.forward = Way(self._random)
        """From whoever connects to the target."""
        self.backward = Way(self._random)
        self.counts: Counter[str] = Counter()
        """What happened: accepted, refused, reset, bytes forward and backward."""
        self._refuses = False
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        assert self._server is not None, "not started"
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    @property
    def ways(self) -> tuple[Way, Way]:
        return self.forward, self.backward

    @property
    def connections(self) -> int:
        return len(self._connections)

    async def start(self) -> str:
        """Open the port; its address."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self.address

    async def close(self) -> None:
        """End everything; may come twice."""
        if self._server is not None:
            self._server.close()
        connections = list(self._connections)
        for connection in connections:
            connection.reset()
        await asyncio.gather(*(connection.ended() for connection in connections))
        if self._server is not None:
            await self._server.wait_closed()

    # Faults.

    def cut(self, *, refuse: bool = False) -> None:
        """Drop everything, both ways; ``refuse`` resets connections instead of leaving them in the dark."""
        for way in self.ways:
            way.cut()
        if refuse:
            self._refuses = True
            self.reset()

    def heal(self) -> None:
        """End every fault but those of connections that are half-open."""
        self._refuses = False
        for way in self.ways:
            way.heal()

    def delay(self, seconds: float, jitter_s: float = 0.0) -> None:
        """Each way takes so much longer."""
        for way in self.ways:
            way.delay(seconds, jitter_s)

    def throttle(self, bytes_per_s: float | None) -> None:
        for way in self.ways:
            way.throttle(bytes_per_s)

    def reset(self) -> None:
        """A TCP reset to both ends of every connection; they may connect anew."""
        for connection in list(self._connections):
            connection.reset()
            self.counts["reset"] += 1

    def half_open(self) -> None:
        """Whoever is connected now hears nothing more, for ever; new connections work."""
        for connection in self._connections:
            connection.silent = True

    # Connections.

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            self.counts["refused"] += 1
            _reset(writer)
            return
        self.counts["accepted"] += 1
        connection = _Connection(self, reader, writer)
        self._connections.add(connection)
        try:
            await connection.run(self._target)
        finally:
            self._connections.discard(connection)


class _Connection:
    """One connection and its twin to the target."""

    def __init__(self, proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.silent = False
        self._proxy = proxy
        self._reader = reader
        self._writers = [writer]
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()

    def reset(self) -> None:
        for writer in self._writers:
            _reset(writer)
        assert self._task is not None
        self._task.cancel()

    async def ended(self) -> None:
        assert self._task is not None
        await asyncio.wait([self._task])

    async def run(self, target: str) -> None:
        """Carry bytes both ways until both ends are done, one resets, or the proxy says so."""
        carrying: list[asyncio.Task[None]] = []
        try:
            there = await self._connect(target)
            if there is None:
                return
            self._writers.append(there[1])
            carrying = [
                self._loop.create_task(self._carry(self._reader, there[1], self._proxy.forward, "bytes forward")),
                self._loop.create_task(self._carry(there[0], self._writers[0], self._proxy.backward, "bytes backward")),
            ]
            await asyncio.gather(*carrying)
        except asyncio.CancelledError:
            pass  # reset
        except OSError:
            for writer in self._writers:
                _reset(writer)
        finally:
            for task in carrying:
                task.cancel()
            await asyncio.gather(*carrying, return_exceptions=True)
            for writer in self._writers:
                writer.close()
            with contextlib.suppress(OSError):
                await asyncio.gather(*(writer.wait_closed() for writer in self._writers))

    async def _connect(self, target: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """The way to the target, once there is one. A caller who was accepted in the dark waits for it."""
        await self._proxy.forward.let_through(0, 0.0, self._loop.time)
        host, _, port = target.rpartition(":")
        try:
            return await asyncio.open_connection(host, int(port))
        except OSError:
            await self._proxy.backward.let_through(0, 0.0, self._loop.time)
            _reset(self._writers[0])
            return None

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way, counter: str) -> None:
        held: asyncio.Queue[tuple[float, _End]] = asyncio.Queue(_HELD_MAX)
        reading = self._loop.create_task(self._read(reader, way, held))
        try:
            while True:
                due, data = await held.get()
                await way.let_through(len(data or b""), due, self._loop.time)
                if self.silent:
                    await self._loop.create_future()  # until the proxy closes
                if data is None:
                    raise ConnectionResetError
                if not data:
                    with contextlib.suppress(OSError):
                        writer.write_eof()
                    return
                writer.write(data)
                self._proxy.counts[counter] += len(data)
                await writer.drain()
        finally:
            reading.cancel()

    async def _read(self, reader: asyncio.StreamReader, way: Way, held: asyncio.Queue[tuple[float, _End]]) -> None:
        data: _End = b" "
        while data:
            try:
                data = await reader.read(_READ_BYTES)
            except OSError:
                data = None
            await held.put((way.due(self._loop.time()), data))


def _reset(writer: asyncio.StreamWriter) -> None:
    """End it with a reset, not in good order."""
    found = writer.get_extra_info("socket")
    if found is not None:
        with contextlib.suppress(OSError):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _unseeded() -> random.Random:
    return random.Random()
