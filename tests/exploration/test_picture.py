"""Pictures and copies of replicas, taken in the states that the scenarios end in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from paxospp.engine.replica import Replica
from paxospp.messages import Accept, Heartbeat, Prepare
from paxospp.model import Kind, Slot
from paxospp.testing.engine_settings import engine_settings
from paxospp.testing.exploration.picture import IRRELEVANT, duplicate, fields_of, parts, picture
from paxospp.testing.exploration.timeless import Timer, duplicate_without_time, picture_without_time
from paxospp.testing.scenario.verbs import perform
from paxospp.testing.scenario.world import ScenarioWorld
from tests.engine.words import N1, N2, N3, ballot, entry, founded, promise, sender, sent

SCENARIOS = sorted((Path(__file__).parents[1] / "engine/scenarios").glob("*.txt"))


def replicas_of(scenario: Path) -> Iterator[tuple[Replica, float]]:
    """Yield each replica that runs at the end of a scenario, with the time of that moment."""
    world = ScenarioWorld(engine_settings())
    for block in scenario.read_text().split("\n\n"):
        for line in block.split("\n----", 1)[0].splitlines():
            if line and not line.startswith("#"):
                perform(world, line.split())
    for host in world.hosts.values():
        if host.replica is not None:
            yield host.replica, world.now


def drive(replica: Replica, now: float) -> list[object]:
    """Make a replica handle ticks, messages and a finished write, and return its outputs."""
    peer = next(iter(sorted(replica.protocol.cluster.others)), None)
    outputs: list[object] = [replica.on_tick(now + 0.3), replica.campaign(now + 0.31)]
    if peer is not None and replica.membership is not None:
        member = next((member for member in replica.membership.members if member.name == peer), None)
        if member is not None:
            high = ballot(99)._replace(node=peer, incarnation=member.incarnation)
            who = replica.sender._replace(node=peer, incarnation=member.incarnation, boot=99, nonce=99)
            accept = Accept(
                ballot=high,
                slot=Slot(replica.decided + 1),
                kind=Kind.COMMANDS,
                value=b"driven",
                decided_up_to=replica.decided,
            )
            beat = Heartbeat(
                round=1,
                leading=None,
                quorum_connected=False,
                decided_up_to=Slot(0),
                promised=high,
                remembered=Slot(99),
                booted_with=high,
            )
            prepare = Prepare(ballot=high, start=Slot(replica.decided + 1))
            outputs.extend(replica.on_message(who, message, now + 0.4) for message in (beat, prepare, accept))
    outputs.append(replica.on_persisted(10**6, now + 0.5))
    outputs.append(replica.on_tick(now + 1.5))
    return outputs


@cache
def states() -> list[tuple[Replica, float]]:
    """Return the last state of every scenario and three more; together they contain an object of every class."""
    assert SCENARIOS
    found = [state for path in SCENARIOS for state in replicas_of(path)]
    campaigning = founded()
    campaigning.campaign(0.0)
    reading = founded()
    reading.on_message(sender(N2), promise_to_lead(reading), 0.0)
    leading = founded()
    leading.campaign(0.0)
    leading.on_persisted(1, 0.0)
    leading.on_message(sender(N2), promise(ballot(2), entry(3, ballot(1)), decided=1, first=2), 0.0)
    leading.read(7, 0.0)
    leading.propose(b"x", 0.0)
    return [*found, (campaigning, 0.0), (reading, 0.0), (leading, 0.0)]


def promise_to_lead(replica: Replica) -> Heartbeat:
    return Heartbeat(
        round=1,
        leading=ballot(5, N2),
        quorum_connected=True,
        decided_up_to=Slot(4),
        promised=ballot(5, N2),
        remembered=Slot(1),
        booted_with=None,
    )


def test_a_copy_does_what_the_original_does_and_neither_moves_the_other() -> None:
    for replica, now in states()[::4]:
        before = picture(replica)
        copied = duplicate(replica)

        assert picture(copied) == before
        assert [type(part) for part in parts(copied)] == [type(part) for part in parts(replica)]
        assert not {id(part) for part in parts(replica)} & {id(part) for part in parts(copied)}
        outputs = drive(copied, now)
        assert picture(replica) == before
        assert picture(copied) != before
        again = duplicate(replica)
        assert drive(again, now) == outputs
        assert picture(again) == picture(copied)


def test_a_picture_leaves_out_no_field_but_those_that_are_named_with_a_reason() -> None:
    missing: set[tuple[str, str]] = set()
    seen: set[tuple[str, str]] = set()
    for replica, _ in states():
        for number, part in enumerate(list(parts(replica))):
            for name in fields_of(part):
                field = type(part).__name__, name
                if field in seen:
                    continue
                seen.add(field)
                copied = duplicate(replica)
                twin = list(parts(copied))[number]
                assert type(twin) is type(part)
                setattr(twin, name, "changed")
                if picture(copied) == picture(replica):
                    missing.add(field)
    looks_on = {field for field in seen if field[1] == "_observer"}

    assert missing - looks_on == set(IRRELEVANT)
    assert len({owner for owner, _ in seen}) > 25


def test_a_picture_without_time_does_not_depend_on_any_time_that_a_replica_keeps() -> None:
    """Two replicas with the same history at different times have the same picture."""
    for replica, _ in states():
        early = duplicate(replica)
        late = duplicate(replica)
        for part in parts(late):
            for name in fields_of(part):
                value = getattr(part, name)
                is_a_length = name.endswith(("_s", "_wait_s")) or type(part).__name__ == "Lease"
                if isinstance(value, float) and abs(value) < math.inf and not is_a_length:
                    setattr(part, name, value + 3.25)

        assert picture_without_time(early) == picture_without_time(late)


def leader() -> Replica:
    """Return n1, which leads and has proposed a value that no peer has accepted yet."""
    replica = founded()
    replica.campaign(0.0)
    replica.on_persisted(1, 0.0)
    replica.on_message(sender(N2), promise(ballot(2), decided=1, first=2), 0.0)
    replica.propose(b"x", 0.0)
    return replica


def test_only_the_requested_timer_of_a_replica_without_time_is_due() -> None:
    replica = leader()

    nothing = duplicate_without_time(replica).on_tick(0.0)
    resent = duplicate_without_time(replica, due=Timer.RESEND).on_tick(0.0)
    beat = duplicate_without_time(replica, due=Timer.HEARTBEAT).on_tick(0.0)
    ended = duplicate_without_time(replica, due=Timer.WINDOW)
    ended.on_tick(0.0)

    assert not nothing.send_now
    assert not nothing.send_after_persist
    assert [accept.slot for accept in sent(resent, Accept)] == [2, 2]
    assert not sent(resent, Heartbeat)
    assert len(sent(beat, Heartbeat)) == 2
    assert not sent(beat, Accept)
    assert not ended.leading


def test_a_candidate_without_time_asks_again_or_gives_up() -> None:
    replica = founded()
    replica.campaign(0.0)

    asked = duplicate_without_time(replica, due=Timer.RESEND).on_tick(0.0)
    ended = duplicate_without_time(replica, due=Timer.WINDOW)
    ended.on_tick(0.0)

    assert [send.to for send in asked.send_after_persist if isinstance(send.message, Prepare)] == [N2, N3]
    assert ended.role_name == "follower"


def test_a_replica_without_time_fetches_only_what_it_lacks() -> None:
    replica = founded()
    idle = duplicate_without_time(replica, due=Timer.FETCH).on_tick(0.0)
    replica.on_message(sender(N2), promise_to_lead(replica), 0.0)
    waits = duplicate_without_time(replica).on_tick(0.0)
    fetches = duplicate_without_time(replica, due=Timer.FETCH).on_tick(0.0)

    assert not idle.send_now
    assert not waits.send_now
    assert [(send.to, type(send.message).__name__) for send in fetches.send_now] == [(N2, "CatchUp")]


def test_without_time_pending_writes_are_numbered_from_one() -> None:
    replica = leader()
    copied = duplicate_without_time(replica)

    output = copied.on_persisted(1, 0.0)

    assert replica.protocol.writes.last_token == 2
    assert output.token == 1
    assert not copied.protocol.writes.out


def test_a_copy_of_a_replica_draws_what_the_original_draws() -> None:
    replica = founded()
    copied = duplicate(replica)

    replica.on_message(sender(N2), Prepare(ballot=ballot(5, N2), start=Slot(2)), 0.0)
    copied.on_message(sender(N2), Prepare(ballot=ballot(5, N2), start=Slot(2)), 0.0)

    assert replica.protocol.election.next_at == copied.protocol.election.next_at
    assert replica.identity.name == N1
