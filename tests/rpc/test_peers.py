"""Links to peers: order, bounds, loss, and reconnecting."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from random import Random

import pytest

from paxospp.messages import Accept, Heartbeat, Message
from paxospp.model import NodeId, Slot
from paxospp.rpc.peers import PeerLinks
from tests.rpc.ends import N1, N2, N3, Peer, accept, encode_from, run, threads_left, until


def links(queue_bytes_max: int = 1 << 20) -> PeerLinks:
    return PeerLinks(N1, encode=encode_from(N1), queue_bytes_max=queue_bytes_max, random=Random(1))


def heartbeat(round: int) -> Heartbeat:
    return Heartbeat(
        round=round,
        leading=None,
        quorum_connected=False,
        decided_up_to=Slot(0),
        promised=None,
        remembered=Slot(0),
        booted_with=None,
    )


def test_messages_arrive_in_order_and_what_queued_is_one_frame() -> None:
    async def scenario() -> None:
        peer = await Peer().start()
        outgoing = links()
        outgoing.set_peers({N1: "127.0.0.1:1", N2: peer.address})
        sent: list[Message] = [accept(slot) for slot in range(1, 501)]

        for message in sent:
            outgoing.send(N2, message)

        assert await peer.got(500) == sent
        assert len(peer.frames) <= 2
        assert outgoing.connected() == {N2}
        assert not outgoing.dropped
        await outgoing.close()
        await peer.server.close()

    run(scenario)


def test_messages_that_come_while_a_frame_is_written_go_together_with_the_next() -> None:
    async def scenario() -> None:
        peer = await Peer().start()
        outgoing = links(64 << 20)
        outgoing.set_peers({N2: peer.address})
        large = bytes(1 << 20)

        for slot in range(1, 13):
            outgoing.send(N2, accept(slot, large))

        await peer.got(12)
        assert [len(frame) for frame in peer.frames] == [3, 3, 3, 3]
        await outgoing.close()
        await peer.server.close()

    run(scenario)


def test_a_peer_that_does_not_read_costs_a_bounded_queue_and_heartbeats_still_fit() -> None:
    async def scenario() -> None:
        peer = await Peer().start()
        peer.hold()
        outgoing = links(4 << 20)
        outgoing.set_peers({N2: peer.address})
        slot = 0
        while outgoing.dropped[N2] < 5:  # the transport takes some before it pushes back
            slot += 1
            outgoing.send(N2, accept(slot, bytes(256 << 10)))
            await asyncio.sleep(0)
        outgoing.send(N2, heartbeat(1))
        dropped = outgoing.dropped[N2]

        peer.reading.set()
        await peer.got(slot + 1 - dropped)

        slots = [message.slot for message in peer.messages if isinstance(message, Accept)]
        assert slots == sorted(slots)
        assert len(slots) == slot - dropped
        assert heartbeat(1) in peer.messages
        assert outgoing.dropped[N2] == dropped
        await outgoing.close()
        await peer.server.close()

    run(scenario)


def test_what_is_dropped_is_the_newest_so_that_a_prefix_arrives() -> None:
    async def scenario() -> None:
        outgoing = links(1_000)
        peer = await Peer().start()
        outgoing.set_peers({N2: peer.address})

        for slot in range(1, 101):  # in one turn of the loop: nothing is written in between
            outgoing.send(N2, accept(slot, bytes(72)))

        assert await peer.got(5) == [accept(slot, bytes(72)) for slot in range(1, 6)]
        assert outgoing.dropped == {N2: 95}
        await outgoing.close()
        await peer.server.close()

    run(scenario)


def test_one_message_larger_than_the_queue_still_travels_and_one_that_no_frame_holds_is_dropped() -> None:
    async def scenario() -> None:
        peer = await Peer().start()
        outgoing = links(1_000)
        outgoing.set_peers({N2: peer.address})

        outgoing.send(N2, accept(1, bytes(17 << 20)))
        outgoing.send(N2, accept(2, bytes(8 << 20)))

        assert await peer.got(1) == [accept(2, bytes(8 << 20))]
        assert outgoing.dropped == {N2: 1}
        await outgoing.close()
        await peer.server.close()

    run(scenario)


def test_a_heartbeat_stands_behind_what_was_sent_in_the_same_frame_but_overtakes_a_backlog() -> None:
    async def scenario() -> None:
        peer = await Peer().start()
        outgoing = links(64 << 20)
        outgoing.set_peers({N2: peer.address})

        outgoing.send(N2, accept(1))
        outgoing.send(N2, heartbeat(1))
        for slot in range(2, 11):
            outgoing.send(N2, accept(slot, bytes(1 << 20)))
        await peer.got(11)

        assert heartbeat(1) in peer.frames[0]
        assert peer.frames[0][0] == accept(1)
        assert len(peer.frames) > 1
        await outgoing.close()
        await peer.server.close()

    run(scenario)


@pytest.mark.long
def test_a_peer_that_comes_back_behind_its_address_is_reached_within_a_second() -> None:
    async def scenario() -> None:
        first = await Peer().start()
        outgoing = links()
        outgoing.set_peers({N2: first.address})
        outgoing.send(N2, accept(1))
        await first.got(1)

        await first.server.close()
        await until(lambda: not outgoing.connected())
        until_s = asyncio.get_running_loop().time() + 3
        while asyncio.get_running_loop().time() < until_s:  # long enough for every back-off to have grown
            outgoing.send(N2, accept(2))
            await asyncio.sleep(0.02)
        second = await Peer().start(first.address)
        began = time.monotonic()
        while not second.frames:
            outgoing.send(N2, accept(3))
            await asyncio.sleep(0.005)

        assert time.monotonic() - began < 1.0
        assert outgoing.dropped[N2] > 50, "what could not be sent is counted"
        # At most what was sent during one attempt to dial is old.
        assert len(second.messages) < 100
        await outgoing.close()
        await second.server.close()

    run(scenario)


def test_a_peer_that_was_never_there_costs_nothing_but_its_own_messages() -> None:
    async def scenario() -> None:
        there = await Peer(N3).start()
        outgoing = links()
        outgoing.set_peers({N2: "127.0.0.1:1", N3: there.address})

        for slot in range(1, 51):
            outgoing.send(N2, accept(slot))
            outgoing.send(N3, accept(slot))
            await asyncio.sleep(0.002)

        await there.got(50)
        await until(lambda: outgoing.dropped[N2] > 0)
        assert outgoing.connected() == {N3}
        assert outgoing.dropped[N3] == 0
        await outgoing.close()
        await there.server.close()

    run(scenario)


def test_no_link_is_kept_to_oneself_or_to_a_peer_that_left() -> None:
    async def scenario() -> None:
        one, two = await Peer(N2).start(), await Peer(N3).start()
        outgoing = links()
        outgoing.set_peers({N1: "127.0.0.1:1", N2: one.address, N3: two.address})
        await until(lambda: outgoing.connected() == {N2, N3})

        outgoing.set_peers({N1: "127.0.0.1:1", N3: two.address})
        outgoing.send(N2, accept(1))
        outgoing.send(N1, accept(1))
        outgoing.send(N3, accept(1))

        assert await two.got(1) == [accept(1)]
        assert outgoing.connected() == {N3}
        assert outgoing.dropped == {N1: 1, N2: 1}
        assert not one.frames
        await outgoing.close()
        await one.server.close()
        await two.server.close()

    run(scenario)


def test_a_peer_that_moved_is_dialled_at_its_new_address() -> None:
    async def scenario() -> None:
        old, new = await Peer().start(), await Peer().start()
        outgoing = links()
        outgoing.set_peers({N2: old.address})
        await until(lambda: outgoing.connected() == {N2})

        outgoing.set_peers({N2: new.address})
        outgoing.send(N2, accept(1))

        assert await new.got(1) == [accept(1)]
        assert not old.frames
        await outgoing.close()
        await old.server.close()
        await new.server.close()

    run(scenario)


def test_a_port_that_takes_the_connection_and_says_nothing_does_not_hold_the_link_for_good() -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = f"127.0.0.1:{silent.getsockname()[1]}"
            outgoing = links()
            outgoing.set_peers({N2: address})
            outgoing.send(N2, accept(1))
            await until(lambda: outgoing.dropped[N2] == 1)
            assert not outgoing.connected()
        peer = await Peer().start(address)
        began = time.monotonic()
        await until(lambda: outgoing.connected() == {N2})

        assert time.monotonic() - began < 1.5
        await outgoing.close()
        await peer.server.close()

    run(scenario)


def test_a_message_that_cannot_be_encoded_costs_itself_and_not_the_link(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        peer = await Peer().start()
        outgoing = links()
        outgoing.set_peers({N2: peer.address})

        outgoing.send(N2, accept(-1))
        await until(lambda: outgoing.dropped[N2] == 1)
        outgoing.send(N2, accept(1))

        assert await peer.got(1) == [accept(1)]
        await outgoing.close()
        await peer.server.close()

    with caplog.at_level(logging.ERROR, logger="paxospp.rpc"):
        run(scenario)

    assert "cannot be encoded" in caplog.text


def test_closing_ends_links_in_every_state_and_leaves_no_task_socket_or_thread() -> None:
    async def scenario() -> None:
        peer = await Peer().start()
        peer.hold()
        outgoing = links(64 << 20)
        outgoing.set_peers({N2: peer.address, N3: "127.0.0.1:1", NodeId("n4"): "no-such-host.invalid:1"})
        for slot in range(1, 33):  # more than the transport takes, so the writer is in the middle of it
            outgoing.send(N2, accept(slot, bytes(1 << 20)))
        await until(lambda: bool(peer.frames))

        began = time.monotonic()
        await outgoing.close()
        await outgoing.close()
        outgoing.set_peers({N2: peer.address})
        outgoing.send(N2, accept(1))

        assert time.monotonic() - began < 0.5
        assert not outgoing.connected()
        await peer.server.close()

    run(scenario)
    assert threads_left() == []


def test_closing_before_the_first_turn_of_the_loop_is_clean() -> None:
    async def scenario() -> None:
        outgoing = links()
        outgoing.set_peers({N2: "127.0.0.1:1"})
        await outgoing.close()

    run(scenario)
