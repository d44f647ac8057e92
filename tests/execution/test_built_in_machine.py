"""The built-in second machine: bare Paxos instances and leases, in the log, the digest and every snapshot."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from paxospp.errors import CommandError, RejectedError
from paxospp.execution.executor import Executor
from paxospp.model import Ballot, Change, Entry, Kind, Member, Membership, NodeId, Slot
from paxospp.sessions.runs import Run, encode_commands, encode_run
from paxospp.sessions.table import RunAnswer
from paxospp.state_machine import (
    Context,
    StateMachine,
    command,
    decode_untyped,
    encode_untyped,
    pack_call,
    pack_raw,
    query,
    read_outcome,
)

BALLOT = Ballot(1, NodeId("n1"), 1)


class Users(StateMachine):
    """A user's machine, which does not know the built-in one."""

    notes: list[str]

    def __init__(self) -> None:
        self.notes = []

    @command
    def note(self, text: str) -> int:
        self.notes.append(text)
        return len(self.notes)

    @query
    def read(self) -> list[str]:
        return self.notes


class Raw(StateMachine):
    """A machine that takes raw bytes, whose commands may look like anything."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def apply(self, command: bytes, context: Context) -> bytes:
        self.seen.append(command)
        return command

    def answer(self, request: bytes) -> bytes:
        return request

    def snapshot(self) -> Iterable[bytes]:
        return iter(self.seen)

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.seen = list(chunks)


class Log:
    """An executor and the one session that fills its log."""

    def __init__(self, machine: StateMachine | None = None) -> None:
        self.executor = Executor(machine or Users())
        self.entries: list[Entry] = []
        self.number = 0
        founding = Membership(
            cluster_id=bytes(16),
            group=0,
            alpha=4,
            session_expiry_s=100,
            replaces=Slot(0),
            members=(Member(NodeId("n1"), "h:1", 1),),
        )
        self.append(Kind.MEMBERSHIP, founding.to_bytes())

    def append(self, kind: Kind, value: bytes) -> list[RunAnswer]:
        self.entries.append(Entry(Slot(self.executor.applied + 1), BALLOT, kind, value))
        return list(self.executor.apply(self.entries[-1]))

    def run(self, *payloads: bytes, first: int | None = None, unix_time: int | None = None) -> list[Any]:
        """Apply one run in a slot of its own and return its results."""
        if first is None:
            first = self.number + 1
            self.number += len(payloads)
        run = encode_run(Run(0, b"r" * 16, first, 0, list(payloads)))
        time = len(self.entries) * 1_000_000 if unix_time is None else unix_time
        (answer,) = self.append(Kind.COMMANDS, encode_commands(0, time, [run]))
        answered = zip(payloads, answer.outcomes, strict=False)
        return [decode_untyped(read_outcome(one)) for payload, one in answered if payload]

    def changes(self) -> list[Change]:
        return [change for entry in self.entries for change in self.executor.changes(entry)]


def own(name: str, *arguments: Any) -> bytes:
    return encode_untyped(f"paxospp.{name}", arguments)


def note(text: str) -> bytes:
    return encode_untyped("note", [text])


# BuiltInMachine.


def test_the_first_proposal_that_is_applied_stays_the_value() -> None:
    log = Log()
    assert log.run(own("decide", "a", b"one"), own("decide", "a", b"two")) == [b"one", b"one"]
    assert log.run(own("decide", "b", b"two")) == [b"two"]
    assert decode_untyped(log.executor.answer(own("decided", "a"))) == b"one"
    assert decode_untyped(log.executor.answer(own("decided", "c"))) is None


def test_a_forgotten_instance_is_never_decided_again() -> None:
    log = Log()
    assert log.run(own("forget", "a")) == [False]
    assert log.run(own("decide", "a", b"one"), own("forget", "a"), own("forget", "a")) == [b"one", True, False]
    assert decode_untyped(log.executor.answer(own("decided", "a"))) is None
    with pytest.raises(CommandError, match="ForgottenError"):
        log.run(own("decide", "a", b"two"))


def test_leases_are_enabled_and_disabled_at_a_slot() -> None:
    log = Log()
    assert log.executor.lease_us == 0
    log.run(own("set_lease", 1_000_000))
    assert log.executor.lease_us == 1_000_000
    with pytest.raises(CommandError, match="a lease must last"):
        log.run(own("set_lease", 1))
    log.run(own("set_lease", 0))
    assert log.executor.lease_us == 0


def test_the_users_machine_gets_none_of_its_commands_and_may_use_the_same_names() -> None:
    log = Log()
    log.run(note("paxospp.decide"), own("decide", "a", b"x"), note("b"))
    assert decode_untyped(log.executor.answer(encode_untyped("read", []))) == ["paxospp.decide", "b"]
    with pytest.raises(RejectedError):
        log.executor.check_command(encode_untyped("decide", ["a", b"x"]))
    with pytest.raises(RejectedError):
        log.executor.answer(own("read"))


@pytest.mark.parametrize(
    "payload",
    [
        own("nothing"),
        own("decide", "a"),
        own("decide", 1, b"x"),
        own("decide", "a", "not bytes"),
        own("decided", "a"),
        pack_call("paxospp.", b"\x90"),
        b"\x03paxospp.decide",
        b"\xffpaxospp.decide",
    ],
)
def test_a_command_that_it_does_not_understand_is_refused_before_it_is_proposed(payload: bytes) -> None:
    with pytest.raises(RejectedError):
        Log().executor.check_command(payload)


def test_raw_bytes_that_look_like_its_names_go_to_the_users_machine() -> None:
    raw = Raw()
    log = Log(raw)
    looks = pack_raw(b"paxospp.decide")
    log.executor.check_command(looks)
    run = encode_run(Run(0, b"r" * 16, 1, 0, [looks, own("decide", "a", b"x")]))
    (answer,) = log.append(Kind.COMMANDS, encode_commands(0, 0, [run]))
    assert raw.seen == [b"paxospp.decide"]
    assert read_outcome(answer.outcomes[0]) == b"paxospp.decide"
    assert log.executor.answer(looks) == b"paxospp.decide"
    assert decode_untyped(log.executor.answer(own("decided", "a"))) == b"x"
    assert [change.arguments for change in log.changes()] == [b"paxospp.decide"]


def test_its_state_is_part_of_every_snapshot_and_of_the_digest() -> None:
    log, other = Log(), Log()
    log.run(own("decide", "a", b"x" * 100_000), own("decide", "b", b"y"), own("forget", "b"), own("set_lease", 50_000))
    other.run(
        own("decide", "a", b"z" * 100_000), own("decide", "b", b"y"), own("forget", "b"), own("set_lease", 50_000)
    )
    assert log.executor.digest != other.executor.digest

    restored = Executor(Users())
    restored.restore(log.executor.encode_snapshot())
    assert restored.lease_us == 50_000
    assert decode_untyped(restored.answer(own("decided", "a"))) == b"x" * 100_000
    assert b"".join(restored.encode_snapshot()) == b"".join(log.executor.encode_snapshot())
    log.executor = restored
    with pytest.raises(CommandError, match="ForgottenError"):
        log.run(own("decide", "b", b"z"))


# Which commands took effect.


def test_the_change_feed_lists_commands_that_took_effect_with_their_position_and_time() -> None:
    log = Log()
    log.run(note("a"), own("decide", "x", b""), b"", note("b"))
    assert log.changes() == [
        Change(Slot(2), 0, 1.0, "note", b"\x91\xa1a"),
        Change(Slot(2), 3, 1.0, "note", b"\x91\xa1b"),
    ]


def test_the_change_feed_omits_copies_gaps_and_the_known_part_of_a_run() -> None:
    log = Log()
    log.run(note("1"), note("2"))
    log.run(note("1"), note("2"), first=1)
    log.run(note("9"), first=9)
    log.run(note("2"), note("3"), first=2)
    log.number = 3
    assert [(c.slot, c.position) for c in log.changes()] == [(2, 0), (2, 1), (5, 1)]


def test_the_time_of_a_change_equals_the_context_time_of_its_command() -> None:
    log = Log()
    for unix_time in (5, 9, 7, 8, 10, 3, 11):
        log.run(note("x"), unix_time=unix_time * 1_000_000)
    assert [change.time for change in log.changes()] == [5, 9, 9, 9, 10, 10, 11]


def test_a_restored_snapshot_knows_the_changes_of_entries_before_it() -> None:
    log = Log()
    log.run(note("1"), note("2"), unix_time=9_000_000)
    log.run(note("2"), note("3"), first=2, unix_time=7_000_000)
    told = log.changes()
    restored = Executor(Users())
    restored.restore(log.executor.encode_snapshot())
    assert restored.changes_from == 1
    assert [change for entry in log.entries for change in restored.changes(entry)] == told


def test_with_too_many_exceptions_the_feed_no_longer_covers_the_oldest_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paxospp.execution.effects.PASSED_OVER_MAX", 2)
    monkeypatch.setattr("paxospp.execution.effects.PEAKS_MAX", 2)
    log = Log()
    log.run(note("1"))
    for _ in range(3):
        log.run(note("1"), first=1)
    assert log.executor.changes_from == 4
    for unix_time in (100, 1, 101, 1, 102, 1):
        log.run(note("x"), unix_time=unix_time * 1_000_000)
    assert log.executor.changes_from == 9
    assert [change.time for change in log.changes() if change.slot >= 9] == [101, 102, 102]
