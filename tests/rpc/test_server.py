"""The gRPC server of a node: binding, hostile input, back-pressure, closing."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import grpc
import grpc.aio
import pytest

from paxospp.errors import ConfigError, CorruptedError
from paxospp.rpc.call_stream import CallStream
from paxospp.rpc.channel import CALL, CLIENT_CHANNEL, HEALTH_SERVICE, LINK, PEER_CHANNEL, STATUS, open_channel
from paxospp.rpc.listening import check_listen, split_address
from paxospp.rpc.server import Server
from paxospp.rpc.unary_calls import fetch_status
from paxospp.wire.v1 import client_pb2 as pb
from tests.rpc.ends import LOOPBACK, EchoingCalls, Peer, run, until

QUERY = pb.Queries(first_id=3, requests=[b"q"], consistency=pb.CONSISTENCY_LOCAL)


def frame(*requests: pb.CallRequest) -> bytes:
    return pb.ClientServiceCallRequest(requests=requests).SerializeToString()


def server(ready: bool = True) -> Server:
    return Server(on_frame=lambda _: None, calls=EchoingCalls(), status=lambda: b"{}", ready=lambda: ready)


# Binding.


def test_a_port_in_use_is_an_error_that_names_it_and_the_way_out() -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            with pytest.raises(ConfigError, match=rf"{address}.*in use.*another port"):
                await server().start(address)

    run(scenario)


def test_two_servers_never_share_a_port() -> None:
    """By default, gRPC lets a second server silently share the port and take half of the connections."""

    async def scenario() -> None:
        first = server()
        port = await first.start(LOOPBACK)
        with pytest.raises(ConfigError, match="in use"):
            await server().start(f"127.0.0.1:{port}")
        with pytest.raises(ConfigError, match="in use"):
            await server().start(f"0.0.0.0:{port}")
        await first.close()
        second = server()
        assert await second.start(f"127.0.0.1:{port}") == port
        await second.close()

    run(scenario)


def test_a_name_of_which_one_address_is_taken_is_refused_whole() -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="in use"):
            await server().start(f"localhost:{taken.getsockname()[1]}")

    run(scenario)


@pytest.mark.parametrize(
    ("listen", "reason"),
    [
        ("192.0.2.1:7001", "this machine does not have that address"),
        ("no-such-host.invalid:7001", "no such host"),
        ("127.0.0.1", "host:port"),
        ("127.0.0.1:", "host:port"),
        ("127.0.0.1:port", "host:port"),
        ("127.0.0.1:70000", "host:port"),
        ("::1:7001", "host:port"),
        ("", "host:port"),
    ],
)
def test_an_address_that_cannot_be_had_is_an_error_that_names_it(listen: str, reason: str) -> None:
    async def scenario() -> None:
        with pytest.raises(ConfigError, match=reason) as caught:
            await check_listen(listen)
        assert listen in str(caught.value)
        assert "\n" not in str(caught.value)

    run(scenario)


def test_addresses_are_taken_apart() -> None:
    assert split_address("127.0.0.1:7001") == ("127.0.0.1", 7001)
    assert split_address("[::1]:7001") == ("::1", 7001)
    assert split_address(":7001") == ("", 7001)


def test_a_path_may_be_listened_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        node = server()
        assert await node.start(f"unix:{tmp_path}/node") == 0
        assert await fetch_status(f"unix:{tmp_path}/node") == {}
        await node.close()

    run(scenario)


# Status and health.


def test_status_is_fetched_or_nothing_is() -> None:
    async def scenario() -> None:
        peer = await Peer().start()
        assert await fetch_status(peer.address) == {"name": "n2"}
        await peer.server.close()
        began = time.monotonic()
        assert await fetch_status(peer.address, timeout_s=0.3) is None
        with socket.create_server(("127.0.0.1", 0)) as silent:
            assert await fetch_status(f"127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.3) is None
        assert time.monotonic() - began < 1.0

    run(scenario)


@pytest.mark.parametrize("answer", [b"not json", b"[1]", b"\xff", b""])
def test_a_status_that_is_no_object_is_none(answer: bytes) -> None:
    async def scenario() -> None:
        node = Server(on_frame=lambda _: None, calls=EchoingCalls(), status=lambda: answer)
        port = await node.start(LOOPBACK)
        assert await fetch_status(f"127.0.0.1:{port}") is None
        await node.close()

    run(scenario)


@pytest.mark.parametrize(("ready", "answer"), [(True, b"\x08\x01"), (False, b"\x08\x02")])
def test_the_health_check_says_whether_the_node_is_ready(ready: bool, answer: bytes) -> None:
    async def scenario() -> None:
        node = server(ready)
        port = await node.start(LOOPBACK)
        async with open_channel(f"127.0.0.1:{port}", CLIENT_CHANNEL) as channel:
            check: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{HEALTH_SERVICE}/Check")
            assert await check(b"") == answer
        await node.close()

    run(scenario)


# What a client or a peer may send.


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff",
        b"\x0a\x05abc",
        frame(pb.CallRequest()),
        b"\x0a\x04\xfa\x07\x01x",
        frame(pb.CallRequest(queries=pb.Queries(first_id=1, requests=[b"q"]))),
        frame(pb.CallRequest(queries=pb.Queries(first_id=1, requests=[b"q"], consistency=9))),  # type: ignore[arg-type]
        frame(pb.CallRequest(queries=pb.Queries(consistency=pb.CONSISTENCY_LOCAL, timeout_s=-1.0))),
        frame(pb.CallRequest(queries=pb.Queries(consistency=pb.CONSISTENCY_LOCAL, timeout_s=float("nan")))),
        frame(pb.CallRequest(queries=pb.Queries(consistency=pb.CONSISTENCY_LOCAL, timeout_s=float("inf")))),
        frame(pb.CallRequest(run=b"r"), pb.CallRequest()),
    ],
)
def test_what_no_client_sends_ends_its_stream_and_no_other(data: bytes) -> None:
    async def scenario() -> None:
        peer = await Peer().start()
        async with CallStream(peer.address) as other:
            assert await ended_with(peer, [data]) is grpc.StatusCode.INVALID_ARGUMENT
            other.send(pb.CallRequest(run=b"still here"))
            response = await anext(other)
            assert response.run_answer.outcomes == [b"still here"]
        await until(lambda: len(peer.echo.gone) == 2)
        assert peer.echo.gone == peer.echo.connections or peer.echo.gone == peer.echo.connections[::-1]
        await peer.server.close()

    run(scenario)


def test_a_run_that_the_node_finds_damaged_ends_the_stream_with_the_reason() -> None:
    async def scenario() -> None:
        peer = await Peer().start()
        peer.echo.failure = CorruptedError("run: a field is out of its bounds")
        async with CallStream(peer.address) as stream:
            stream.send(pb.CallRequest(run=b"damaged"))
            with pytest.raises(ConnectionError, match="out of its bounds"):
                await anext(stream)
        await peer.server.close()

    run(scenario)


def test_a_failure_of_the_node_ends_the_stream_and_tells_no_details(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        peer = await Peer().start()
        peer.echo.failure = RuntimeError("secret")
        async with CallStream(peer.address) as stream:
            stream.send(pb.CallRequest(run=b"r"))
            with pytest.raises(ConnectionError) as caught:
                await anext(stream)
            assert "secret" not in str(caught.value)
        await peer.server.close()

    run(scenario)
    assert "secret" in caplog.text


def test_a_message_over_the_limit_ends_its_stream_and_the_node_serves_on() -> None:
    async def scenario() -> None:
        peer = await Peer().start()
        large = frame(pb.CallRequest(run=bytes(17 << 20)))
        options = tuple(option for option in CLIENT_CHANNEL if "max_send" not in option[0])
        assert await ended_with(peer, [large], options) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await fetch_status(peer.address) == {"name": "n2"}
        await peer.server.close()

    run(scenario)


def test_frames_reach_the_node_as_they_came_and_a_frame_it_cannot_take_ends_the_link(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        frames: list[bytes] = []

        def on_frame(data: bytes) -> None:
            frames.append(data)
            if data == b"fail":
                raise RuntimeError("a bug")

        node = Server(on_frame=on_frame, calls=EchoingCalls(), status=lambda: b"{}")
        port = await node.start(LOOPBACK)
        async with open_channel(f"127.0.0.1:{port}", PEER_CHANNEL) as channel:
            call: grpc.aio.StreamUnaryCall[bytes, bytes] = channel.stream_unary(LINK)()
            for data in (b"", b"\xff\xff", b"garbage", b"fail"):
                await call.write(data)
            assert await call.code() is grpc.StatusCode.INTERNAL
        assert frames == [b"", b"\xff\xff", b"garbage", b"fail"]
        await node.close()

    run(scenario)
    assert "a bug" in caplog.text


def test_an_unknown_method_is_refused() -> None:
    async def scenario() -> None:
        peer = await Peer().start()
        async with open_channel(peer.address, CLIENT_CHANNEL) as channel:
            ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(STATUS + "x")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ask(b"")
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        await peer.server.close()

    run(scenario)


# Back-pressure.


def test_an_overloaded_node_does_not_read_the_stream_on() -> None:
    async def scenario() -> None:
        peer = await Peer().start()
        peer.echo.gate = asyncio.Event()
        async with CallStream(peer.address) as stream:
            for number in range(100):
                stream.send(pb.CallRequest(run=b"%d" % number))
            assert (await anext(stream)).run_answer.outcomes == [b"0"]
            await asyncio.sleep(0.05)
            assert peer.echo.runs == [b"0"]

            peer.echo.gate.set()
            for number in range(1, 100):
                assert (await anext(stream)).run_answer.outcomes == [b"%d" % number]
        await peer.server.close()

    run(scenario)


def test_a_client_that_does_not_read_its_answers_is_not_read_either() -> None:
    async def scenario() -> None:
        peer = await Peer().start()
        peer.echo.answer_bytes = 1 << 20
        async with open_channel(peer.address, CLIENT_CHANNEL) as channel:
            call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(CALL)()
            for _ in range(60):
                await call.write(frame(pb.CallRequest(run=b"r")))
            taken = -1
            while taken != len(peer.echo.runs):
                taken = len(peer.echo.runs)
                await asyncio.sleep(0.2)
            assert taken < 40

            answered = 0
            while answered < 60:
                data = await call.read()
                assert isinstance(data, bytes)
                answered += len(pb.ClientServiceCallResponse.FromString(data).responses)
            assert len(peer.echo.runs) == 60
            call.cancel()
        await peer.server.close()

    run(scenario)


def test_answers_that_queue_in_one_turn_are_one_message() -> None:
    async def scenario() -> None:
        peer = await Peer().start()
        async with open_channel(peer.address, CLIENT_CHANNEL) as channel:
            call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(CALL)()
            await call.write(frame(*(pb.CallRequest(run=b"%d" % number) for number in range(50))))
            data = await call.read()
            assert isinstance(data, bytes)
            responses = pb.ClientServiceCallResponse.FromString(data).responses
            assert [response.run_answer.outcomes[0] for response in responses] == [b"%d" % n for n in range(50)]
            call.cancel()
        await peer.server.close()

    run(scenario)


# Ends.


def test_the_node_hears_that_a_client_is_gone_and_answers_to_it_go_nowhere() -> None:
    async def scenario() -> None:
        peer = await Peer().start()
        stream = CallStream(peer.address)
        await stream.open()
        connection = peer.echo.connections[0]
        assert not connection.closed
        assert connection.peer.startswith("ipv4:127.0.0.1:")

        await stream.close()
        await until(lambda: peer.echo.gone == [connection])

        assert connection.closed
        connection.answer(pb.CallResponse(leader=pb.Leader()))
        await connection.answered()
        await peer.server.close()

    run(scenario)


def test_a_client_that_ends_its_side_ends_the_stream() -> None:
    async def scenario() -> None:
        peer = await Peer().start()
        async with open_channel(peer.address, CLIENT_CHANNEL) as channel:
            call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(CALL)()
            await call.done_writing()
            assert await call.code() is grpc.StatusCode.OK
        await until(lambda: len(peer.echo.gone) == 1)
        await peer.server.close()

    run(scenario)


def test_closing_lets_the_last_answers_leave_and_takes_half_a_second_at_most() -> None:
    async def scenario() -> None:
        peer = await Peer().start()
        streams = [CallStream(peer.address) for _ in range(20)]
        for stream in streams:
            await stream.open()
        async with open_channel(peer.address, PEER_CHANNEL) as channel:
            link: grpc.aio.StreamUnaryCall[bytes, bytes] = channel.stream_unary(LINK)()
            await link.wait_for_connection()

            for connection in peer.echo.connections:
                connection.answer(pb.CallResponse(leader=pb.Leader(node="last words")))
            began = time.monotonic()
            await peer.server.close()
            await peer.server.close()
            assert time.monotonic() - began < 0.5

            for stream in streams:
                assert (await anext(stream)).leader.node == "last words"
            assert await link.code() is not grpc.StatusCode.OK
        for stream in streams:
            await stream.close()
        assert len(peer.echo.gone) == 20

    run(scenario)


def test_closing_does_not_wait_for_a_client_that_does_not_read() -> None:
    async def scenario() -> None:
        peer = await Peer().start()
        stream = CallStream(peer.address)
        await stream.open()
        for _ in range(60):
            peer.echo.connections[0].answer(pb.CallResponse(run_answer=pb.RunAnswer(outcomes=[bytes(1 << 20)])))

        began = time.monotonic()
        await peer.server.close()

        assert time.monotonic() - began < 0.5
        await stream.close()

    run(scenario)


def test_closing_a_server_that_never_started_is_nothing() -> None:
    async def scenario() -> None:
        await server().close()

    run(scenario)


def test_a_node_that_was_closed_leaves_nothing_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        peer = await Peer().start()
        async with CallStream(peer.address):
            await peer.server.close()

    with caplog.at_level(logging.WARNING):
        run(scenario)
    assert not [record for record in caplog.records if record.name.startswith(("grpc", "paxospp"))]


async def ended_with(
    peer: Peer, frames: list[bytes], options: Sequence[tuple[str, int]] = CLIENT_CHANNEL
) -> grpc.StatusCode:
    async with open_channel(peer.address, tuple(options)) as channel:
        call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(CALL)()
        for data in frames:
            await call.write(data)
        return await call.code()
