"""The one stream of a client: runs, hints, silence, lost sessions, against nodes that the test controls."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from paxospp.client import Client
from paxospp.client import started as started_module
from paxospp.client.addresses import AddressBook, parse_address
from paxospp.errors import (
    CommandError,
    ConfigError,
    OutcomeUnknownError,
    OverloadedError,
    RejectedError,
    UnavailableError,
)
from paxospp.sessions.runs import VOID
from paxospp.wire.v1 import client_pb2 as wire
from tests.client.alone import EXPIRY_S, Alone, Log
from tests.cluster.embedding import Notes, free_addresses, run


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client waits 0.2 s for an answer before it tries another node."""
    monkeypatch.setattr("paxospp.client.conversation.ANSWER_TIMEOUT_MIN_S", 0.2)


def test_calls_made_in_one_turn_of_the_loop_travel_as_one_run() -> None:
    async def main() -> None:
        async with Alone() as node, Client([node.address]) as client:
            await client.execute(Notes.add, 1)
            totals = await asyncio.gather(*(client.execute(Notes.add, 1) for _ in range(100)))
            assert totals == list(range(2, 102))
            assert [len(run.payloads) for run in node.runs] == [1, 100]

    run(main, debug=True)


def test_calls_made_before_anybody_answers_wait_and_are_then_sent_in_their_order() -> None:
    async def main() -> None:
        (address,) = free_addresses(1)
        node = Alone()
        async with Client([address]) as client:
            calls = [asyncio.ensure_future(client.execute(Notes.add, number)) for number in (1, 10, 100)]
            await asyncio.sleep(0)
            await node.start(address)
            assert await asyncio.gather(*calls) == [1, 11, 111]
        await node.close()

    run(main)


def test_what_cannot_be_called_is_told_and_disturbs_nobody() -> None:
    async def main() -> None:
        async with Alone() as node, Client([node.address]) as client:
            calls = [
                client.execute("add", 1),
                client.execute("nothing_of_that_name"),
                client.execute("add", "one"),
                client.execute("add", 1),
                client.execute(Notes.raise_value_error),
            ]
            first, unknown, wrong, second, raised = await asyncio.gather(*calls, return_exceptions=True)
            assert first == 1  # type: ignore[comparison-overlap]
            assert second == 2  # type: ignore[comparison-overlap]
            assert isinstance(unknown, RejectedError)
            assert "nothing_of_that_name" in str(unknown)
            assert isinstance(wrong, RejectedError)
            assert isinstance(raised, CommandError)
            assert (raised.type, raised.message) == ("ValueError", "not this one")
            with pytest.raises(RejectedError, match="value_bytes_max"):
                await client.execute(Notes.put, "key", "x" * (1 << 20))
            with pytest.raises(RejectedError):
                await client.query("nothing_of_that_name")
            with pytest.raises(CommandError):
                await client.query(Notes.fail)
            assert await client.query(Notes.sum) == 3

    run(main)


def test_a_call_too_large_for_any_stream_is_refused_before_there_is_one() -> None:
    async def main() -> None:
        async with Client(free_addresses(1)) as client:
            with pytest.raises(RejectedError, match="value_bytes_max"):
                await client.execute(Notes.put, "key", "x" * (16 << 20))

    run(main)


def let_deadlines_come(client: Client) -> None:
    """Have all open calls of ``client`` reach their deadline now."""
    deadlines = client._started._deadlines
    deadlines.open.update(dict.fromkeys(deadlines.open, 0.0))
    deadlines.arm(0.0)


def test_the_deadline_tells_what_was_never_sent_from_what_was() -> None:
    async def main() -> None:
        async with Alone() as node:
            async with Client(free_addresses(1)) as client:
                with pytest.raises(UnavailableError, match="never sent"):
                    await client.execute(Notes.add, 1, timeout=0.05)
            node.handle = node.lose
            node.mute = True
            async with Client([node.address]) as client:
                sent = asyncio.ensure_future(client.execute(Notes.add, 1, timeout=60.0))
                await node.took(1)
                let_deadlines_come(client)
                with pytest.raises(OutcomeUnknownError, match="may have been applied"):
                    await sent
                with pytest.raises(UnavailableError, match="changed nothing"):
                    await client.query(Notes.sum, timeout=0.05)
            assert len(node.runs) == 1

    run(main)


def test_while_nobody_leads_commands_stay_unsent() -> None:
    async def main() -> None:
        async with Alone() as node:
            node.leader = wire.Leader()
            async with Client([node.address]) as client:
                with pytest.raises(UnavailableError, match="never sent"):
                    await client.execute(Notes.add, 1, timeout=0.2)
                call = asyncio.ensure_future(client.execute(Notes.add, 10))
                await asyncio.sleep(0)
                node.leader = wire.Leader(node="n1")
                node.tell_leader()
                assert await call == 10
            assert [len(run.payloads) for run in node.runs] == [1]

    run(main)


def test_a_call_cancelled_before_it_was_sent_has_no_effect_and_one_after_is_sent_on() -> None:
    async def main() -> None:
        async with Alone() as node, Client([node.address]) as client:
            unsent = asyncio.ensure_future(client.execute(Notes.add, 1))
            await asyncio.sleep(0)
            unsent.cancel()
            assert await client.execute(Notes.add, 10) == 10
            node.handle = node.lose
            sent = asyncio.ensure_future(client.execute(Notes.add, 100))
            await node.took(2)
            sent.cancel()
            node.handle = node.apply
            assert await client.execute(Notes.add, 1000) == 1110

    run(main)


def test_a_lost_run_shows_as_a_gap_and_everything_from_there_is_sent_again() -> None:
    async def main() -> None:
        async with Alone() as node, Client([node.address]) as client:
            await client.execute(Notes.add, 1)
            node.handle = node.lose
            lost = asyncio.ensure_future(client.execute(Notes.add, 10))
            await node.took(2)
            node.handle = node.apply
            assert await client.execute(Notes.add, 100) == 111
            assert await lost == 11

    run(main)


def test_a_lost_stream_is_followed_by_another_and_nothing_is_applied_twice() -> None:
    async def main() -> None:
        log = Log()
        closing: list[asyncio.Future[None]] = []
        async with Alone("n1", log) as first, Alone("n2", log) as second:

            def apply_and_end(connection: object, run: bytes) -> None:
                log.apply(run)
                closing.append(asyncio.ensure_future(first.close()))

            async with Client([first.address, second.address]) as client:
                await client.execute(Notes.add, 1)
                first.handle = apply_and_end
                second.leader = wire.Leader(node="n2")
                assert await client.execute(Notes.add, 10) == 11
                assert len(second.runs) == 1
                assert log.machine.total == 11

    run(main)


@pytest.mark.usefixtures("impatient")
def test_silence_makes_a_client_try_another_node() -> None:
    async def main() -> None:
        log = Log()
        async with Alone("n1", log) as first, Alone("n2", log) as second:
            first.handle = first.lose
            first.mute = True
            async with Client([first.address, second.address]) as client:
                command, query = await asyncio.gather(client.execute(Notes.add, 1), client.query(Notes.kept))
                assert (command, query) == (1, [])
                assert len(first.runs) == len(second.runs) == 1

    run(main)


def test_the_leaders_hint_is_followed_and_what_is_unanswered_goes_along() -> None:
    async def main() -> None:
        log = Log()
        async with Alone("n1", log) as first, Alone("n2", log) as second, Client([first.address]) as client:
            await client.execute(Notes.add, 1)
            first.handle = first.lose
            calls = asyncio.gather(*(client.execute(Notes.add, 1) for _ in range(10)))
            await first.took(2)
            first.follow(second)
            assert await calls == list(range(2, 12))
            assert not first.connections

    run(main)


def test_a_greeting_that_names_the_leader_is_followed_before_anything_is_sent() -> None:
    async def main() -> None:
        log = Log()
        async with Alone("n1", log) as first, Alone("n2", log) as second:
            first.follow(second)
            async with Client([first.address]) as client:
                assert await client.execute(Notes.add, 1) == 1
            assert not first.runs

    run(main)


def test_a_hint_that_leads_nowhere_costs_nothing() -> None:
    async def main() -> None:
        log = Log()
        (nowhere,) = free_addresses(1)
        async with Alone("n1", log) as node:
            node.leader = wire.Leader(node="n2", address=nowhere)
            async with Client([node.address]) as client:
                assert await client.execute(Notes.add, 1) == 1
                assert await client.query(Notes.sum) == 1

    run(main)


def test_two_nodes_that_name_each_other_do_not_send_a_client_to_and_fro() -> None:
    async def main() -> None:
        log = Log()
        async with Alone("n1", log) as first, Alone("n2", log) as second:
            first.leader = wire.Leader(node="n2", address=second.address)
            second.leader = wire.Leader(node="n1", address=first.address)
            async with Client([first.address, second.address]) as client:
                for number in range(1, 51):
                    assert await client.execute(Notes.add, 1) == number
                assert len(first.runs) + len(second.runs) == 50
                assert len(first.connections) + len(second.connections) == 1

    run(main)


def test_a_client_that_must_not_follow_stays_where_it_was_sent() -> None:
    async def main() -> None:
        log = Log()
        async with Alone("n1", log) as first, Alone("n2", log) as second:
            first.follow(second)
            async with Client([first.address], follow_leader=False) as client:
                assert await client.execute(Notes.add, 1) == 1
            assert not second.runs

    run(main)


def test_an_expired_session_leaves_what_was_sent_unknown_and_another_one_begins() -> None:
    async def main() -> None:
        async with Alone() as node, Client([node.address]) as client:
            await client.execute(Notes.add, 1)
            node.log.let_pass(2 * EXPIRY_S)
            with pytest.raises(OutcomeUnknownError, match="expired"):
                await client.execute(Notes.add, 10)
            assert await client.execute(Notes.add, 100) == 101
            assert len({run.random for run in node.runs}) == 2

    run(main)


def test_a_command_refused_after_others_were_sent_leaves_no_gap() -> None:
    async def main() -> None:
        async with Alone() as node, Client([node.address]) as client:
            await client.execute(Notes.add, 1)
            with pytest.raises(RejectedError):
                await client.execute("add", "one")
            assert await client.execute(Notes.add, 10) == 11
            assert node.runs[-1].payloads[0] == VOID

    run(main)


def test_a_node_that_reads_no_further_leaves_calls_unsent() -> None:
    """An overloaded node stops reading; the client gives numbers only to calls that it could write."""

    async def main() -> None:
        async with Alone() as node:
            release = asyncio.Event()

            async def hold(connection: object) -> None:
                await release.wait()

            node.handle = lambda connection, run: hold(connection)
            async with Client([node.address]) as client:
                calls = [asyncio.ensure_future(client.execute(Notes.put, "k", "x" * 500_000)) for _ in range(100)]
                await node.took(1)
                calls += [asyncio.ensure_future(client.execute(Notes.put, "k", "y", timeout=0.2)) for _ in range(3)]
                ends = await asyncio.gather(*calls[-3:], return_exceptions=True)
                assert {type(end) for end in ends} == {UnavailableError}
            release.set()
            await asyncio.gather(*calls, return_exceptions=True)

    run(main)


def test_more_calls_than_the_bound_are_refused_and_may_be_made_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(started_module, "CALLS_MAX", 5)

    async def main() -> None:
        async with Alone() as node, Client([node.address]) as client:
            ends = await asyncio.gather(*(client.execute(Notes.add, 1) for _ in range(8)), return_exceptions=True)
            assert [end for end in ends if isinstance(end, int)] == [1, 2, 3, 4, 5]
            refused = [end for end in ends if isinstance(end, OverloadedError)]
            assert len(refused) == 3
            assert all(error.retry_after > 0 for error in refused)
            assert await client.execute(Notes.add, 1) == 6

    run(main)


async def fill(client: Client, node: Alone) -> None:
    """Make three calls that ``node`` loses and whose callers give up."""
    node.handle = node.lose
    lost = [asyncio.ensure_future(client.execute(Notes.put, key, "x" * 3_000)) for key in "abc"]
    await node.took(1)
    let_deadlines_come(client)
    ends = await asyncio.gather(*lost, return_exceptions=True)
    assert {type(end) for end in ends} == {OutcomeUnknownError}


async def is_answered(client: Client) -> None:
    async with asyncio.timeout(10):
        while client._started._conversation.held_bytes:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)


def test_what_was_given_up_is_answered_by_the_node_that_comes_back_and_takes_no_room_any_more() -> None:
    async def main() -> None:
        log = Log()
        async with Alone("n1", log) as node, Client([node.address]) as client:
            await fill(client, node)
            await node.close()
            again = Alone("n1", log)
            await again.start(node.address)
            try:
                await is_answered(client)
            finally:
                await again.close()
            assert sorted(log.machine.data) == ["a", "b", "c"]
            assert [run.first for run in again.runs] == [1]

    run(main)


@pytest.mark.usefixtures("impatient")
def test_a_call_that_finds_no_room_has_what_was_given_up_said_to_another_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(started_module, "BYTES_MAX", 10_000)

    async def main() -> None:
        log = Log()
        async with (
            Alone("n1", log) as first,
            Alone("n2", log) as second,
            Client([first.address, second.address]) as client,
        ):
            await fill(client, first)
            await asyncio.sleep(0.3)  # until nothing is due any more
            with pytest.raises(OverloadedError, match="bytes are not answered"):
                await client.execute(Notes.put, "d", "x" * 3_000)
            await is_answered(client)
            await client.execute(Notes.put, "d", "x" * 3_000)
            assert sorted(log.machine.data) == ["a", "b", "c", "d"]
            assert [len(run.payloads) for run in first.runs + second.runs] == [3, 3, 1]

    run(main)


def test_an_address_is_host_and_port_with_a_name_or_without() -> None:
    assert parse_address("127.0.0.1:7001") == "127.0.0.1:7001"
    assert parse_address("n1=db.example:7001") == "db.example:7001"
    assert parse_address("[::1]:7001") == "[::1]:7001"
    for wrong in ("", "7001", "host:", ":7001", "host:port", "host:0", "host:70000"):
        with pytest.raises(ConfigError, match="host:port"):
            parse_address(wrong)


def test_a_client_needs_a_list_of_addresses() -> None:
    with pytest.raises(ConfigError, match="list"):
        Client([])
    with pytest.raises(ConfigError, match="list"):
        Client("127.0.0.1:7001")
    with pytest.raises(ConfigError, match=r"list\(CLUSTER.values\(\)\)"):
        Client({"n1": "127.0.0.1:7001"})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"list of at least one address, .* not 7001"):
        Client(7001)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="7001 is not a valid address"):
        Client([7001])  # type: ignore[list-item]


@pytest.mark.parametrize("timeout", [0, -1, "1"])
def test_the_timeout_of_a_client_is_a_number_of_seconds_greater_than_0(timeout: float) -> None:
    with pytest.raises(ConfigError, match="give a number of seconds greater than 0, or None to wait without limit"):
        Client(["127.0.0.1:7001"], timeout)


def test_what_failed_while_nobody_could_be_reached_is_not_shunned_afterwards() -> None:
    """Otherwise a client that was started before the cluster would talk to a follower for a minute."""
    book = AddressBook(["a:1", "b:1"], Random(1))
    for round in range(8):
        book.not_reached("a:1", float(round))
        book.not_reached("b:1", float(round))
    assert book.may_follow_at("b:1") > 30.0

    book.reached("a:1")

    assert book.may_follow_at("b:1") < 0


def test_the_book_rests_only_after_every_address_failed_and_shuns_hints_that_failed() -> None:
    book = AddressBook(["a:1", "b:1"], Random(1))
    assert [book.next(), book.next(), book.next()] == ["a:1", "b:1", "a:1"]
    book.not_reached("a:1", 10.0)
    assert book.pause_s() == 0.0
    book.not_reached("b:1", 10.0)
    assert 0.0 < book.pause_s() <= 0.04
    assert book.may_follow_at("a:1") == 10.25
    book.not_reached("a:1", 11.0)
    assert book.may_follow_at("a:1") == 11.5
    book.reached("a:1")
    assert book.may_follow_at("a:1") < 0
    book.followed(12.0)
    assert book.may_follow_at("a:1") == 13.0
    book.learn("c:1")
    assert book.known == ("a:1", "b:1", "c:1")


@pytest.mark.usefixtures("impatient")
def test_a_client_leaves_a_node_that_knows_no_leader_once_its_patience_ends() -> None:
    """It must recheck in time even if it has nothing to send there."""

    async def main() -> None:
        log = Log()
        async with Alone("n1", log) as cut_off, Alone("n2", log) as other:
            cut_off.leader = wire.Leader()
            async with Client([cut_off.address, other.address]) as client:
                assert await client.execute(Notes.add, 1, timeout=5.0) == 1
            assert not cut_off.runs

    run(main)


def test_a_name_given_with_an_address_counts_more_than_what_nodes_say() -> None:
    book = AddressBook(["n1=a:1", "b:1"], Random(1))

    assert book.address_of("n1", "elsewhere:1") == "a:1"
    assert book.address_of("n2", "elsewhere:2") == "elsewhere:2"
    assert book.address_of("", "") == ""


def test_a_leader_is_followed_to_the_address_it_was_given_under() -> None:
    """Nodes may know each other by addresses that cannot be reached from here."""

    async def main() -> None:
        log = Log()
        async with Alone("n1", log) as first, Alone("n2", log) as second:
            first.leader = wire.Leader(node="n2", address="127.0.0.1:1")
            async with Client([f"n1={first.address}", f"n2={second.address}"]) as client:
                assert await client.execute(Notes.add, 1) == 1
            assert not first.runs
            assert len(second.runs) == 1

    run(main)


def test_an_address_just_left_is_not_the_next_one_unless_there_is_no_other() -> None:
    book = AddressBook(["a:1", "b:1", "c:1"], Random(1))
    assert [book.next(), book.next("b:1"), book.next()] == ["a:1", "c:1", "a:1"]
    assert AddressBook(["a:1"], Random(1)).next("a:1") == "a:1"


@pytest.mark.usefixtures("impatient")
def test_the_only_node_that_can_be_reached_is_asked_again_after_it_was_left() -> None:
    async def main() -> None:
        (nobody,) = free_addresses(1)
        async with Alone() as node:
            async with Client([node.address, nobody]) as client:
                assert await client.execute(Notes.add, 1) == 1
                node.handle = node.lose
                lost = asyncio.ensure_future(client.execute(Notes.add, 10))
                await node.took(2)
                node.handle = node.apply
                assert await lost == 11
            assert len(node.runs) >= 3

    run(main)


OURS, THEIRS = b"a" * 16, b"b" * 16


@pytest.mark.parametrize("blank", [False, True], ids=["founded", "not founded yet"])
def test_a_node_that_is_not_of_this_cluster_is_left_alone_for_one_that_is(blank: bool) -> None:
    """A node that lost its data is about to found another cluster: it must not answer for the former one."""

    async def main() -> None:
        async with Alone("n1") as node, Alone("n2") as other:
            node.cluster_id = OURS
            async with Client([node.address, other.address]) as client:
                assert await client.execute(Notes.add, 1) == 1
                address = node.address
                await node.close()
                other.cluster_id = b"" if blank else THEIRS
                calls = [client.execute(Notes.add, 1), client.query(Notes.sum)]
                waiting = asyncio.gather(*calls)
                again = Alone("n1", node.log)
                again.cluster_id = OURS
                while not other.greeted:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                await again.start(address)
                assert await waiting == [2, 2]
                await again.close()
            assert not other.runs
            assert not other.queries

    run(main)


def test_when_all_nodes_are_of_another_cluster_what_was_not_sent_fails_at_once() -> None:
    async def main() -> None:
        async with Alone() as node:
            node.cluster_id = OURS
            async with Client([node.address], timeout=None) as client:
                assert await client.execute(Notes.add, 1) == 1
                node.handle = node.lose
                sent = asyncio.ensure_future(client.execute(Notes.add, 1, timeout=60.0))
                await node.took(2)
                address = node.address
                await node.close()
                again = Alone("n1", node.log)
                again.cluster_id = THEIRS
                await again.start(address)
                with pytest.raises(UnavailableError, match=r"different cluster .* never sent"):
                    await client.execute(Notes.add, 1)
                with pytest.raises(UnavailableError, match=r"different cluster .* changed nothing"):
                    await client.query(Notes.sum)
                assert not sent.done()
                let_deadlines_come(client)
                with pytest.raises(OutcomeUnknownError, match=r"different cluster .* may have been applied"):
                    await sent
                # A client made now knows nothing of the one that is gone.
                async with Client([address]) as other:
                    assert await other.query(Notes.sum) == 1
                again.cluster_id = OURS
                assert await client.execute(Notes.add, 1) == 3  # what was lost on the way was said again
                await again.close()

    run(main)


def test_a_client_that_is_closed_while_it_lets_go_of_a_stream_leaves_nothing_behind() -> None:
    async def main() -> None:
        async with Alone() as node:
            node.cluster_id = THEIRS
            for turns in range(40):
                async with Client([node.address]) as client:
                    client._started._conversation._cluster_id = OURS
                    greeted = node.greeted
                    while node.greeted == greeted:  # noqa: ASYNC110
                        await asyncio.sleep(0)
                    for _ in range(turns):
                        await asyncio.sleep(0)

    run(main)
