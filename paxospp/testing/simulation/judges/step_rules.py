"""Steps of the proof, each checked when a replica takes it, with all disks and messages in view.

A broken rule seldom does harm at once: a value has to be chosen elsewhere, or a message to be lost, before two
replicas differ. The step itself is checked here, so a run shows the fault where it happens. The rules are those of
``paxospp/engine/README.md``:

* Rule 1: the ballot of a leader is no lower than any ballot that it has promised, or under which it has learned that a
  slot is decided.
* Rule 2: a promise is counted as one whole answer that was given; a replica never reports *none* for a slot that its
  incarnation has accepted and that is not covered.
* Rule 4: a replica considers a slot decided only together with a ballot, and only if the slot was chosen under that
  ballot or a lower one. The same holds for slots that are announced, sent to others, or covered by a snapshot.
* Rule 5: a leader keeps leading, and a candidate campaigns, only if a quorum of voters with working disks has answered;
  an answer counts for the incarnation that gave it. Damage is closed only where nothing was accepted.
* Rule 6: a grant that a leader relies on ends no later than for the node that gave it, and is counted from the
  beginning of the round that it answers.
* Rule 7: a proposal is at most alpha slots above what its proposer knows decided. There is room for a new value only
  after clean answers of a quorum, and only where nothing is chosen under a lower ballot.

A *window* is one election timeout.
"""

from __future__ import annotations

from collections import defaultdict

from paxospp.engine.rules.leader import Leading
from paxospp.engine.rules.lease import DRIFT_BOUND
from paxospp.engine.rules.promises import PromiseReport
from paxospp.messages import Accept, DecidedEntries, Heartbeat, HeartbeatAnswer, Promise, Sender, SnapshotChunk
from paxospp.model import Ballot, NodeId, Slot
from paxospp.testing.simulation.judges.chosen_values import ChosenValues, Incarnation
from paxospp.testing.simulation.judges.leader_rules import LeaderRules
from paxospp.testing.simulation.judges.led_ballots import LedBallots
from paxospp.testing.simulation.judges.log_rules import LogRules
from paxospp.testing.simulation.judges.observed import ObservedHost
from paxospp.testing.simulation.judges.snapshot_rules import SnapshotRules
from paxospp.testing.simulation.rule_broken import RuleBroken

_SECOND_US = 1_000_000
_TICK_S = 1e-6
_Answer = tuple[Slot, Slot, tuple[range, ...], dict[Slot, Ballot]]
"""The content of one answer to a Prepare: decided, first, faulty, and the ballots of accepted slots."""


class StepRules:
    """Remembers what was said, and checks what replicas conclude from it."""

    def __init__(
        self,
        chosen: ChosenValues,
        led: LedBallots,
        leader_rules: LeaderRules,
        log_rules: LogRules,
        snapshot_rules: SnapshotRules,
    ) -> None:
        self._chosen = chosen
        self._led = led
        self._leader_rules = leader_rules
        self._log_rules = log_rules
        self._snapshot_rules = snapshot_rules
        self._answers: dict[tuple[Incarnation, int, int, Ballot], _Answer] = {}
        """The content of each answer, by incarnation, boot, number and ballot."""
        self._blocked: dict[NodeId, tuple[Ballot, int, float]] = {}
        """By leader: its ballot, the slot that blocks it, and since when, in the leader's active time."""
        self._beats: defaultdict[tuple[NodeId, int, int], set[tuple[int, HeartbeatAnswer]]] = defaultdict(set)
        """By node, nonce of its boot, and round: the answers, each with the incarnation of the node that gave it."""
        self._rounds: dict[NodeId, dict[int, float]] = {}
        """When each round of a boot began, by the boot time of its node."""
        self._lives: dict[tuple[Ballot, NodeId], int] = {}
        """The incarnation whose promise to a ballot was counted for a node."""
        self._learned: dict[NodeId, dict[Slot, Ballot]] = {}
        """Slots that a boot has learned above those it started with, with the ballots it was told."""
        self._covered: dict[NodeId, Slot] = {}
        """Up to where a boot needs no proof: the decided slot on its disk, or its snapshot."""
        self._met: dict[NodeId, Ballot] = {}
        """The highest ballot under which a boot has learned anything."""

    # What is said.

    def on_promise(self, host: ObservedHost, promise: Promise) -> None:
        """Note one part of an answer of ``host``."""
        key = (_incarnation(host), host.sender.boot, promise.answer, promise.ballot)
        answer = self._answers.get(key)
        if answer is None:
            answer = self._answers[key] = (promise.decided, promise.first, promise.faulty, {})
        answer[3].update((entry.slot, entry.ballot) for entry in promise.entries)

    def on_heartbeat_answer(self, host: ObservedHost, to: NodeId, answer: HeartbeatAnswer) -> None:
        """Note the answer of ``host``; check that its disk is not said to answer while a write is stuck (rule 5)."""
        assert host.runtime is not None
        writes, clock = host.runtime.replica.protocol.writes, host.runtime.replica.active_time
        hangs = writes.oldest_age(clock) > host.world.plan.config_of(host.index).election_timeout_s
        if hangs and answer.disk_answers:
            raise RuleBroken("rule 5", f"{host.name} says that its disk answers, but a write has waited for a window")
        self._beats[to, answer.nonce, answer.round].add((host.sender.incarnation, answer))

    def on_round(self, host: ObservedHost, round: int) -> None:
        """Note that ``host`` begins a round of heartbeats."""
        self._rounds[host.name][round] = host.boot_time()

    def on_announcement(self, host: ObservedHost, ballot: Ballot, decided_up_to: Slot) -> None:
        """Check that all slots announced under ``ballot`` were chosen under ballots up to that one (rule 4)."""
        self._check_leads_rightly(host, ballot)
        under = self._chosen.highest_under(decided_up_to)
        if under is not None and under > ballot:
            raise RuleBroken(
                "rule 4",
                f"{host.name} announces {decided_up_to} under {ballot}, but some of it was chosen under {under}",
            )

    def on_accept(self, host: ObservedHost, accept: Accept) -> None:
        """Check a value that ``host`` proposes, or proposes again."""
        self.on_announcement(host, accept.ballot, accept.decided_up_to)
        membership = self._chosen.membership
        assert host.runtime is not None
        if membership is not None and accept.slot > host.runtime.replica.decided + membership.alpha:
            raise RuleBroken(
                "rule 7", f"{host.name} proposes slot {accept.slot} and knows {host.runtime.replica.decided} decided"
            )

    def on_heartbeat(self, host: ObservedHost, heartbeat: Heartbeat) -> None:
        """Check what a leading ``host`` announces in a heartbeat."""
        if heartbeat.leading is not None:
            self.on_announcement(host, heartbeat.leading, heartbeat.decided_up_to)

    def on_decided(self, host: ObservedHost, decided: DecidedEntries) -> None:
        """Check that each entry ``host`` sends carries a ballot that covers it (rule 4)."""
        for entry in decided.entries:
            under = self._chosen.under.get(entry.slot)
            if under is not None and entry.ballot < under:
                raise RuleBroken(
                    "rule 4", f"{host.name} sends slot {entry.slot} under {entry.ballot}; it was chosen under {under}"
                )

    def on_chunk(self, host: ObservedHost, chunk: SnapshotChunk) -> None:
        """Check the ballot in a chunk that ``host`` sends."""
        if chunk.ballot is not None:
            self.check_covers(host, chunk.slot, chunk.ballot)

    def on_accused(self, host: ObservedHost, reason: str) -> None:
        """Check that ``host`` rejects a peer only if the disk of that peer may have been replaced (rule 8)."""
        plan = host.world.plan
        if reason.startswith(("rolled back", "a clone")) and not plan.rolls_back and "D13" not in plan.faults.families:
            raise RuleBroken("rule 8", f"{host.name} rejects a peer that has its own disk: {reason}")

    def check_covers(self, host: ObservedHost, slot: Slot, ballot: Ballot | None) -> None:
        """Check that everything up to ``slot`` was chosen under ballots up to that of the snapshot (rule 4)."""
        under = self._chosen.highest_under(slot)
        if under is not None and (ballot is None or ballot < under):
            raise RuleBroken(
                "rule 4", f"the snapshot {host.name} has up to {slot} names {ballot}; chosen under {under}"
            )

    def _check_leads_rightly(self, host: ObservedHost, ballot: Ballot) -> None:
        assert host.runtime is not None
        met = self._met.get(host.name)
        if met is not None and met > ballot:
            raise RuleBroken("rule 1", f"{host.name} leads under {ballot} and has learned what was decided under {met}")
        promised = host.runtime.replica.protocol.acceptor.promised
        if promised is not None and promised > ballot:
            raise RuleBroken("rule 1", f"{host.name} leads under {ballot} and has promised {promised}")

    # What is concluded.

    def on_counted_promise(
        self, host: ObservedHost, sender: Sender, number: int, ballot: Ballot, report: PromiseReport
    ) -> None:
        """Check an answer of which ``host`` counts all parts (rule 2)."""
        if sender.node == host.name:
            self._log_rules.on_own_promise(host, ballot)
            return  # this promise was sent to nobody; it is checked against the log
        answer = self._answers.get(((sender.node, sender.incarnation), sender.boot, number, ballot))
        if answer is None:
            raise RuleBroken(
                "rule 2", f"{host.name} counts an answer {number} of {sender.node} to {ballot} that was not given"
            )
        counted = (report.decided, report.first, report.faulty, _ballots(report))
        if counted != answer:
            raise RuleBroken(
                "rule 2", f"{host.name} counts {counted} as the answer of {sender.node}, which was {answer}"
            )
        if self._lives.setdefault((ballot, sender.node), sender.incarnation) != sender.incarnation:
            raise RuleBroken("rule 9", f"{host.name} counts promises of two incarnations of {sender.node} to {ballot}")

    def on_learned(self, host: ObservedHost, slot: Slot, ballot: Ballot) -> None:
        """Check that ``slot``, which ``host`` considers decided, was chosen under ``ballot`` or below (rule 4)."""
        under = self._chosen.under.get(slot)
        if under is None:
            raise RuleBroken("rule 4", f"{host.name} considers slot {slot} decided, which no quorum has accepted")
        if under > ballot:
            raise RuleBroken(
                "rule 4", f"{host.name} considers slot {slot} decided under {ballot}; it was chosen under {under}"
            )
        self._learned.setdefault(host.name, {})[slot] = ballot
        met = self._met.get(host.name)
        if met is None or ballot > met:
            self._met[host.name] = ballot

    def has_learned(self, host: ObservedHost, slot: Slot) -> bool:
        """Return whether ``host`` was told that ``slot`` is decided, or counted it."""
        if host.runtime is not None and slot <= host.runtime.replica.decided:
            return True
        return slot in self._learned.get(host.name, ())

    def on_installed(self, host: ObservedHost, slot: Slot, ballot: Ballot) -> None:
        """Check that a snapshot covers every slot up to ``slot``: ``host`` considers all of them decided now."""
        self.check_covers(host, slot, ballot)
        self._log_rules.on_installed(host, ballot)
        self._snapshot_rules.on_installed(host, slot)
        self._covered[host.name] = max(slot, self._covered.get(host.name, Slot(0)))
        self._met[host.name] = max(ballot, self._met.get(host.name, ballot))

    def on_decided_up_to(self, host: ObservedHost, before: int, decided: Slot) -> None:
        """Check that ``host`` learned every slot that it now knows decided with a ballot (rule 4)."""
        learned, covered = self._learned.get(host.name, {}), self._covered.get(host.name, Slot(0))
        for number in range(max(before, covered) + 1, decided + 1):
            if learned.pop(Slot(number), None) is None:
                raise RuleBroken(
                    "rule 4", f"{host.name} considers slot {number} decided, and was told so under no ballot"
                )

    def on_load(self, host: ObservedHost, decided: Slot) -> None:
        """Begin a boot: it needs no proof for slots that its disk says are decided."""
        self._learned[host.name] = {}
        self._rounds[host.name] = {}
        self._covered[host.name] = decided
        self._met.pop(host.name, None)

    def on_closed_damage(self, host: ObservedHost, bound: Slot, held: dict[Slot, Ballot]) -> None:
        """Check that ``host`` held nothing above ``bound``, where it no longer considers its log damaged (rule 5)."""
        assert host.runtime is not None
        log, decided = host.runtime.replica.protocol.log, host.runtime.replica.decided
        for slot in held:
            if slot > max(bound, decided) and slot >= log.first and log.get(slot) is None and log.is_faulty(slot):
                raise RuleBroken(
                    "rule 5", f"damage to the log of {host.name} is closed at {bound}; it held slot {slot}"
                )

    def on_counted_grant(
        self, host: ObservedHost, peer: ObservedHost, until: float, granted: tuple[Ballot, float] | None
    ) -> None:
        """Check a lease of ``peer`` that ``host`` relies on until that boot time of its own (rule 6)."""
        if granted is None:
            raise RuleBroken("B33", f"{host.name} relies on a lease that {peer.name} has not granted")
        assert host.runtime is not None
        answer = host.runtime.replica.protocol.heartbeats.rounds.answers[peer.name].answer
        began_at = self._rounds[host.name][answer.round]
        if until > began_at + answer.lease / _SECOND_US * (1 - DRIFT_BOUND) + _TICK_S:
            raise RuleBroken("B33", f"{host.name} counts a lease of {peer.name} from after round {answer.round} began")
        leader, ends = granted
        if leader.node != host.name:
            return  # it was granted to another leader since, and this one will learn that it is deposed
        if host.world_time_of(until) > peer.world_time_of(ends):
            raise RuleBroken(
                "B33", f"{host.name} relies on a lease of {peer.name} for longer than {peer.name} keeps it"
            )

    # Leaders and candidates.

    def working(self, host: ObservedHost, *, after: float | None = None, since_round: int = 0) -> set[NodeId]:
        """Return the voters with working disks that answered ``host`` after that active time, in that round or later.

        Check too that each answer the host keeps was given, by the incarnation that it is kept for.
        """
        assert host.runtime is not None
        working: set[NodeId] = set()
        for peer, answered in host.runtime.replica.protocol.heartbeats.rounds.answers.items():
            answer, incarnation = answered.answer, answered.incarnation
            if (incarnation, answer) not in self._beats[host.name, answer.nonce, answer.round]:
                raise RuleBroken("B32", f"{host.name} keeps an answer of {peer} that was not given: {answer}")
            counts = answer.round >= since_round and (after is None or answered.at > after)
            if counts and answer.disk_answers and self._chosen.has_vote((peer, incarnation)):
                working.add(peer)
        return working

    def check_is_quorum_connected(self, host: ObservedHost, leading: Leading, ticked_at: float) -> None:
        """Check invariant 17 at a tick: a quorum of voters with working disks answered within two windows (rule 5)."""
        assert host.runtime is not None
        config, protocol = host.world.plan.config_of(host.index), host.runtime.replica.protocol
        before = ticked_at - 2 * config.election_timeout_s
        if leading.since >= before or self._chosen.membership is None or protocol.cluster.membership is None:
            return
        names = self.working(host, after=before)
        if protocol.writes.oldest_age(ticked_at) <= config.election_timeout_s and host.has_vote:
            names.add(host.name)
        if not self._chosen.are_quorum(names):
            raise RuleBroken("17", f"{host.name} leads, and within two windows only {sorted(names)} answered it")

    def check_gets_on(self, host: ObservedHost, leading: Leading, ticked_at: float) -> None:
        """Check invariant 17: a leader that cannot decide what its promises reported steps down (rule 5)."""
        assert host.runtime is not None
        window_s = host.world.plan.config_of(host.index).election_timeout_s
        if host.runtime.replica.decided < leading.recovered_up_to and ticked_at - leading.progressed_at > 2 * window_s:
            raise RuleBroken(
                "17",
                f"{host.name} leads, and has decided nothing of what it recovered for two windows: it is at "
                f"{host.runtime.replica.decided} of {leading.recovered_up_to}",
            )
        self._check_is_not_blocked(host, leading, ticked_at, 3 * window_s)

    def _check_is_not_blocked(self, host: ObservedHost, leading: Leading, ticked_at: float, bound_s: float) -> None:
        """Check that a leader steps down if it does not see the end of the log, or does not get back what it lost."""
        assert host.runtime is not None
        protocol = host.runtime.replica.protocol
        voters, lost = protocol.cluster.voters, protocol.learning.lost
        blocked_by = lost.start if lost is not None else 0 if leading.sees_the_end(voters) else leading.next_slot
        former = self._blocked.get(host.name)
        if former is None or former[:2] != (leading.ballot, blocked_by):
            former = self._blocked[host.name] = (leading.ballot, blocked_by, ticked_at)
        if blocked_by and ticked_at - former[2] > bound_s and len(voters.names) > 1:
            raise RuleBroken("17", f"{host.name} leads under {leading.ballot}, and does not get past slot {blocked_by}")

    def check_may_campaign(self, host: ObservedHost, asked_in: int, asked_at: float) -> None:
        """Check that a quorum of voters with working disks has answered the round that ``host`` began (rule 5).

        The answers must be later than ``asked_at``, in active time: of two answers to one round, one may be a minute
        older.
        """
        if self._chosen.membership is None or host.runtime is None or host.runtime.replica.membership is None:
            return
        names = self.working(host, since_round=asked_in, after=asked_at)
        if host.has_vote:
            names.add(host.name)
        if not self._chosen.are_quorum(names):
            raise RuleBroken("rule 5", f"{host.name} campaigns, but with working disks only {sorted(names)} answered")

    def check_room(self, host: ObservedHost, leading: Leading) -> None:
        """Check that nothing is chosen under a lower ballot where a leader has room for values (rules 2 and 7)."""
        assert host.runtime is not None
        start = leading.next_slot
        room = host.runtime.replica.proposable
        # All slots above the damaged ones are clean alike, so it is enough to check the first, the next and the last.
        for number in sorted({start, start + 1, start + room - 1}):
            if start <= number < start + room and not self._leader_rules.has_clean(leading, Slot(number)):
                raise RuleBroken(
                    "16", f"{host.name} has room for slot {number}, of which no quorum says that it is clean"
                )
        if leading.ballot != self._led.highest:
            return  # deposed without knowing it: others may have chosen there since
        for number in range(start, start + room):
            under = self._chosen.under.get(Slot(number))
            if under is not None and under < leading.ballot:
                raise RuleBroken("rule 2", f"{host.name} has room for slot {number}, where {under} has chosen a value")


def _incarnation(host: ObservedHost) -> Incarnation:
    return host.name, host.sender.incarnation


def _ballots(report: PromiseReport) -> dict[Slot, Ballot]:
    return {slot: entry.ballot for slot, entry in report.entries.items()}
