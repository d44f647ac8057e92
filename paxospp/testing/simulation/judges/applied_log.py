"""The log that was applied: the result of every command, and whether all replicas agree with it.

The first replica to apply a slot is compared with the reference, which runs each command once in the order of the log,
and with the rules of sessions. All other replicas are compared with the first one. Snapshots are compared with the log.

It checks these invariants of ``paxospp/testing/simulation/README.md``: 3 validity, 10 snapshots, 11 exactly once, 14
equal states at equal slots.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from paxospp.execution.built_in_machine import is_built_in
from paxospp.execution.executor import Executor
from paxospp.execution.snapshot import SnapshotDecoder
from paxospp.model import Ballot, Change, Entry, Kind, Slot, SnapshotMeta
from paxospp.sessions.runs import VOID, Run, decode_commands
from paxospp.sessions.table import RunAnswer, RunStatus
from paxospp.state_machine import StateMachine, unpack_call
from paxospp.testing.simulation.judges.equality import are_equal, hash_of_state
from paxospp.testing.simulation.judges.observed import ObservedHost
from paxospp.testing.simulation.judges.reference import Reference
from paxospp.testing.simulation.judges.session_rules import SessionRules
from paxospp.testing.simulation.rule_broken import RuleBroken

Number = tuple[bytes, int]
"""The random part of a session, and the number of a request in it."""


class AppliedLog:
    """Every entry that was applied anywhere, with the results that it must have."""

    def __init__(
        self,
        machine: StateMachine,
        coverage: Counter[str],
        invariant: Callable[[StateMachine], None] | None,
        check_covers: Callable[[ObservedHost, Slot, Ballot | None], None] | None = None,
    ) -> None:
        self.coverage = coverage
        self.entries: list[Entry] = []
        """In the order of slots, from slot 1 on."""
        self.digests: list[bytes] = [bytes(16)]
        """By slot, from 0: the digest of the log."""
        self.reference = Reference(machine)
        self.sent: dict[Number, bytes] = {}
        """The payload of every command that a client sent."""
        self.applied_at: dict[Number, Slot] = {}
        """The slot in which a command took effect."""
        self.replies: dict[Number, bytes] = {}
        """The outcome of every command that took effect."""
        self.unknown: set[Number] = set()
        """Commands whose callers gave up before the command was applied anywhere."""
        self._rules = SessionRules()
        self._expiry_us = 0
        self._horizons = [self._rules.horizon]
        """By slot: the horizon before which sessions had expired."""
        self._check_covers = check_covers
        self._effects: list[tuple[float, list[tuple[int, bytes]]]] = [(0.0, [])]
        """By slot: the time that its commands saw, and the user's commands that took effect, with their positions."""
        self._outcomes: list[Sequence[RunAnswer]] = [()]
        self._executed: list[int] = [0]
        self._invariant = invariant
        self._states: dict[Slot, bytes] = {}
        """By slot: the hash of the state in its snapshots."""

    def on_applied(self, host: ObservedHost, executor: Executor, entry: Entry, outcomes: Sequence[RunAnswer]) -> None:
        """Check ``entry``, which a replica has applied; the first to apply a slot sets the result for all."""
        slot = entry.slot
        if slot == len(self.entries) + 1:
            self._first_to_apply(host, entry, executor, outcomes)
        else:
            if self.digests[slot] != executor.digest:
                raise RuleBroken("divergence", f"{host.name} has another digest at slot {slot} than other replicas")
            if self._executed[slot] != host.executed:
                raise RuleBroken(
                    "11", f"{host.name} executed {host.executed} commands of slot {slot}, others {self._executed[slot]}"
                )
            self._compare(host, slot, outcomes)
        if self._invariant is not None:
            self._call_invariant(host.name, executor.machine, slot)

    def on_restored(self, host: ObservedHost, executor: Executor) -> None:
        """Check the state that a replica restored from a snapshot (10)."""
        slot = executor.applied
        if slot > len(self.entries):
            raise RuleBroken(
                "10", f"{host.name} restores a snapshot of slot {slot}; applied is up to {len(self.entries)}"
            )
        if executor.digest != self.digests[slot]:
            raise RuleBroken("10", f"{host.name} restores a snapshot of slot {slot} with another digest")

    def on_snapshot(self, host: ObservedHost, meta: SnapshotMeta, data: bytes) -> None:
        """Check the snapshot that is current on the disk of ``host`` now (10); two snapshots of one slot are equal."""
        slot = meta.slot
        head = SnapshotDecoder([data]).head
        if head.applied != slot or slot > len(self.entries) or head.digest != self.digests[slot]:
            raise RuleBroken("10", f"{host.name} publishes a snapshot that says it is of slot {head.applied}")
        if head.horizon != self._horizons[slot]:
            raise RuleBroken(
                "10", f"in the snapshot of slot {slot} that {host.name} publishes, other sessions have expired"
            )
        if self._check_covers is not None:
            self._check_covers(host, slot, head.ballot)
        state = hash_of_state(SnapshotDecoder([data]))
        if self._states.setdefault(slot, state) != state:
            raise RuleBroken("divergence", f"{host.name} has another state in its snapshot of slot {slot} than others")

    def changes(self, start: Slot, stop: Slot) -> list[Change]:
        """Return what the change feed has to give for the applied slots from ``start`` to before ``stop``."""
        if stop > len(self.entries) + 1:
            raise RuleBroken("watch", f"a change feed gives slot {stop - 1}, which was applied nowhere")
        return [
            Change(Slot(slot), position, time, *unpack_call(payload))
            for slot in range(start, stop)
            for time, effects in [self._effects[slot]]
            for position, payload in effects
        ]

    def _call_invariant(self, name: str, machine: StateMachine, slot: Slot) -> None:
        assert self._invariant is not None
        try:
            self._invariant(machine)
        except Exception as error:
            raise RuleBroken("invariant", f"{name} after slot {slot}: {type(error).__name__}: {error}") from error

    def _compare(self, host: ObservedHost, slot: Slot, outcomes: Sequence[RunAnswer]) -> None:
        canonical = self._outcomes[slot]
        if outcomes == canonical or list(outcomes) == list(canonical):
            return
        for ours, theirs in zip(canonical, outcomes, strict=True):
            if (ours.session, ours.first, ours.status, ours.expected) != (
                theirs.session,
                theirs.first,
                theirs.status,
                theirs.expected,
            ) or not all(map(are_equal, ours.outcomes, theirs.outcomes)):
                raise RuleBroken("11", f"{host.name} answers {theirs} in slot {slot}, others {ours}")

    def _first_to_apply(
        self, host: ObservedHost, entry: Entry, executor: Executor, outcomes: Sequence[RunAnswer]
    ) -> None:
        slot = entry.slot
        self.entries.append(entry)
        self.digests.append(executor.digest)
        self._outcomes.append(outcomes)
        self._executed.append(host.executed)
        effects: list[tuple[int, bytes]] = []
        self._effects.append((self.reference.unix_time / 1_000_000, effects))
        self._horizons.append(self._rules.horizon)
        if entry.kind is Kind.MEMBERSHIP:
            membership = executor.memberships[-1][1]
            self.reference.found(membership.cluster_id)
            self._expiry_us = membership.session_expiry_s * 1_000_000
        if entry.kind is not Kind.COMMANDS:
            return
        commands = decode_commands(entry.value)
        run_command = self.reference.begin(commands, slot)
        self._effects[slot] = (self.reference.unix_time / 1_000_000, effects)
        self._rules.advance(commands.log_time, self._expiry_us)
        self._horizons[slot] = self._rules.horizon
        executed = 0
        position = 0
        for run, outcome in zip(commands.runs, outcomes, strict=True):
            judged = self._rules.judge(run)
            if (outcome.status, outcome.expected) != judged[:2]:
                raise RuleBroken(
                    "11", f"{host.name} answers {outcome} in slot {slot}; the rules of sessions say {judged}"
                )
            if outcome.status is RunStatus.APPLIED:
                if outcome.first != judged.first:
                    raise RuleBroken(
                        "11", f"{host.name} answers from {outcome.first} in slot {slot}, not {judged.first}"
                    )
                executed += self._check_run(run, judged.applied, slot, position, run_command)
                self._check_replies(run.random, outcome)
            elif outcome.status is RunStatus.EXPIRED:
                self.coverage["a run of an expired session was decided"] += 1
            position += len(run.payloads)
        if executed != host.executed:
            raise RuleBroken(
                "11", f"{host.name} executed {host.executed} commands of slot {slot}, and {executed} were new"
            )

    def _check_run(
        self, run: Run, applied: int, slot: Slot, position: int, run_command: Callable[[int, bytes], bytes]
    ) -> int:
        """Run the new commands on the reference, and return how many had an effect."""
        executed = 0
        for number, payload in enumerate(run.payloads, run.first):
            if number <= applied:
                self.coverage["a copy of an applied command was decided"] += 1
                continue
            key = (run.random, number)
            sent = self.sent.get(key)
            if payload != VOID and sent != payload:
                raise RuleBroken("3", f"slot {slot} holds {payload!r} as {key}, which nobody sent")
            if key in self.applied_at:
                raise RuleBroken(
                    "11", f"{key} takes effect in slot {slot}, and already did in slot {self.applied_at[key]}"
                )
            self.applied_at[key] = slot
            if key in self.unknown:
                self.coverage["an unknown outcome was applied later"] += 1
            if payload != VOID:
                place = position + number - run.first
                self.replies[key] = run_command(place, payload)
                executed += 1
                if not is_built_in(payload):
                    self._effects[slot][1].append((place, payload))
        return executed

    def _check_replies(self, random: bytes, outcome: RunAnswer) -> None:
        for number, reply in enumerate(outcome.outcomes, outcome.first):
            expected = self.replies.setdefault((random, number), reply)
            if expected is not reply and not are_equal(expected, reply):
                raise RuleBroken(
                    "divergence",
                    f"number {number} of a session is answered {reply!r}; alone in its order the machine says "
                    f"{expected!r}",
                )
