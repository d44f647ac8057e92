"""The fault proxy does to connections what a network does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from paxospp.testing.fault_proxy import FaultProxy
from tests.cluster.embedding import run


class Echo:
    """An echo server with a proxy in front of it."""

    def __init__(self) -> None:
        self.heard = b""
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            while data := await reader.read(1 << 16):
                self.heard += data
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


class Caller:
    """One connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, data: bytes, timeout: float = 5.0) -> bytes:
        self.writer.write(data)
        return await self.hear(len(data), timeout)

    async def hear(self, size: int, timeout: float = 5.0) -> bytes:
        async with asyncio.timeout(timeout):
            return await self.reader.readexactly(size)

    def close(self) -> None:
        self.writer.transport.abort()


async def call(proxy: FaultProxy) -> Caller:
    host, _, port = proxy.address.rpartition(":")
    return Caller(*await asyncio.open_connection(host, int(port)))


@asynccontextmanager
async def echo_behind_a_proxy() -> AsyncIterator[tuple[FaultProxy, Echo]]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    proxy = FaultProxy(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await proxy.start()
    try:
        yield proxy, echo
    finally:
        await proxy.close()
        echo.hang_up()
        server.close()
        await server.wait_closed()


def test_without_faults_bytes_and_the_end_of_a_stream_pass() -> None:
    async def main() -> None:
        async with echo_behind_a_proxy() as (proxy, _):
            caller = await call(proxy)
            data = bytes(range(256)) * 8192
            assert await caller.say(data) == data
            caller.writer.write_eof()
            assert await caller.reader.read() == b""
            caller.close()
            assert proxy.counts["bytes forward"] == proxy.counts["bytes backward"] == len(data)

    run(main)


def test_a_cut_holds_everything_back_until_it_heals() -> None:
    async def main() -> None:
        async with echo_behind_a_proxy() as (proxy, echo):
            caller = await call(proxy)
            await caller.say(b"one")
            proxy.cut()
            with pytest.raises(TimeoutError):
                await caller.say(b"two", timeout=0.2)
            late = await call(proxy)
            with pytest.raises(TimeoutError):
                await late.say(b"late", timeout=0.1)
            assert echo.heard == b"one"
            proxy.heal()
            assert await caller.hear(3) == b"two"
            assert await late.hear(4) == b"late"
            caller.close()
            late.close()

    run(main)


def test_a_cut_holds_back_the_end_of_a_peer_too() -> None:
    async def main() -> None:
        async with echo_behind_a_proxy() as (proxy, echo):
            caller = await call(proxy)
            await caller.say(b"one")
            proxy.cut()
            echo.hang_up()
            with pytest.raises(TimeoutError):
                await caller.hear(1, timeout=0.2)
            proxy.heal()
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await caller.hear(1)
            caller.close()

    run(main)


def test_one_direction_alone_can_be_cut() -> None:
    async def main() -> None:
        async with echo_behind_a_proxy() as (proxy, echo):
            caller = await call(proxy)
            await caller.say(b"one")
            proxy.backward.cut()
            with pytest.raises(TimeoutError):
                await caller.say(b"two", timeout=0.2)
            assert echo.heard == b"onetwo"
            proxy.heal()
            assert await caller.hear(3) == b"two"
            caller.close()

    run(main)


def test_refusing_resets_open_and_new_connections() -> None:
    async def main() -> None:
        async with echo_behind_a_proxy() as (proxy, _):
            caller = await call(proxy)
            await caller.say(b"one")
            proxy.cut(refuse=True)
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await caller.hear(1)
            late = await call(proxy)
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await late.say(b"late")
            proxy.heal()
            again = await call(proxy)
            assert await again.say(b"again") == b"again"
            for one in (caller, late, again):
                one.close()

    run(main)


def test_after_a_reset_a_new_connection_works() -> None:
    async def main() -> None:
        async with echo_behind_a_proxy() as (proxy, _):
            caller = await call(proxy)
            await caller.say(b"one")
            proxy.reset()
            with pytest.raises(ConnectionResetError):
                await caller.hear(1)
            again = await call(proxy)
            assert await again.say(b"two") == b"two"
            caller.close()
            again.close()

    run(main)


def test_a_half_open_connection_stays_silent_and_new_connections_work() -> None:
    async def main() -> None:
        async with echo_behind_a_proxy() as (proxy, echo):
            caller = await call(proxy)
            await caller.say(b"one")
            proxy.half_open()
            with pytest.raises(TimeoutError):
                await caller.say(b"two", timeout=0.2)
            again = await call(proxy)
            assert await again.say(b"three") == b"three"
            proxy.heal()
            echo.hang_up()
            with pytest.raises(TimeoutError):
                await caller.hear(1, timeout=0.2)
            caller.close()
            again.close()

    run(main)


def test_delay_and_bandwidth_take_the_time_they_say_and_keep_the_order() -> None:
    async def main() -> None:
        async with echo_behind_a_proxy() as (proxy, _):
            caller = await call(proxy)
            proxy.delay(0.1, jitter_s=0.05)
            began = time.monotonic()
            caller.writer.write(b"a")
            await asyncio.sleep(0.01)
            assert await caller.say(b"b") == b"a"
            assert await caller.hear(1) == b"b"
            assert time.monotonic() - began >= 0.2
            proxy.heal()
            proxy.forward.throttle(100_000)
            began = time.monotonic()
            data = b"x" * 20_000
            assert await caller.say(data) == data
            assert time.monotonic() - began >= 0.2
            caller.close()

    run(main)


def test_a_proxy_whose_target_is_gone_resets_connections() -> None:
    async def main() -> None:
        proxy = FaultProxy("127.0.0.1:1")
        await proxy.start()
        caller = await call(proxy)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await caller.say(b"anybody?")
        caller.close()
        await proxy.close()
        await proxy.close()

    run(main)
