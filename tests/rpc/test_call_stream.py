"""The client's end of a Call stream: greeting, order, loss, closing."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time

import pytest

from paxospp.rpc.call_stream import CallStream
from paxospp.rpc.channel import CLIENT_CHANNEL, PEER_CHANNEL, SERVER
from paxospp.rpc.server import Server
from paxospp.testing.fault_proxy import FaultProxy
from paxospp.wire.v1 import client_pb2 as pb
from tests.rpc.ends import LOOPBACK, EchoingCalls, Peer, run, threads_left, until


def test_a_stream_begins_with_a_greeting_and_answers_come_in_order() -> None:
    async def scenario() -> None:
        peer = await Peer().start()
        stream = CallStream(peer.address)
        greeting = await stream.open(1.0)
        assert (greeting.log_time, greeting.node, greeting.value_bytes_max) == (77, "n2", 1 << 20)

        for number in range(200):
            stream.send(pb.CallRequest(run=b"%d" % number))
        stream.send(
            pb.CallRequest(
                queries=pb.Queries(first_id=9, requests=[b"q"], consistency=pb.CONSISTENCY_LINEARIZABLE, timeout_s=2.5)
            ).SerializeToString()
        )

        outcomes = []
        async for response in stream:
            if response.WhichOneof("response") == "query_answers":
                assert (response.query_answers.first_id, response.query_answers.results) == (9, [b"q"])
                break
            outcomes.append(response.run_answer.outcomes[0])
        assert outcomes == [b"%d" % number for number in range(200)]
        assert peer.echo.queries == [(9, pb.CONSISTENCY_LINEARIZABLE, 2.5)]
        await stream.close()
        await stream.close()
        await peer.server.close()

    run(scenario)


def test_what_came_before_the_greeting_is_not_lost() -> None:
    async def scenario() -> None:
        peer = await Peer().start()
        peer.echo.before_greeting = [pb.CallResponse(leader=pb.Leader(node=name)) for name in ("n1", "n2")]
        async with CallStream(peer.address) as stream:
            assert [(await anext(stream)).leader.node for _ in range(2)] == ["n1", "n2"]
        await peer.server.close()

    run(scenario)


def test_a_second_greeting_can_be_asked_for_on_the_same_stream() -> None:
    async def scenario() -> None:
        peer = await Peer().start()
        async with CallStream(peer.address) as stream:
            stream.send(pb.CallRequest(open_session=pb.OpenSession()))
            assert (await anext(stream)).greeting.log_time == 77
        await peer.server.close()

    run(scenario)


def test_a_thousand_queued_requests_are_all_answered() -> None:
    async def scenario() -> None:
        peer = await Peer().start()
        async with CallStream(peer.address) as stream:
            for number in range(1_000):
                stream.send(pb.CallRequest(run=b"%d" % number))
            for _ in range(1_000):
                await anext(stream)
        await peer.server.close()

    run(scenario)


def test_nobody_there_is_a_connection_error_that_names_the_address() -> None:
    async def scenario() -> None:
        stream = CallStream("127.0.0.1:1")
        with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:1"):
            await stream.open(5.0)
        stream.send(pb.CallRequest(run=b"into the void"))
        await stream.close()

    run(scenario)


def test_a_port_that_says_nothing_is_given_up_in_time() -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            stream = CallStream(f"127.0.0.1:{silent.getsockname()[1]}")
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                await stream.open(0.2)
            assert time.monotonic() - began < 0.5
            await stream.close()

    run(scenario)


def test_a_lost_stream_is_heard_by_the_reader_and_sending_on_it_does_nothing() -> None:
    async def scenario() -> None:
        peer = await Peer().start()
        async with CallStream(peer.address) as stream:
            await peer.server.close()
            with pytest.raises(ConnectionError):
                await anext(stream)
            for _ in range(3):
                stream.send(pb.CallRequest(run=b"r"))
                await asyncio.sleep(0)

    run(scenario)


def test_closing_ends_the_iteration() -> None:
    async def scenario() -> None:
        peer = await Peer().start()
        stream = CallStream(peer.address)
        await stream.open()

        async def read() -> list[pb.CallResponse]:
            return [response async for response in stream]

        reader = asyncio.create_task(read())
        await asyncio.sleep(0)
        await stream.close()
        assert await reader == []
        await peer.server.close()

    run(scenario)


def test_a_reader_that_gives_up_costs_no_response_and_not_the_stream() -> None:
    async def scenario() -> None:
        peer = await Peer().start()
        async with CallStream(peer.address) as stream:
            for number in range(20):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(stream.__anext__(), 0.001)
                stream.send(pb.CallRequest(run=b"%d" % number))
                assert (await anext(stream)).run_answer.outcomes == [b"%d" % number]
        await peer.server.close()

    run(scenario)


def test_closing_while_answers_stand_unread_takes_a_moment_only() -> None:
    async def scenario() -> None:
        peer = await Peer().start()
        peer.echo.answer_bytes = 1 << 20
        stream = CallStream(peer.address)
        await stream.open()
        for _ in range(60):
            stream.send(pb.CallRequest(run=b"r"))
        await anext(stream)
        began = time.monotonic()
        await stream.close()
        assert time.monotonic() - began < 0.5
        await peer.server.close()

    run(scenario)


def test_streams_of_several_loops_in_several_threads_do_not_meet() -> None:
    problems: list[BaseException] = []

    async def scenario() -> None:
        peer = await Peer().start()
        async with CallStream(peer.address) as stream:
            for number in range(100):
                stream.send(pb.CallRequest(run=b"%d" % number))
                assert (await anext(stream)).run_answer.outcomes == [b"%d" % number]
        await peer.server.close()

    def one() -> None:
        try:
            run(scenario)
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not problems


def test_nothing_is_left_when_both_ends_are_closed() -> None:
    async def scenario() -> None:
        node = Server(on_frame=lambda _: None, calls=EchoingCalls(), status=lambda: b"{}")
        port = await node.start(LOOPBACK)
        stream = CallStream(f"127.0.0.1:{port}")
        await stream.open()
        stream.send(pb.CallRequest(run=b"r"))
        await stream.close()
        await node.close()

    for _ in range(3):
        run(scenario)
    assert threads_left() == []


@pytest.mark.parametrize("answered", [True, False], ids=["answered", "silent"])
def test_a_closed_stream_is_a_closed_connection_at_once(answered: bool) -> None:
    """gRPC closes the connection when nothing refers to the call any more; that must not need a garbage collection."""

    async def scenario() -> None:
        node = Server(on_frame=lambda _: None, calls=EchoingCalls(), status=lambda: b"{}")
        proxy = FaultProxy(f"127.0.0.1:{await node.start(LOOPBACK)}")
        stream = CallStream(await proxy.start())
        await stream.open()
        if answered:
            stream.send(pb.CallRequest(run=b"r"))
            await anext(stream)
        else:
            proxy.cut()
        assert proxy.connections == 1
        gc.disable()
        try:
            await stream.close()
            proxy.heal()
            await until(lambda: not proxy.connections, 1.0)
        finally:
            gc.enable()
        await proxy.close()
        await node.close()

    run(scenario)


def test_the_pings_that_channels_send_are_within_what_servers_allow() -> None:
    """Otherwise a server ends a connection that was idle for long with "too_many_pings"."""
    server = dict(SERVER)
    for channel in (dict(CLIENT_CHANNEL), dict(PEER_CHANNEL)):
        assert channel["grpc.keepalive_time_ms"] > server["grpc.http2.min_ping_interval_without_data_ms"]
        assert channel["grpc.keepalive_permit_without_calls"] <= server["grpc.keepalive_permit_without_calls"]


def test_who_converses_is_asked_for_requests_and_handed_responses_until_the_end() -> None:
    async def scenario() -> None:
        peer = await Peer().start()
        peer.echo.before_greeting = [pb.CallResponse(leader=pb.Leader(node="n1"))]
        waiting = [b"%d" % number for number in range(50)]
        heard: list[pb.CallResponse] = []

        def requests() -> list[pb.CallRequest]:
            taken, waiting[:] = waiting[:], []
            return [pb.CallRequest(run=run) for run in taken]

        async with CallStream(peer.address) as stream:
            talk = asyncio.create_task(stream.converse(requests, heard.append))
            await until(lambda: len(heard) == 51)
            waiting.append(b"later")
            stream.wake()
            await until(lambda: len(heard) == 52)
            assert heard[0].leader.node == "n1"
            assert [response.run_answer.outcomes[0] for response in heard[1:]] == [
                *(b"%d" % number for number in range(50)),
                b"later",
            ]
            await peer.server.close()
            with pytest.raises(ConnectionError):
                await talk

    run(scenario)


def test_what_a_conversation_raises_ends_it_and_after_one_that_was_cancelled_responses_can_be_read() -> None:
    async def scenario() -> None:
        peer = await Peer().start()
        async with CallStream(peer.address) as stream:
            talk = asyncio.create_task(stream.converse(list, lambda response: None))
            await asyncio.sleep(0)
            talk.cancel()
            await asyncio.wait([talk])
            stream.send(pb.CallRequest(run=b"read"))
            assert (await anext(stream)).run_answer.outcomes == [b"read"]

            def fail(_: object) -> None:
                raise ZeroDivisionError

            stream.send(pb.CallRequest(run=b"heard"))
            with pytest.raises(ZeroDivisionError):
                await stream.converse(list, fail)
        await peer.server.close()

    run(scenario)


def test_a_conversation_that_cannot_say_what_it_wants_ends() -> None:
    async def scenario() -> None:
        peer = await Peer().start()

        def fail() -> list[pb.CallRequest]:
            raise ZeroDivisionError

        async with CallStream(peer.address) as stream:
            with pytest.raises(ZeroDivisionError):
                await stream.converse(fail, lambda response: None)
        await peer.server.close()

    run(scenario)
