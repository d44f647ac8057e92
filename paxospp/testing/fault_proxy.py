"""A TCP proxy that injects faults: it listens on one address and forwards to another.

The proxy does not interpret the bytes it carries. Each ``Direction`` of its connections can be cut, delayed and slowed
down. The proxy can also reset its connections, refuse new ones, or leave connections half-open. Within a connection
that stays open it never reorders, changes or loses bytes, just as TCP does not. Its faults are those of a network:

* *cut*: packets are dropped. No data and no end of a connection arrives, and neither side is told. After ``heal``
  everything held back arrives, as when TCP retransmits.
* *refuse*: a firewall rejects connections. Both open and new connections get a reset.
* *half-open*: connections that are open now stay silent for ever, even after ``heal``; new connections work. A peer
  that lost power and came back leaves such connections.

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
"""How many reads may wait in one direction of one connection before its sender is blocked, as by a full window."""

_End = bytes | None
"""The result of a read: bytes, b"" at the end of the stream, None for a reset."""


class Direction:
    """One direction of all connections of a proxy."""

    def __init__(self, random: random.Random) -> None:
        self._random = random
        self._open = asyncio.Event()
        self._open.set()
        self.delay_s = 0.0
        self.jitter_s = 0.0
        self.bytes_per_s: float | None = None

    def cut(self) -> None:
        """Hold everything back until ``heal``."""
        self._open.clear()

    def heal(self) -> None:
        """End the cut, the delay and the throttling."""
        self.delay_s = self.jitter_s = 0.0
        self.bytes_per_s = None
        self._open.set()

    def delay(self, seconds: float, jitter_s: float = 0.0) -> None:
        """Delay bytes read from now on by ``seconds`` plus up to ``jitter_s`` drawn at random; their order stays."""
        self.delay_s, self.jitter_s = seconds, jitter_s

    def throttle(self, bytes_per_s: float | None) -> None:
        """Limit each connection to ``bytes_per_s``; None: no limit."""
        self.bytes_per_s = bytes_per_s

    def due(self, now: float) -> float:
        """Return when bytes read at the time ``now`` may be forwarded."""
        jitter = self._random.uniform(0.0, self.jitter_s) if self.jitter_s else 0.0
        return now + self.delay_s + jitter

    async def let_through(self, size: int, due: float, now: Callable[[], float]) -> None:
        """Wait until ``size`` bytes that are ``due`` may be forwarded; ``now`` returns the current time."""
        if (wait := due - now()) > 0:
            await asyncio.sleep(wait)
        if self.bytes_per_s:
            await asyncio.sleep(size / self.bytes_per_s)
        await self._open.wait()


class FaultProxy:
    """A proxy to ``target`` (HOST:PORT), which listens on a free port of the loopback interface.

    ::

        proxy = FaultProxy("127.0.0.1:7001")
        address = await proxy.start()
        proxy.cut()
        proxy.heal()
        await proxy.close()
    """

    def __init__(self, target: str, *, random: random.Random | None = None) -> None:
        """Make a proxy that is not started; ``random`` draws the jitter."""
        self._target = target
        self._random = random or _unseeded()
        self.forward = Direction(self._random)
        """The direction from clients to the target."""
        self.backward = Direction(self._random)
        """The direction from the target to clients."""
        self.counts: Counter[str] = Counter()
        """How often each thing happened: accepted, refused, reset, bytes forward, bytes backward."""
        self._refuses = False
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """The address to connect to, as HOST:PORT; only after ``start``."""
        assert self._server is not None, "not started"
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    @property
    def directions(self) -> tuple[Direction, Direction]:
        """Both directions."""
        return self.forward, self.backward

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    async def start(self) -> str:
        """Begin to listen, and return the address."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self.address

    async def close(self) -> None:
        """Reset all connections and stop listening; calling it twice is fine."""
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
        """Cut both directions until ``heal``; ``refuse`` also resets open connections and refuses new ones."""
        for direction in self.directions:
            direction.cut()
        if refuse:
            self._refuses = True
            self.reset()

    def heal(self) -> None:
        """End all faults, except that half-open connections stay silent."""
        self._refuses = False
        for direction in self.directions:
            direction.heal()

    def delay(self, seconds: float, jitter_s: float = 0.0) -> None:
        """Delay each direction by ``seconds`` plus up to ``jitter_s`` drawn at random."""
        for direction in self.directions:
            direction.delay(seconds, jitter_s)

    def throttle(self, bytes_per_s: float | None) -> None:
        """Limit each direction of each connection to ``bytes_per_s``; None: no limit."""
        for direction in self.directions:
            direction.throttle(bytes_per_s)

    def reset(self) -> None:
        """Reset both ends of every open connection; new connections work."""
        for connection in list(self._connections):
            connection.reset()
            self.counts["reset"] += 1

    def half_open(self) -> None:
        """Make every open connection silent for ever; new connections work."""
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
    """One connection from a client, and the connection to the target that belongs to it."""

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
        """Carry bytes in both directions until both ends are done, one end resets, or the proxy resets it."""
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
        """Connect to the target, once the forward direction is not cut.

        Return None, after a reset to the client, if the target does not accept.
        """
        await self._proxy.forward.let_through(0, 0.0, self._loop.time)
        host, _, port = target.rpartition(":")
        try:
            return await asyncio.open_connection(host, int(port))
        except OSError:
            await self._proxy.backward.let_through(0, 0.0, self._loop.time)
            _reset(self._writers[0])
            return None

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction, counter: str
    ) -> None:
        held: asyncio.Queue[tuple[float, _End]] = asyncio.Queue(_HELD_MAX)
        reading = self._loop.create_task(self._read(reader, direction, held))
        try:
            while True:
                due, data = await held.get()
                await direction.let_through(len(data or b""), due, self._loop.time)
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

    async def _read(
        self, reader: asyncio.StreamReader, direction: Direction, held: asyncio.Queue[tuple[float, _End]]
    ) -> None:
        data: _End = b" "
        while data:
            try:
                data = await reader.read(_READ_BYTES)
            except OSError:
                data = None
            await held.put((direction.due(self._loop.time()), data))


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close the connection with a TCP reset instead of an orderly end."""
    found = writer.get_extra_info("socket")
    if found is not None:
        with contextlib.suppress(OSError):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _unseeded() -> random.Random:
    return random.Random()
