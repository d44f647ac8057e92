"""The executor: entries in slot order, exceptions of commands, the two clocks of the log, snapshots."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from paxospp.errors import CommandError, CorruptedError, InvariantViolatedError, RejectedError, ReplicaStoppedError
from paxospp.execution.executor import Executor
from paxospp.execution.snapshot import check_snapshot
from paxospp.model import Ballot, Entry, Kind, Member, Membership, NodeId, Slot
from paxospp.sessions.runs import VOID, Run, encode_commands, encode_run
from paxospp.sessions.table import RunAnswer, RunStatus
from paxospp.state_machine import (
    OUTCOME_REJECTED,
    Context,
    StateMachine,
    command,
    decode_untyped,
    pack_call,
    pack_raw,
    query,
    read_outcome,
)

BALLOT = Ballot(1, NodeId("n1"), 1)
SECOND = 1_000_000
RANDOM = b"r" * 16


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


RAISES: dict[str, Callable[[], BaseException]] = {
    "value": lambda: ValueError("bad value"),
    "permission": lambda: PermissionError("not the owner"),
    "unprintable": Unprintable,
    "huge": lambda: ValueError("é" * 5_000),
    "surrogate": lambda: ValueError("\ud800"),
    "group": lambda: ExceptionGroup("several", [ValueError("a"), PermissionError("b")]),
    "rejected": lambda: RejectedError("by hand"),
    "interrupt": KeyboardInterrupt,
    "exit": lambda: SystemExit(3),
    "memory": MemoryError,
    "recursion": RecursionError,
    "disk": lambda: OSError(errno.EIO, "disk"),
    "missing": lambda: FileNotFoundError(errno.ENOENT, "no such file"),
    "group with disk": lambda: ExceptionGroup("several", [ValueError("a"), OSError(errno.ENOSPC, "full")]),
}


class Journal(StateMachine):
    """A machine that records lines and can report the context of its commands."""

    lines: list[str]

    def __init__(self) -> None:
        self.lines = []

    @command
    def note(self, line: str, times: int = 1) -> int:
        self.lines += [line] * times
        return len(self.lines)

    @command
    def where(self) -> tuple[int, int, float, float]:
        return self.context.slot, self.context.position, self.context.time, self.context.random.random()

    @command
    def note_and_raise(self, line: str, what: str) -> None:
        self.lines.append(line)
        raise RAISES[what]()

    @command
    def unencodable(self) -> Any:
        self.lines.append("unencodable")
        return object()

    @query
    def read(self) -> list[str]:
        return self.lines

    @query
    def when(self) -> tuple[int, float]:
        return self.context.slot, self.context.time

    @query
    def ask_and_raise(self, what: str) -> None:
        raise RAISES[what]()


class Bytes(StateMachine):
    """A machine that takes raw bytes and counts them."""

    def __init__(self) -> None:
        self.total = 0

    def apply(self, command: bytes, context: Context) -> bytes:
        if command == b"not bytes":
            return "text"  # type: ignore[return-value]
        self.total += len(command)
        return b"%d at %d.%d" % (self.total, context.slot, context.position)

    def answer(self, request: bytes) -> bytes:
        return request + b" %d" % self.total

    def snapshot(self) -> Iterable[bytes]:
        return iter([b"total", b"%d" % self.total])

    def restore(self, chunks: Iterable[bytes]) -> None:
        _, total = chunks
        self.total = int(total)


def founding(cluster_id: bytes = b"c" * 16, session_expiry_s: int = 100) -> Entry:
    membership = Membership(
        cluster_id=cluster_id,
        group=0,
        alpha=256,
        session_expiry_s=session_expiry_s,
        replaces=Slot(0),
        members=(Member(NodeId("n1"), "127.0.0.1:7001", 1),),
    )
    return Entry(Slot(1), BALLOT, Kind.MEMBERSHIP, membership.to_bytes())


def founded(machine: StateMachine | None = None) -> Executor:
    executor = Executor(machine or Journal())
    executor.apply(founding())
    return executor


def run(first: int, *payloads: bytes, acknowledged: int = 0, random: bytes = RANDOM, opened: int = 0) -> Run:
    return Run(opened, random, first, acknowledged, list(payloads))


def commands(slot: int, *runs: Run, log_time: int = 0, unix_time: int = 0) -> Entry:
    return Entry(Slot(slot), BALLOT, Kind.COMMANDS, encode_commands(log_time, unix_time, [encode_run(r) for r in runs]))


def noop(slot: int) -> Entry:
    return Entry(Slot(slot), BALLOT, Kind.NOOP, b"")


def note(line: str) -> bytes:
    return Journal.note.encode((line,))


def results(answer: RunAnswer) -> list[Any]:
    return [decode_untyped(read_outcome(each)) for each in answer.outcomes]


def lines(executor: Executor) -> Any:
    return decode_untyped(executor.answer(Journal.read.encode()))


# ------------------------------------------------------------------------------- slots and runs


def test_commands_are_applied_in_order_and_answered_per_run() -> None:
    executor = founded()

    one, two = executor.apply(commands(2, run(1, note("a"), note("b")), run(1, note("c"), random=b"s" * 16)))

    assert (one.session.random, one.first, one.status, results(one)) == (RANDOM, 1, RunStatus.APPLIED, [1, 2])
    assert (two.session.random, two.first, two.status, results(two)) == (b"s" * 16, 1, RunStatus.APPLIED, [3])
    assert lines(executor) == ["a", "b", "c"]
    assert executor.applied == 2


def test_a_copy_of_a_run_in_a_later_slot_changes_nothing_and_gets_the_first_outcome() -> None:
    """Bug B34: the retry was chosen too."""
    executor = founded()
    [first] = executor.apply(commands(2, run(1, note("a"))))

    [second] = executor.apply(commands(3, run(1, note("a"))))

    assert second == first
    assert lines(executor) == ["a"]


def test_a_run_after_a_gap_has_no_effect_even_if_a_later_run_of_the_value_fills_the_gap() -> None:
    executor = founded()

    gap, mended = executor.apply(commands(2, run(2, note("b")), run(1, note("a"), note("b"))))

    assert (gap.status, gap.expected, gap.outcomes) == (RunStatus.GAP, 1, ())
    assert results(mended) == [1, 2]
    assert lines(executor) == ["a", "b"]


def test_a_slot_is_applied_once_and_none_is_skipped() -> None:
    executor = founded()
    executor.apply(noop(2))

    for slot in (1, 2, 4):
        with pytest.raises(InvariantViolatedError):
            executor.apply(noop(slot))
    assert executor.applied == 2


def test_only_a_founding_membership_may_be_in_slot_one() -> None:
    with pytest.raises(InvariantViolatedError):
        Executor(Journal()).apply(commands(1, run(1, note("a"))))


def test_the_founding_membership_takes_effect_and_a_no_op_changes_only_the_slot() -> None:
    executor = founded()
    before = executor.digest

    assert executor.apply(noop(2)) == []

    [(slot, membership)] = executor.memberships
    assert (slot, membership.alpha, membership.cluster_id) == (1, 256, b"c" * 16)
    assert executor.applied == 2
    assert executor.digest != before


def test_a_refused_number_has_no_effect_and_later_numbers_are_applied() -> None:
    executor = founded()

    [answer] = executor.apply(commands(2, run(1, note("a"), VOID, note("b"))))

    assert [each[0] for each in answer.outcomes] == [0, OUTCOME_REJECTED, 0]
    with pytest.raises(RejectedError):
        read_outcome(answer.outcomes[1])
    assert lines(executor) == ["a", "b"]


# ------------------------------------------------------------------------------- time and context


def test_log_time_and_unix_time_never_go_back() -> None:
    executor = founded()
    executor.apply(commands(2, run(1, note("a")), log_time=50 * SECOND, unix_time=1_000 * SECOND))
    executor.apply(commands(3, run(2, note("b")), log_time=20 * SECOND, unix_time=900 * SECOND))

    assert (executor.log_time, executor.unix_time) == (50 * SECOND, 1_000 * SECOND)
    [answer] = executor.apply(commands(4, run(3, Journal.where.encode()), unix_time=1_500_500_000))
    assert results(answer)[0][2] == 1500.5


def test_a_session_expires_by_the_logs_time_at_the_value_that_carries_it() -> None:
    executor = founded()
    executor.apply(commands(2, run(1, note("a")), log_time=5 * SECOND))
    executor.apply(commands(3, run(2, note("b")), log_time=104 * SECOND))

    alive, dead = executor.apply(
        commands(4, run(3, note("c")), run(1, note("x"), random=b"s" * 16, opened=SECOND), log_time=203 * SECOND)
    )
    [expired] = executor.apply(commands(5, run(4, note("d")), log_time=304 * SECOND))

    assert [alive.status, dead.status, expired.status] == [RunStatus.APPLIED, RunStatus.EXPIRED, RunStatus.EXPIRED]
    assert lines(executor) == ["a", "b", "c"]


def test_slot_and_position_identify_a_command_and_seed_its_random_numbers() -> None:
    where = Journal.where.encode()
    entry = commands(2, run(1, where, where), run(1, where, random=b"s" * 16), unix_time=7 * SECOND)

    one, two = ([results(answer) for answer in founded().apply(entry)] for _ in range(2))

    assert one == two
    [[(slot, position, time, chance), (_, second, _, other)], [(_, third, _, _)]] = one
    assert (slot, position, second, third, time) == (2, 0, 1, 2, 7.0)
    assert chance != other


def test_a_command_keeps_its_position_when_the_numbers_before_it_were_applied_already() -> None:
    executor = founded()
    executor.apply(commands(2, run(1, note("a"))))

    [answer] = executor.apply(commands(3, run(1, note("a"), Journal.where.encode())))

    assert results(answer)[1][:2] == [3, 1]


def test_a_query_sees_slot_and_time_of_the_last_applied_command() -> None:
    executor = founded()
    executor.apply(commands(2, run(1, note("a")), unix_time=9 * SECOND))
    executor.apply(noop(3))

    assert decode_untyped(executor.answer(Journal.when.encode())) == [3, 9.0]


# ------------------------------------------------------------------------------- raising


@pytest.mark.parametrize("what", ["value", "permission", "unprintable", "huge", "surrogate", "group", "rejected"])
def test_an_exception_is_a_result_and_what_was_changed_before_it_stays(what: str) -> None:
    executor = founded()

    [answer] = executor.apply(commands(2, run(1, Journal.note_and_raise.encode(("half", what)), note("next"))))

    with pytest.raises(CommandError) as raised:
        read_outcome(answer.outcomes[0])
    assert raised.value.type == type(RAISES[what]()).__name__
    assert len(raised.value.message.encode()) <= 1024
    assert lines(executor) == ["half", "next"]


def test_a_result_that_cannot_be_encoded_is_a_command_error_and_the_next_command_goes_on() -> None:
    executor = founded()

    [answer] = executor.apply(commands(2, run(1, Journal.unencodable.encode(), note("next"))))

    with pytest.raises(CommandError, match="cannot be encoded"):
        read_outcome(answer.outcomes[0])
    assert lines(executor) == ["unencodable", "next"]


@pytest.mark.parametrize("what", ["interrupt", "exit", "memory", "recursion", "disk", "missing", "group with disk"])
def test_an_error_that_only_this_machine_may_have_stops_the_replica_at_the_command(what: str) -> None:
    executor = founded()
    bad = Journal.note_and_raise.encode(("half", what))

    with pytest.raises(ReplicaStoppedError) as stopped:
        executor.apply(commands(2, run(1, note("a")), run(1, note("b"), bad, random=b"s" * 16)))

    assert (stopped.value.slot, stopped.value.position) == (2, 2)
    assert type(stopped.value.__cause__) is type(RAISES[what]())
    assert executor.applied == 1


def test_a_stopped_executor_refuses_to_continue() -> None:
    executor = founded()
    with pytest.raises(ReplicaStoppedError):
        executor.apply(commands(2, run(1, Journal.note_and_raise.encode(("half", "memory")))))

    for call in (
        lambda: executor.apply(noop(2)),
        lambda: executor.answer(Journal.read.encode()),
        lambda: executor.encode_snapshot(),
        lambda: executor.restore([]),
    ):
        with pytest.raises(ReplicaStoppedError, match="slot 2, command 0: MemoryError"):
            call()


@pytest.mark.parametrize(
    "payload",
    [
        pack_call("unknown", b"\x90"),
        pack_call("paxospp.create", b"\x90"),
        pack_call("read", b"\x90"),
        pack_call("note", b"\x91\x01"),
        pack_call("note", b"\x91"),
        pack_raw(b"raw"),
        b"\x09note",
    ],
    ids=["unknown", "reserved", "a query", "wrong type", "cut short", "raw", "no name"],
)
def test_an_unknown_command_is_refused_before_it_is_proposed_and_stops_the_replica_once_decided(payload: bytes) -> None:
    executor = founded()
    [(number, reason)] = executor.check(run(7, note("a"), payload, VOID))
    assert number == 8
    assert "\n" not in reason

    with pytest.raises(ReplicaStoppedError) as stopped:
        executor.apply(commands(2, run(1, note("a"), payload)))
    assert (stopped.value.slot, stopped.value.position) == (2, 1)


def test_a_damaged_or_unknown_entry_stops_the_replica() -> None:
    good = commands(2, run(1, note("a")))
    for entry in (
        Entry(Slot(2), BALLOT, Kind.COMMANDS, good.value[:-1] + b"?"),
        Entry(Slot(2), BALLOT, Kind.COMMANDS, b""),
        Entry(Slot(2), BALLOT, Kind.MEMBERSHIP, b"damaged"),
        Entry(Slot(2), BALLOT, 9, b""),  # type: ignore[arg-type]
    ):
        with pytest.raises(ReplicaStoppedError) as stopped:
            founded().apply(entry)
        assert isinstance(stopped.value.__cause__, CorruptedError)
        assert stopped.value.slot == 2


# ------------------------------------------------------------------------------- queries


def test_an_unknown_query_is_rejected_and_one_that_raises_does_not_stop_the_replica() -> None:
    executor = founded()

    for request in (pack_call("nothing", b"\x90"), pack_call("note", b"\x91\xa1a"), pack_raw(b"x"), b""):
        with pytest.raises(RejectedError):
            executor.answer(request)
    for what in RAISES:
        with pytest.raises(CommandError) as raised:
            executor.answer(Journal.ask_and_raise.encode((what,)))
        assert raised.value.type == type(RAISES[what]()).__name__
    assert lines(executor) == []


# ------------------------------------------------------------------------------- full control


def test_a_machine_in_full_control_takes_and_returns_raw_bytes() -> None:
    executor = founded(Bytes())

    [answer] = executor.apply(commands(2, run(1, pack_raw(b"abc"), pack_raw(b""), pack_raw(b"not bytes"))))

    assert read_outcome(answer.outcomes[0]) == b"3 at 2.0"
    assert read_outcome(answer.outcomes[1]) == b"3 at 2.1"
    with pytest.raises(CommandError, match="returns bytes, not str"):
        read_outcome(answer.outcomes[2])
    assert executor.answer(pack_raw(b"how many?")) == b"how many? 3"


def test_a_machine_in_full_control_refuses_calls_by_name() -> None:
    executor = founded(Bytes())
    assert [number for number, _ in executor.check(run(1, pack_raw(b"x"), note("a")))] == [2]
    with pytest.raises(RejectedError):
        executor.answer(pack_call("read", b"\x90"))

    with pytest.raises(ReplicaStoppedError):
        executor.apply(commands(2, run(1, note("a"))))


# ------------------------------------------------------------------------------- digest


def test_the_digest_covers_slot_kind_value_and_results_but_not_the_text_of_exceptions() -> None:
    class Addresses(Journal):
        @command
        def say(self, line: str) -> str:
            raise ValueError(f"{id(self)} at {self!r}")

    def digest(machine: StateMachine, *entries: Entry) -> bytes:
        executor = founded(machine)
        for entry in entries:
            executor.apply(entry)
        return executor.digest

    say = commands(2, run(1, pack_call("say", b"\x91\xa1a")))
    assert digest(Addresses(), say) == digest(Addresses(), say)
    base = digest(Journal(), commands(2, run(1, note("a"))))
    assert len(base) == 16
    assert base == digest(Journal(), commands(2, run(1, note("a"))))
    assert base != digest(Journal(), commands(2, run(1, note("b"))))
    assert base != digest(Journal(), noop(2), commands(3, run(1, note("a"))))

    class Other(Journal):
        @command
        def note(self, line: str, times: int = 1) -> int:
            return 0

    assert base != digest(Other(), commands(2, run(1, note("a"))))


def test_the_digest_covers_the_type_of_an_exception() -> None:
    class Raising(Journal):
        kind: ClassVar[type[Exception]]

        @command
        def note(self, line: str, times: int = 1) -> int:
            raise self.kind("same text")

    class Key(Raising):
        kind = KeyError

    class Value(Raising):
        kind = ValueError

    one, two = founded(Key()), founded(Value())
    for executor in (one, two):
        executor.apply(commands(2, run(1, note("a"))))
    assert one.digest != two.digest


DIGEST_SCRIPT = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("t", sys.argv[1])
t = importlib.util.module_from_spec(spec)
sys.modules["t"] = t
spec.loader.exec_module(t)

class Sets(t.Journal):
    @t.command
    def collect(self, words: list[str]) -> set[str]:
        return set(words)

executor = t.founded(Sets())
words = ["w%d" % i for i in range(100)]
executor.apply(t.commands(2, t.run(1, Sets.collect.encode((words,)), t.Journal.where.encode()), unix_time=5))
executor.apply(t.commands(3, t.run(3, t.Journal.note_and_raise.encode(("x", "value")))))
print(executor.digest.hex())
"""


def test_the_digest_is_the_same_under_another_hash_seed_clock_zone_and_locale() -> None:
    """Bug B44: the order of a set, the zone and the locale differ between machines."""
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST_SCRIPT, __file__],
            env={"PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": locale, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed, zone, locale in (("0", "UTC", "C"), ("1", "Asia/Tokyo", "C.UTF-8"), ("77", "America/Lima", "POSIX"))
    }
    assert len(digests) == 1


# ------------------------------------------------------------------------------- snapshots


def test_a_retry_after_a_restore_gets_the_reply_from_before_it() -> None:
    """Bug B28: the table and the memberships travel with the snapshot."""
    executor = founded()
    [first] = executor.apply(commands(2, run(1, note("a")), log_time=3, unix_time=4))

    fresh = Executor(Journal())
    fresh.restore(executor.encode_snapshot())

    assert fresh.memberships == executor.memberships
    assert (fresh.applied, fresh.log_time, fresh.unix_time, fresh.digest) == (2, 3, 4, executor.digest)
    assert lines(fresh) == ["a"]
    assert fresh.find(run(1, note("a"))) == first
    assert fresh.apply(commands(3, run(1, note("a")))) == [first]
    assert executor.apply(commands(3, run(1, note("a")))) == [first]
    assert fresh.digest == executor.digest


def test_a_snapshot_names_the_highest_ballot_that_anything_applied_was_decided_under() -> None:
    executor = founded()
    for slot, round in ((2, 3), (3, 9), (4, 5)):
        applied = commands(slot, run(slot - 1, note("a")))
        executor.apply(replace(applied, ballot=Ballot(round, NodeId("n1"), 1)))
    highest = Ballot(9, NodeId("n1"), 1)
    assert executor.ballot == highest

    fresh = Executor(Journal())
    fresh.restore(executor.encode_snapshot())
    assert fresh.ballot == highest
    fresh.meet(Ballot(4, NodeId("n1"), 1))
    assert fresh.ballot == highest


def test_a_snapshot_does_not_contain_what_is_applied_while_it_is_written() -> None:
    executor = founded()
    executor.apply(commands(2, run(1, note("a"))))
    chunks = executor.encode_snapshot()
    executor.apply(commands(3, run(2, note("b"), acknowledged=1)))

    fresh = Executor(Journal())
    fresh.restore(chunks)

    assert (fresh.applied, lines(fresh)) == (2, ["a"])
    fresh.apply(commands(3, run(2, note("b"), acknowledged=1)))
    assert fresh.digest == executor.digest


def test_a_machine_in_full_control_restores_the_chunks_that_it_wrote() -> None:
    executor = founded(Bytes())
    executor.apply(commands(2, run(1, pack_raw(b"abc"))))
    data = b"".join(executor.encode_snapshot())

    fresh = Executor(Bytes())
    fresh.restore(data[i : i + 5] for i in range(0, len(data), 5))

    assert fresh.answer(pack_raw(b"")) == b" 3"


def test_an_older_snapshot_never_replaces_what_was_applied() -> None:
    executor = founded()
    chunks = list(executor.encode_snapshot())
    executor.apply(noop(2))

    with pytest.raises(InvariantViolatedError):
        executor.restore(chunks)
    assert executor.applied == 2


def test_a_damaged_head_leaves_the_executor_as_it_was_and_a_damaged_machine_stops_it() -> None:
    executor = founded()
    executor.apply(commands(2, run(1, note("a"))))
    frames = list(executor.encode_snapshot())
    assert check_snapshot(frames).applied == 2

    fresh = Executor(Journal())
    with pytest.raises(CorruptedError):
        fresh.restore([frames[0][:-1] + b"?", *frames[1:]])
    fresh.restore(frames)

    broken = Executor(Journal())
    with pytest.raises(CorruptedError):
        broken.restore(frames[:-1])
    with pytest.raises(ReplicaStoppedError):
        broken.apply(noop(1))


def test_damage_is_found_even_if_the_machine_ignores_the_error_of_its_chunks() -> None:
    class Swallows(Bytes):
        def restore(self, chunks: Iterable[bytes]) -> None:
            try:
                super().restore(chunks)
            except CorruptedError:
                self.total = 0

    executor = founded(Swallows())
    frames = list(executor.encode_snapshot())

    with pytest.raises(CorruptedError):
        Executor(Swallows()).restore(frames[:-1])


def test_a_machine_that_cannot_restore_stops_the_replica() -> None:
    chunks = founded(Bytes()).encode_snapshot()

    with pytest.raises(ReplicaStoppedError) as stopped:
        Executor(Journal()).restore(chunks)
    assert stopped.value.slot == 1
