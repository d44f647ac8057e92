"""A bare gRPC stream between two processes that gives back what it gets: what the network costs at least."""

from __future__ import annotations

import time

import grpc.aio

from paxospp.cli.bench.child import Child, answer, orders
from paxospp.rpc.channel import CLIENT_CHANNEL, SERVER, open_channel, read_frame

_SERVICE = "paxospp.bench.Echo"
_METHOD = f"/{_SERVICE}/Echo"


async def serve() -> None:
    """In the child: listen on a free port, tell it, and echo until the input ends."""
    server = grpc.aio.server(options=SERVER)
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(_echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, {"Echo": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    answer(port)
    await (await orders()).read()
    await server.stop(None)


async def _echo(_requests: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
    while (frame := await read_frame(context)) is not None:
        await context.write(frame)


class Echo:
    """The parent's end."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._port = 0

    async def round_trips(self, size: int, count: int) -> list[float]:
        """The seconds that each of ``count`` messages of ``size`` bytes took there and back, one after another."""
        if not self._port:
            self._port = await self._child.hear()
        message = bytes(size)
        seconds = []
        async with open_channel(f"127.0.0.1:{self._port}", CLIENT_CHANNEL) as channel:
            call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(_METHOD)()
            for _ in range(count):
                begun = time.perf_counter()
                await call.write(message)
                await call.read()
                seconds.append(time.perf_counter() - begun)
            await call.done_writing()
            await call.read()  # the end of the stream
        return seconds
