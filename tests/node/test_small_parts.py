"""The small parts of the node: identity, deadlines, the log time, default arguments."""

from __future__ import annotations

import asyncio
import math
import secrets

import pytest

import paxospp
from paxospp import Ballot, DurableState, Entry, Kind, NodeId, Slot
from paxospp.errors import ConfigError, CorruptedError
from paxospp.model import Member, Membership
from paxospp.node.default_arguments import DefaultArguments
from paxospp.node.identity import StoredIdentity
from paxospp.node.inbox import LogClock
from paxospp.rpc.deadlines import Deadlines
from tests.cluster.embedding import Notes, run

N1, N2, N3 = NodeId("n1"), NodeId("n2"), NodeId("n3")
CLUSTER = {N1: "h:1", N2: "h:2", N3: "h:3"}


def test_a_blank_storage_gets_an_incarnation_and_each_later_start_only_a_boot() -> None:
    blank = StoredIdentity(N1, CLUSTER, DurableState(), None)
    identity, batch = blank.begin(CLUSTER, secrets.randbits)
    assert batch.sync
    assert identity.incarnation > 0
    assert identity.boot == 1

    again = StoredIdentity(N1, CLUSTER, DurableState(meta=batch.meta), None)
    second, batch_again = again.begin(CLUSTER, secrets.randbits)
    assert second.incarnation == identity.incarnation
    assert second.boot == 2
    assert second.nonce != identity.nonce
    assert batch_again.meta.keys() == {"boot"}


def test_two_blank_storages_of_one_name_get_different_incarnations() -> None:
    first, _ = StoredIdentity(N1, CLUSTER, DurableState(), None).begin(CLUSTER, secrets.randbits)
    second, _ = StoredIdentity(N1, CLUSTER, DurableState(), None).begin(CLUSTER, secrets.randbits)
    assert first.incarnation != second.incarnation


def test_a_storage_of_another_name_or_cluster_is_refused() -> None:
    _, batch = StoredIdentity(N1, CLUSTER, DurableState(), None).begin(CLUSTER, secrets.randbits)
    state = DurableState(meta=batch.meta)
    with pytest.raises(ConfigError, match="of node 'n1', not of 'n2'"):
        StoredIdentity(N2, CLUSTER, state, None)
    with pytest.raises(ConfigError, match=r"cluster n1, n2, n3, but .* n1, n2: start"):
        StoredIdentity(N1, {N1: "h:1", N2: "h:2"}, state, None)


def test_once_founded_the_names_come_from_the_founding_membership() -> None:
    _, batch = StoredIdentity(N1, CLUSTER, DurableState(), None).begin(CLUSTER, secrets.randbits)
    founding = Membership(
        cluster_id=bytes(16),
        group=0,
        alpha=8,
        session_expiry_s=60,
        replaces=Slot(0),
        members=(Member(N1, "h:1", 1), Member(N2, "h:2", 2)),
    )
    entry = Entry(Slot(1), Ballot(1, N1, 1), Kind.MEMBERSHIP, founding.to_bytes())
    state = DurableState(meta=batch.meta, decided=Slot(1), last=Slot(1))
    with pytest.raises(ConfigError, match="cluster n1, n2, but"):
        StoredIdentity(N1, CLUSTER, state, entry)
    StoredIdentity(N1, {N1: "h:1", N2: "h:2"}, state, entry)


def test_a_log_without_an_identity_is_reported_as_damage() -> None:
    with pytest.raises(CorruptedError, match="but no identity"):
        StoredIdentity(N1, CLUSTER, DurableState(promised=Ballot(1, N1, 1)), None)
    with pytest.raises(CorruptedError, match="identity"):
        StoredIdentity(N1, CLUSTER, DurableState(meta={"identity": b"\xc1"}), None)


def test_calls_end_at_their_own_deadlines_unless_they_were_removed() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        due: asyncio.Queue[tuple[str, float]] = asyncio.Queue()
        deadlines: Deadlines[str] = Deadlines(loop, lambda call: due.put_nowait((call, loop.time())))
        began = loop.time()
        deadlines.add("late", 0.15)
        deadlines.add("soon", 0.05)
        deadlines.add("never", None)
        deadlines.add("answered", 0.01)
        deadlines.open.pop("answered")
        deadlines.add("at once", 0.0)
        assert [(await due.get())[0] for _ in range(3)] == ["at once", "soon", "late"]
        assert 0.15 <= loop.time() - began < 1.0
        assert deadlines.open == {"never": math.inf}
        deadlines.close()

    run(main)


def test_thousands_of_different_deadlines_need_few_sweeps() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        left = set(range(5000))

        def on_due(call: int) -> None:
            left.discard(call)
            if not left:
                done.set()

        deadlines: Deadlines[int] = Deadlines(loop, on_due)
        for call in range(5000):
            deadlines.add(call, 0.01 + call * 0.00004)
        async with asyncio.timeout(5):
            await done.wait()
        deadlines.close()

    run(main)


def test_log_time_continues_from_the_last_stamp_applied_or_made_and_never_goes_back() -> None:
    clock = LogClock()
    clock.observe(0, 100.0)
    assert clock.stamp(100.5, 3600) == 500_000
    assert clock.stamp(100.5, 3600) == 500_000
    clock.observe(400_000, 101.0)  # the clock's own stamp, applied
    assert clock.stamp(101.0, 3600) == 1_000_000
    clock.observe(9_000_000, 102.0)  # a stamp of another leader
    assert clock.stamp(102.25, 3600) == 9_250_000


def test_time_without_a_leader_does_not_count_after_a_restart() -> None:
    clock = LogClock()
    clock.observe(7_000_000, 5000.0)
    assert clock.stamp(5001.0, 3600) == 8_000_000


def test_a_long_silence_or_a_clock_jump_never_expires_a_new_session() -> None:
    clock = LogClock()
    clock.observe(7_000_000, 5000.0)
    assert clock.stamp(5000.0 + 7 * 3600, 3600) == 7_000_000 + 900_000_000
    assert clock.stamp(5000.0 + 7 * 3600 + 1, 3600) == 7_000_000 + 901_000_000


def test_commands_are_completed_with_the_current_defaults() -> None:
    completer = DefaultArguments(Notes())
    short = paxospp.state_machine.encode_untyped("put", ("a",))
    assert completer.fill_in(short) == Notes.put.encode(("a", "nothing"))
    whole = Notes.put.encode(("a", "b"))
    assert completer.fill_in(whole) == whole
    payloads = [whole, Notes.add.encode((1,)), b""]
    assert completer.fill_in_all(payloads) is payloads
    assert completer.fill_in_all([short, whole]) == [Notes.put.encode(("a", "nothing")), whole]
