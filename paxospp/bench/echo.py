"""A gRPC stream between two processes that echoes every message: the least that a round trip costs here."""

from __future__ import annotations

import time

import grpc.aio

from paxospp.bench.child_process import ChildProcess, messages_of_parent, send_to_parent
from paxospp.rpc.channel import CLIENT_CHANNEL, SERVER, open_channel, read_frame

_SERVICE = "paxospp.bench.Echo"
_METHOD = f"/{_SERVICE}/Echo"


async def serve() -> None:
    """Run the echo server in the child process: send the port to the parent, then echo until the parent closes."""
    server = grpc.aio.server(options=SERVER)
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(_echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, {"Echo": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    send_to_parent(port)
    await (await messages_of_parent()).read()
    await server.stop(None)


async def _echo(_requests: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
    while (frame := await read_frame(context)) is not None:
        await context.write(frame)


class EchoClient:
    """Measures round trips to the echo server in a child process."""

    def __init__(self, child: ChildProcess) -> None:
        self._child = child
        self._port = 0

    async def round_trips(self, size: int, count: int) -> list[float]:
        """Send ``count`` messages of ``size`` bytes one after another; return the seconds each round trip took."""
        if not self._port:
            self._port = await self._child.receive()
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
