"""Properties of exactly-once: they hold whatever is lost, duplicated, reordered or restored in between.

Fault K1, bugs B28 and B34, and invariants 11, 12 and 14, tested where they are decided: values in
a log, applied by executors. The network of this test may do anything that leaves one ordered log.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from paxospp.execution.executor import Executor
from paxospp.model import Ballot, Entry, Kind, Member, Membership, NodeId, Slot
from paxospp.sessions.caller import Caller
from paxospp.sessions.runs import Run, SessionId, decode_run, encode_commands, encode_run
from paxospp.sessions.table import RunAnswer, RunStatus
from paxospp.state_machine import OUTCOME_REJECTED, StateMachine, command, decode_untyped, query, read_outcome
from tests.examples import examples

BALLOT = Ballot(1, NodeId("n1"), 1)
EXPIRY_S = 1_000


class Tally(StateMachine):
    """A machine that records every command it runs, in order."""

    ran: list[str]

    def __init__(self) -> None:
        self.ran = []

    @command
    def run(self, name: str) -> tuple[str, int]:
        self.ran.append(name)
        if name.endswith("7"):
            raise ValueError(name)
        return name, len(self.ran)

    @query
    def all(self) -> list[str]:
        return self.ran


class Log:
    """One decided log and the executors that apply it."""

    def __init__(self) -> None:
        membership = Membership(
            cluster_id=b"c" * 16,
            group=0,
            alpha=256,
            session_expiry_s=EXPIRY_S,
            replaces=Slot(0),
            members=(Member(NodeId("n1"), "127.0.0.1:7001", 1),),
        )
        self.entries = [Entry(Slot(1), BALLOT, Kind.MEMBERSHIP, membership.to_bytes())]
        self.executor = Executor(Tally())
        self.executor.apply(self.entries[0])

    def decide(self, runs: list[bytes], log_time: int = 0) -> list[RunAnswer]:
        entry = Entry(Slot(len(self.entries) + 1), BALLOT, Kind.COMMANDS, encode_commands(log_time, 0, runs))
        self.entries.append(entry)
        return list(self.executor.apply(entry))

    def restore_into_another(self) -> None:
        chunks = self.executor.encode_snapshot()
        self.executor = Executor(Tally())
        self.executor.restore(chunks)

    @property
    def ran(self) -> list[str]:
        names: list[str] = decode_untyped(self.executor.answer(Tally.all.encode()))
        return names

    def replay(self) -> Executor:
        executor = Executor(Tally())
        for entry in self.entries:
            executor.apply(entry)
        return executor


def payload(session: int, number: int) -> bytes:
    return Tally.run.encode((f"{session}:{number}",))


run_of_a_session = st.tuples(
    st.integers(0, 2),  # session
    st.integers(1, 12),  # first
    st.integers(1, 6),  # how many
    st.integers(0, 12),  # acknowledged; callers send at most first - 1
)


@given(st.lists(st.lists(run_of_a_session, min_size=1, max_size=3), max_size=20), st.sets(st.integers(0, 19)))
def test_any_runs_in_any_order_give_each_number_one_effect_and_every_copy_the_first_outcome(
    values: list[list[tuple[int, int, int, int]]], restore_before: set[int]
) -> None:
    log = Log()
    outcomes: dict[tuple[int, int], bytes] = {}
    for index, value in enumerate(values):
        if index in restore_before:
            log.restore_into_another()
        runs = [_run(session, first, count, acknowledged) for session, first, count, acknowledged in value]
        for run, answer in zip(runs, log.decide([encode_run(run) for run in runs]), strict=True):
            assert answer.session == run.session
            if answer.status == RunStatus.GAP:
                assert run.first > answer.expected
                continue
            assert answer.status == RunStatus.APPLIED
            assert answer.expected > run.first + len(run.payloads) - 1
            assert answer.first + len(answer.outcomes) <= run.first + len(run.payloads) or not answer.outcomes
            for number, outcome in enumerate(answer.outcomes, answer.first):
                assert outcomes.setdefault((run.random[0], number), outcome) == outcome

    ran = log.ran
    assert len(ran) == len(set(ran))
    for session in range(3):
        numbers = [int(name.split(":")[1]) for name in ran if name.startswith(f"{session}:")]
        assert numbers == list(range(1, len(numbers) + 1))
    replayed = log.replay()
    assert replayed.digest == log.executor.digest
    assert replayed._sessions.encode() == log.executor._sessions.encode()


def _run(session: int, first: int, count: int, acknowledged: int) -> Run:
    payloads = [payload(session, number) for number in range(first, first + count)]
    return Run(0, bytes([session]) * 16, first, min(acknowledged, first - 1), payloads)


class Person:
    """A caller whose transmissions and answers may be lost or duplicated."""

    def __init__(self, index: int, random: Random) -> None:
        self.index = index
        self.random = random
        self.sessions = 0
        self.caller = Caller(
            self._draw(), run_bytes_max=random.choice([40, 200]), run_commands_max=random.choice([1, 3, 50])
        )
        self.caller.open(0)
        self.calls = 0
        self.outcomes: dict[str, bytes] = {}
        self.refused: set[str] = set()
        self.unknown: set[str] = set()
        self.never_sent: set[str] = set()
        self.given_up: set[str] = set()

    def _draw(self) -> bytes:
        self.sessions += 1
        return bytes([self.index, self.sessions]) + bytes(14)

    def add(self) -> None:
        self.calls += 1
        name = f"{self.index}:{self.calls}"
        self.caller.add(Tally.run.encode((name,)), name)

    def cancel_one(self) -> None:
        name = f"{self.index}:{self.random.randint(1, max(self.calls, 1))}"
        if name in self.outcomes or name in self.refused or name in self.unknown:
            return
        if self.caller.cancel(name):
            self.never_sent.add(name)
        elif self.calls and name not in self.never_sent:
            self.given_up.add(name)

    def hear(self, answer: RunAnswer) -> list[bytes]:
        """Handle an answer and return the runs to send because of it."""
        caller = self.caller
        if answer.session != caller.session:
            return []
        if answer.status == RunStatus.EXPIRED:
            self.unknown |= {str(token) for token in caller.expire(self._draw())}
            return []
        answered, again = caller.on_answer(answer.first, answer.status, answer.expected, answer.outcomes)
        for token, outcome in answered:
            assert str(token) not in self.outcomes
            self.outcomes[str(token)] = outcome
        return caller.resend(answer.expected) if again else []

    def hear_refusal(self, session: SessionId, numbers: Mapping[int, str]) -> list[bytes]:
        if session != self.caller.session:
            return []
        self.refused |= {str(token) for token, _ in self.caller.on_refused(numbers)}
        return self.caller.resend() if self.caller.unanswered else []


class Network:
    """Carries runs to the log and answers back; loses, duplicates and reorders both."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.log = Log()
        self.people = [Person(index, self.random) for index in range(3)]
        self.runs: list[tuple[bytes, bool]] = []  # with whether the receiving node knows every command
        self.answers: list[RunAnswer] = []
        self.log_time = 0
        self.lossy = True
        self.refusing = self.random.random() < 0.5
        self.expiring = self.random.random() < 0.3
        self.late: list[tuple[bytes, bool]] = []

    def send(self, runs: list[bytes]) -> None:
        for run in runs:
            # All copies of one transmission reach the same node.
            transmission = run, not self.refusing or self.random.random() < 0.3
            self.runs += [transmission] * self._copies()
            if self.random.random() < 0.05:
                self.late.append(transmission)
        if self.lossy and self.random.random() < 0.2:
            self.random.shuffle(self.runs)
            self.random.shuffle(self.answers)

    def _copies(self) -> int:
        return self.random.choice([0, 1, 1, 1, 1, 2]) if self.lossy else 1

    def person_of(self, session: SessionId) -> Person:
        return self.people[session.random[0]]

    def step(self) -> None:
        random = self.random
        person = random.choice(self.people)
        match random.randrange(8):
            case 0 | 1:
                for _ in range(random.randint(1, 8)):
                    person.add()
            case 2 | 3:
                self.flush(person)
            case 4:
                person.cancel_one()
            case 5:
                self.decide(random.randint(1, 4))
            case 6:
                self.deliver(random.randint(1, 4))
            case _:
                self.shake()

    def flush(self, person: Person) -> None:
        if person.caller.session is None:
            person.caller.open(self.log.executor.log_time)
        self.send(person.caller.next_runs())

    def shake(self) -> None:
        random = self.random
        if random.random() < 0.3:
            self.log.restore_into_another()
        if self.late and random.random() < 0.5:
            self.runs.append(random.choice(self.late))
        if self.expiring and random.random() < 0.1:
            self.log_time += EXPIRY_S * 1_000_000
        if random.random() < 0.5:
            person = random.choice(self.people)
            self.send(person.caller.resend())

    def decide(self, count: int) -> None:
        taken, self.runs = self.runs[:count], self.runs[count:]
        proposed = []
        for run, door_knows in taken:
            decoded = decode_run(run)
            refused = {}
            if not door_knows:  # names that end in 3
                refused = {n: "3" for n, each in enumerate(decoded.payloads, decoded.first) if each.endswith(b"3")}
            if refused:
                self.send(self.person_of(decoded.session).hear_refusal(decoded.session, refused))
            else:
                proposed.append(run)
        if proposed:
            self.log_time += 1
            for answer in self.log.decide(proposed, self.log_time):
                self.answers += [answer] * self._copies()

    def deliver(self, count: int) -> None:
        taken, self.answers = self.answers[:count], self.answers[count:]
        for answer in taken:
            self.send(self.person_of(answer.session).hear(answer))

    def settle(self) -> None:
        """Deliver everything without loss, and let callers resend until each has its answers."""
        self.lossy = False
        for _ in range(200):
            for person in self.people:
                self.flush(person)
            for _ in range(50):
                self.decide(len(self.runs))
                self.deliver(len(self.answers))
            assert not self.runs, "runs keep causing new runs"
            assert not self.answers
            quiet = True
            for person in self.people:
                if person.caller.unanswered:
                    self.send(person.caller.resend())
                    quiet = False
                if person.caller.queued:
                    quiet = False
            if quiet:
                return
        raise AssertionError("it does not come to rest")


@examples(60)
@given(st.integers(0, 2**32 - 1), st.integers(20, 200))
def test_callers_on_a_lossy_network_end_with_each_call_applied_exactly_once(seed: int, steps: int) -> None:
    network = Network(seed)
    for _ in range(steps):
        network.step()
    network.settle()

    ran = network.log.ran
    assert len(ran) == len(set(ran)), "a call was applied twice"
    for person in network.people:
        names = {f"{person.index}:{n}" for n in range(1, person.calls + 1)}
        mine = {name for name in ran if name.startswith(f"{person.index}:")}
        assert not person.never_sent & mine
        assert not person.refused & mine
        for name, outcome in person.outcomes.items():
            if outcome[0] == OUTCOME_REJECTED:
                assert name not in mine
            elif name.endswith("7"):
                assert name in mine
            else:
                assert decode_untyped(read_outcome(outcome)) == [name, ran.index(name) + 1]
        told = set(person.outcomes) | person.refused | person.unknown | person.never_sent | person.given_up
        assert told == names, "a call got no answer"
        if not network.expiring:
            assert not person.unknown
    assert network.log.replay().digest == network.log.executor.digest


@examples(60)
@given(st.integers(0, 2**32 - 1))
def test_a_restored_executor_and_one_that_went_on_stay_equal(seed: int) -> None:
    network = Network(seed)
    for _ in range(60):
        network.step()
    chunks = network.log.executor.encode_snapshot()
    known = len(network.log.entries)
    for _ in range(60):
        network.step()
    restored = Executor(Tally())
    restored.restore(chunks)

    for entry in network.log.entries[known:]:
        restored.apply(entry)

    executor = network.log.executor
    assert restored.digest == executor.digest
    assert restored._sessions.encode() == executor._sessions.encode()
    assert (restored.log_time, restored._sessions.horizon) == (executor.log_time, executor._sessions.horizon)
    assert network.log.replay().digest == restored.digest
