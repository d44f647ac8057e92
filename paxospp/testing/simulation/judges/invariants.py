"""The invariants of the protocol, checked after every event with all nodes, disks and messages in view.

The numbers are those of ``paxospp/testing/simulation/README.md``. Everything is kept incrementally: a check costs as
much as the event changed. This module checks messages, synced writes and applied slots, and passes them on to the other
judges: ``chosen_values``, ``answer_memory``, the modules named after their rules, and ``bounds``. Calls, results and
states (10 to 14) are checked in ``call_history`` and ``applied_log``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from paxospp.engine.rules.bootstrap import FOUNDING_SLOT
from paxospp.messages import (
    Accept,
    Accepted,
    CatchUp,
    DecidedEntries,
    Heartbeat,
    HeartbeatAnswer,
    Message,
    Nack,
    Prepare,
    Promise,
    SnapshotChunk,
)
from paxospp.model import Ballot, Entry, Kind, NodeId, Slot
from paxospp.storage.contract import DurableState, WriteBatch
from paxospp.testing.simulation.judges.answer_memory import AnswerMemory
from paxospp.testing.simulation.judges.bounds import check_memory
from paxospp.testing.simulation.judges.chosen_values import ChosenValues
from paxospp.testing.simulation.judges.leader_rules import LeaderRules
from paxospp.testing.simulation.judges.lease_rules import LeaseRules
from paxospp.testing.simulation.judges.led_ballots import LedBallots
from paxospp.testing.simulation.judges.log_rules import LogRules
from paxospp.testing.simulation.judges.observed import ObservedHost
from paxospp.testing.simulation.judges.read_rules import ReadRules
from paxospp.testing.simulation.judges.role_rules import RoleRules
from paxospp.testing.simulation.judges.snapshot_rules import SnapshotRules
from paxospp.testing.simulation.judges.step_rules import StepRules
from paxospp.testing.simulation.judges.vouch_rules import VouchRules
from paxospp.testing.simulation.rule_broken import RuleBroken


class Invariants:
    """Checks every message that is sent, every write that is synced, every slot that is applied, and every event."""

    def __init__(self, coverage: Counter[str]) -> None:
        self.coverage = coverage
        self.chosen = ChosenValues()
        led = LedBallots()
        self.log_rules = LogRules()
        self.vouch_rules = VouchRules()
        self.lease_rules = LeaseRules()
        self.snapshot_rules = SnapshotRules()
        self.leader_rules = LeaderRules(self.chosen, coverage)
        self.read_rules = ReadRules(self.chosen, led, self.leader_rules)
        self.step_rules = StepRules(self.chosen, led, self.leader_rules, self.log_rules, self.snapshot_rules)
        self.answer_memory = AnswerMemory(self.step_rules)
        self.role_rules = RoleRules(
            self.chosen, led, self.step_rules, self.leader_rules, self.read_rules, self.lease_rules, coverage
        )
        self.longest_value = 0
        """Size of the longest value that was proposed."""
        self._boots: dict[Ballot, int] = {}
        self._proposed: set[tuple[Slot, Ballot]] = set()
        self._checks: Mapping[type[Any], Callable[[ObservedHost, Any], None]] = {
            Prepare: self._on_prepare,
            Promise: self._on_promise,
            Accept: self._on_accept,
            Accepted: self._on_accepted,
            Nack: self._on_nack,
            DecidedEntries: self._on_decided,
            Heartbeat: self._on_heartbeat,
            HeartbeatAnswer: self._on_answer,
            SnapshotChunk: self._on_chunk,
        }

    # Messages, when they are sent.

    def on_send(self, host: ObservedHost, to: NodeId, message: Message) -> None:
        if type(message) is HeartbeatAnswer:
            self.step_rules.on_heartbeat_answer(host, to, message)
        elif type(message) is CatchUp:
            self.log_rules.on_catch_up(host, to, message)
        elif type(message) is DecidedEntries:
            self.log_rules.on_decided(host, to, message)
        check = self._checks.get(type(message))
        if check is not None:
            check(host, message)

    def _on_prepare(self, host: ObservedHost, prepare: Prepare) -> None:
        self._check_promised(host, prepare.ballot, "Prepare")
        self._check_owner(host, prepare.ballot)

    def _on_nack(self, host: ObservedHost, nack: Nack) -> None:
        self._check_promised(host, nack.promised, "Nack")

    def _on_promise(self, host: ObservedHost, promise: Promise) -> None:
        ballot = promise.ballot
        self._check_promised(host, ballot, "Promise")
        if promise.start != 1 or (promise.decided and not self._is_unaware(host)):
            # A node that knows of no cluster may promise to any founder, and may learn of a cluster while that promise
            # is written. It may also have known of one, and have started again with a damaged slot 1: then it reports
            # *decided*.
            self._check_votes(host, "promises")
        if promise.start < promise.first:
            self.coverage["a prepare began below the floor of a log"] += 1
        self.leader_rules.on_promise(host, promise)
        self.step_rules.on_promise(host, promise)
        self.lease_rules.on_promise(host, promise)
        self.answer_memory.on_promise(host, promise)

    def _on_accepted(self, host: ObservedHost, accepted: Accepted) -> None:
        slot, ballot = accepted.slot, accepted.ballot
        self._check_promised(host, ballot, "Accepted")
        self._check_votes(host, "accepts")
        if slot == 1 and not self.chosen.would_vote((host.name, host.sender.incarnation), ballot):
            raise RuleBroken("15", f"{host.name} accepts a founding value that does not list its incarnation")
        self.answer_memory.on_accepted(host, accepted)
        # One write may have merged this acceptance with a later one of the same slot.
        self.chosen.count(host, slot, ballot)

    def _on_accept(self, host: ObservedHost, accept: Accept) -> None:
        self.step_rules.on_accept(host, accept)
        slot, ballot = accept.slot, accept.ballot
        self.longest_value = max(self.longest_value, len(accept.value))
        key = (slot, ballot)
        value = (accept.kind, accept.value)
        if self.chosen.proposed(slot, ballot, value) != value:
            raise RuleBroken("2", f"{host.name} proposes two values under {ballot} in slot {slot}")
        if key in self._proposed:
            return
        self._proposed.add(key)
        self._check_owner(host, ballot)
        self._check_promised(host, ballot, "Accept")
        if slot != 1 or not self._is_unaware(host):
            self._check_votes(host, "proposes")
        chosen, membership = self.chosen.values.get(slot), self.chosen.membership
        # A deposed leader may do so; a leader whose ballot is above that of the choice may not.
        if chosen is not None and chosen != value and ballot > self.chosen.under[slot]:
            raise RuleBroken("1", f"{host.name} proposes another value in slot {slot} than was chosen there")
        if membership is None:
            if slot != 1:
                raise RuleBroken("15", f"{host.name} proposes slot {slot} before the cluster is founded")
            self.leader_rules.on_founding(host, accept)
            return
        if slot > self.chosen.up_to + membership.alpha:
            raise RuleBroken(
                "15",
                f"{host.name} proposes slot {slot} while slot {self.chosen.up_to + 1} is undecided; "
                f"alpha is {membership.alpha}",
            )
        self.leader_rules.on_proposal(host, accept)
        if accept.kind is Kind.NOOP:
            self.coverage["a gap was filled with a no-op"] += 1

    def _on_decided(self, host: ObservedHost, decided: DecidedEntries) -> None:
        assert host.runtime is not None
        for entry in decided.entries:
            if entry.slot > host.runtime.replica.decided:
                raise RuleBroken("9", f"{host.name} sends slot {entry.slot} as decided and does not know it decided")
            if self.chosen.values.get(entry.slot) != (entry.kind, entry.value):
                raise RuleBroken(
                    "1", f"{host.name} sends another value for the decided slot {entry.slot} than was chosen there"
                )
        self.step_rules.on_decided(host, decided)

    def _on_chunk(self, host: ObservedHost, chunk: SnapshotChunk) -> None:
        self.step_rules.on_chunk(host, chunk)
        self.snapshot_rules.on_chunk(host, chunk)

    def _on_answer(self, host: ObservedHost, answer: HeartbeatAnswer) -> None:
        self.lease_rules.on_answer(host, answer)
        if answer.vouched_up_to and answer.promised is not None:
            self.vouch_rules.on_vouched(host, answer.promised, answer.vouched_up_to)
        self.read_rules.on_answer(host, answer)

    def _on_heartbeat(self, host: ObservedHost, heartbeat: Heartbeat) -> None:
        if heartbeat.round > host.record.round:
            host.record.round = heartbeat.round
            self._on_round(host, heartbeat.round)
        self.step_rules.on_heartbeat(host, heartbeat)
        if heartbeat.leading is not None:
            self.vouch_rules.on_vouched(host, heartbeat.leading, heartbeat.vouched_up_to)
            if heartbeat.decided_up_to > self.chosen.up_to:
                raise RuleBroken(
                    "9", f"{host.name} announces {heartbeat.decided_up_to}; chosen is up to {self.chosen.up_to}"
                )
            if self._boots.get(heartbeat.leading) is None:
                self._check_owner(host, heartbeat.leading)

    def _on_round(self, host: ObservedHost, round: int) -> None:
        """Check ``host`` once for each round of heartbeats that it begins."""
        assert host.runtime is not None
        self.read_rules.on_round(host, round)
        self.step_rules.on_round(host, round)
        leading = host.runtime.replica.protocol.leading
        if leading is not None:
            self.leader_rules.check_has_room(host, leading)
            self.step_rules.check_room(host, leading)

    def _check_promised(self, host: ObservedHost, ballot: Ballot, what: str) -> None:
        synced = host.disk.image.promised
        if synced is None or synced < ballot:
            raise RuleBroken("6", f"{host.name} sends {what} with {ballot} while its disk holds the promise {synced}")

    def _check_owner(self, host: ObservedHost, ballot: Ballot) -> None:
        """Check invariant 2: one owner per ballot, and one boot of the owner."""
        sender = host.sender
        if (ballot.node, ballot.incarnation) != (sender.node, sender.incarnation):
            raise RuleBroken("2", f"{host.name} uses {ballot}, which is not its own")
        if self._boots.setdefault(ballot, sender.boot) != sender.boot:
            raise RuleBroken("2", f"{host.name} uses {ballot} again after a restart")

    def _check_votes(self, host: ObservedHost, what: str) -> None:
        if not self.has_vote(host):
            raise RuleBroken("15", f"{host.name} {what}, and its incarnation has no vote")

    def _is_unaware(self, host: ObservedHost) -> bool:
        """Return whether ``host`` does not know that a cluster was founded, and so may answer any founder.

        Such a host may answer an old Prepare, or propose again a founding value that was reported to it, even if its
        incarnation turns out to have no vote. Rule 9 keeps this safe: a founder asks every named node in its present
        incarnation, and the others report a value that was founded. What the host knows decided is read as of the end
        of its previous event: proposing that value may tell it of the founding, and its messages leave in that event.
        """
        if host.runtime is None:
            return False
        return host.runtime.replica.membership is None or host.record.decided < FOUNDING_SLOT

    def forgive(self, host: ObservedHost) -> None:
        """Forget all that was sent from the disk of ``host``: an older image was put in its place."""
        self.answer_memory.forgive(host)
        self._boots = {ballot: boot for ballot, boot in self._boots.items() if ballot.node != host.name}

    # Writes, when they are synced.

    def on_synced(self, host: ObservedHost, batch: WriteBatch) -> None:
        """Check ``batch``, which is synced on the disk of ``host`` now."""
        if batch.trim is not None:
            self._check_trim(host, batch.trim)
        for entry in batch.accepted:
            self._on_held(host, entry)

    def _on_held(self, host: ObservedHost, entry: Entry) -> None:
        """Check ``entry``, which is synced on the disk of ``host``, and count it as accepted there."""
        promised = host.disk.image.promised
        value = (entry.kind, entry.value)
        if self.chosen.proposed(entry.slot, entry.ballot, value) != value:
            raise RuleBroken(
                "2", f"two values under {entry.ballot} in slot {entry.slot}; {host.name} holds one of them"
            )
        if promised is None or entry.ballot > promised:
            raise RuleBroken(
                "5", f"{host.name} holds slot {entry.slot} under {entry.ballot}, above its promise {promised}"
            )
        self.answer_memory.on_synced(host, entry)
        if self.has_vote(host):
            self.vouch_rules.on_synced(host, entry.slot, entry.ballot)
        self.chosen.count(host, entry.slot, entry.ballot)

    def _check_trim(self, host: ObservedHost, trim: Slot) -> None:
        """Check invariant 10: trimmed slots are covered by the snapshot, and every slot in the snapshot was chosen."""
        snapshot = host.disk.image.snapshot
        floor = Slot(0) if snapshot is None else snapshot[0].slot
        if trim > floor + 1 or floor > self.chosen.up_to:
            raise RuleBroken("10", f"{host.name} trims its log below {trim} with a snapshot of slot {floor}")
        self.coverage["a log was trimmed"] += 1

    def on_load(self, host: ObservedHost, state: DurableState) -> None:
        """Check what the storage of ``host`` loaded, at a start."""
        self.read_rules.on_load(host)
        self.step_rules.on_load(host, state.decided)
        self.log_rules.on_load(host)
        self.answer_memory.on_load(host, state)
        for entry in host.disk.image.entries.values():
            self._on_held(host, entry)  # a power cut may have left a write that nobody heard return

    def on_closed_damage(self, host: ObservedHost, bound: Slot) -> None:
        """Check that ``host``, told that it accepted nothing above ``bound`` in its damaged end, held nothing there."""
        self.step_rules.on_closed_damage(host, bound, self.answer_memory.held(host))

    def has_vote(self, host: ObservedHost) -> bool:
        """Return whether the present incarnation of ``host`` votes, as far as that is settled."""
        return self.chosen.has_vote((host.name, host.sender.incarnation))

    # Slots, when they are applied.

    def on_apply(self, host: ObservedHost, entry: Entry) -> None:
        """Check ``entry``, which ``host`` is about to apply."""
        chosen = self.chosen.values.get(entry.slot)
        if chosen is None:
            raise RuleBroken("1", f"{host.name} applies slot {entry.slot}, which no quorum has accepted")
        if chosen != (entry.kind, entry.value):
            raise RuleBroken("1", f"{host.name} applies another value in slot {entry.slot} than was chosen")
        if entry.slot != host.record.applied + 1:
            raise RuleBroken("9", f"{host.name} applies slot {entry.slot} after {host.record.applied}")
        host.record.applied = entry.slot

    # Nodes, after each of their events.

    def after_event(self, host: ObservedHost) -> None:
        """Check ``host``, which is up, after one of its events."""
        runtime = host.runtime
        assert runtime is not None
        protocol = runtime.replica.protocol
        promised = protocol.acceptor.promised
        if promised is not host.record.promised:
            if host.record.promised is not None and (promised is None or promised < host.record.promised):
                raise RuleBroken("4", f"the promise of {host.name} dropped from {host.record.promised} to {promised}")
            host.record.promised = promised
        decided = protocol.learning.learner.decided
        if decided != host.record.decided:
            if decided < host.record.decided or decided > self.chosen.up_to:
                raise RuleBroken(
                    "9",
                    f"{host.name} knows {decided} decided after {host.record.decided}; chosen is {self.chosen.up_to}",
                )
            self.step_rules.on_decided_up_to(host, host.record.decided, decided)
            host.record.decided = decided
        self.role_rules.after_event(host, protocol.role)
        check_memory(host, self.longest_value)
        if not protocol.learning.is_loading:
            self.log_rules.after_event(host, self.chosen.membership)
            self.answer_memory.after_event(host)
        if runtime.executor.applied > decided:
            raise RuleBroken("9", f"{host.name} has applied {runtime.executor.applied} and knows {decided} decided")
