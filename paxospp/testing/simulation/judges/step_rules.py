"""Steps of the proof, each judged when a replica takes it, with all disks and all messages in view.

A broken rule seldom harms at once: a value has to be chosen elsewhere, or a message to be lost, before two
replicas differ. What is judged here is the step itself, so a run shows it where it happens. The rules are
those of ``paxospp/engine/README.md``:

* Rule 1: what a replica says as a leader, it says under a ballot that is no lower than anything it has
  promised, and than anything under which it has learned that a slot is decided.
* Rule 2: a promise is counted as one answer that was given, whole; and *none* is never said of a slot that
  this incarnation has accepted and that is not covered.
* Rule 4: a slot is taken for decided only together with a ballot, and only when it was chosen under that one
  or a lower one. The same holds for what is announced, taught, or covered by a snapshot.
* Rule 5: a leader leads on, and a candidate campaigns, only if voters with working disks answered it, and are
  a quorum; an answer counts for the incarnation that gave it. Damage is closed only where nothing was accepted.
* Rule 6: a grant that a leader counts on ends no later than it does for the one who granted it, and is counted
  from the beginning of the round that it answers.
* Rule 7: a proposal lies at most alpha slots above what its proposer knows decided; and there is room for a
  new value only where nothing is chosen under a lower ballot, after clean answers of a quorum.
"""

from __future__ import annotations

from collections import defaultdict

from paxospp.engine.rules.leader import Leading
from paxospp.engine.rules.lease import DRIFT_BOUND
from paxospp.engine.rules.promises import PromiseReport
from paxospp.messages import Accept, Decided, Heartbeat, HeartbeatAnswer, Promise, Sender, SnapshotChunk
from paxospp.model import Ballot, NodeId, Slot
from paxospp.testing.simulation.judges.chosen_values import ChosenValues, Life
from paxospp.testing.simulation.judges.leader_rules import LeaderRules
from paxospp.testing.simulation.judges.led_ballots import LedBallots
from paxospp.testing.simulation.judges.log_rules import LogRules
from paxospp.testing.simulation.judges.observed import ObservedHost
from paxospp.testing.simulation.judges.snapshot_rules import SnapshotRules
from paxospp.testing.simulation.rule_broken import RuleBroken

_SECOND_US = 1_000_000
_TICK_S = 1e-6
_Answer = tuple[Slot, Slot, tuple[range, ...], dict[Slot, Ballot]]
"""What one answer to a Prepare said: decided, first, faulty, and the ballots of what was accepted."""


class StepRules:
    """Remembers what was said, and judges what is concluded from it."""

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
        self._answers: dict[tuple[Life, int, int, Ballot], _Answer] = {}
        """By life, boot, number and ballot."""
        self._blocked: dict[NodeId, tuple[Ballot, int, float]] = {}
        """Which slot a leader does not get past, under which ballot, and since when in its active time."""
        self._beats: defaultdict[tuple[NodeId, int, int], set[tuple[int, HeartbeatAnswer]]] = defaultdict(set)
        """What was answered to a round of a boot, which is known by its nonce, with the answerer's incarnation."""
        self._rounds: dict[NodeId, dict[int, float]] = {}
        """When each round of a boot began, by the clock of its node that never stops."""
        self._lives: dict[tuple[Ballot, NodeId], int] = {}
        """The incarnation whose promise to a ballot was counted for a node."""
        self._learned: dict[NodeId, dict[Slot, Ballot]] = {}
        """What a boot has learned above what it came up with, with the ballots that it was told."""
        self._covered: dict[NodeId, Slot] = {}
        """Up to where a boot needs no telling: its own hint, or a snapshot."""
        self._met: dict[NodeId, Ballot] = {}
        """The highest ballot under which a boot has learned anything."""

    # What is said.

    def on_promise(self, host: ObservedHost, promise: Promise) -> None:
        """``host`` says one part of an answer."""
        key = (_life(host), host.sender.boot, promise.answer, promise.ballot)
        answer = self._answers.get(key)
        if answer is None:
            answer = self._answers[key] = (promise.decided, promise.first, promise.faulty, {})
        answer[3].update((entry.slot, entry.ballot) for entry in promise.entries)

    def on_heartbeat_answer(self, host: ObservedHost, to: NodeId, answer: HeartbeatAnswer) -> None:
        """``host`` answers a round of ``to``, and says whether its disk answers (rule 5)."""
        assert host.parts is not None
        writes, clock = host.parts.replica.protocol.writes, host.parts.replica.active_time
        hangs = writes.oldest_age(clock) > host.world.plan.config_of(host.index).election_timeout_s
        if hangs and answer.disk_answers:
            raise RuleBroken("rule 5", f"{host.name} says that its disk answers, and a write has been out for a window")
        self._beats[to, answer.nonce, answer.round].add((host.sender.incarnation, answer))

    def on_round(self, host: ObservedHost, round: int) -> None:
        """``host`` begins a round of heartbeats."""
        self._rounds[host.name][round] = host.boot_time()

    def on_announcement(self, host: ObservedHost, ballot: Ballot, decided_up_to: Slot) -> None:
        """``host`` announces under ``ballot``: all of it was chosen under ballots up to that one (rule 4)."""
        self._check_leads_rightly(host, ballot)
        under = self._chosen.highest_under(decided_up_to)
        if under is not None and under > ballot:
            raise RuleBroken(
                "rule 4",
                f"{host.name} announces {decided_up_to} under {ballot}, of which a part was chosen under {under}",
            )

    def on_accept(self, host: ObservedHost, accept: Accept) -> None:
        """``host`` proposes, or does so again."""
        self.on_announcement(host, accept.ballot, accept.decided_up_to)
        membership = self._chosen.membership
        assert host.parts is not None
        if membership is not None and accept.slot > host.parts.replica.decided + membership.alpha:
            raise RuleBroken(
                "rule 7", f"{host.name} proposes slot {accept.slot} and knows {host.parts.replica.decided} decided"
            )

    def on_heartbeat(self, host: ObservedHost, heartbeat: Heartbeat) -> None:
        """``host`` says that it leads, or not."""
        if heartbeat.leading is not None:
            self.on_announcement(host, heartbeat.leading, heartbeat.decided_up_to)

    def on_decided(self, host: ObservedHost, decided: Decided) -> None:
        """``host`` teaches entries, each with a ballot that covers it (rule 4)."""
        for entry in decided.entries:
            under = self._chosen.under.get(entry.slot)
            if under is not None and entry.ballot < under:
                raise RuleBroken(
                    "rule 4", f"{host.name} teaches slot {entry.slot} under {entry.ballot}; chosen under {under}"
                )

    def on_chunk(self, host: ObservedHost, chunk: SnapshotChunk) -> None:
        """``host`` sends a part of a snapshot."""
        if chunk.ballot is not None:
            self.check_covers(host, chunk.slot, chunk.ballot)

    def on_accused(self, host: ObservedHost, reason: str) -> None:
        """``host`` hears somebody no more; nobody is accused who has done nothing (rule 8)."""
        plan = host.world.plan
        if reason.startswith(("rolled back", "a clone")) and not plan.rolls_back and "D13" not in plan.faults.families:
            raise RuleBroken("rule 8", f"{host.name} says of a peer whose disk is its own: {reason}")

    def check_covers(self, host: ObservedHost, slot: Slot, ballot: Ballot | None) -> None:
        """A snapshot up to ``slot`` says that nothing it covers was decided under a ballot above this one (rule 4)."""
        under = self._chosen.highest_under(slot)
        if under is not None and (ballot is None or ballot < under):
            raise RuleBroken(
                "rule 4", f"the snapshot {host.name} has up to {slot} names {ballot}; chosen under {under}"
            )

    def _check_leads_rightly(self, host: ObservedHost, ballot: Ballot) -> None:
        assert host.parts is not None
        met = self._met.get(host.name)
        if met is not None and met > ballot:
            raise RuleBroken(
                "rule 1", f"{host.name} speaks under {ballot}, and has learned what was decided under {met}"
            )
        promised = host.parts.replica.protocol.acceptor.promised
        if promised is not None and promised > ballot:
            raise RuleBroken("rule 1", f"{host.name} speaks under {ballot}, and has promised {promised}")

    # What is concluded.

    def on_counted_promise(
        self, host: ObservedHost, sender: Sender, number: int, ballot: Ballot, report: PromiseReport
    ) -> None:
        """``host`` takes all parts of an answer for in (rule 2)."""
        if sender.node == host.name:
            self._log_rules.on_own_promise(host, ballot)
            return  # nobody else heard it; what it says is judged as what it holds
        answer = self._answers.get(((sender.node, sender.incarnation), sender.boot, number, ballot))
        if answer is None:
            raise RuleBroken(
                "rule 2", f"{host.name} counts an answer {number} of {sender.node} to {ballot} that was not given"
            )
        counted = (report.decided, report.first, report.faulty, _ballots(report))
        if counted != answer:
            raise RuleBroken("rule 2", f"{host.name} counts {counted} for what {sender.node} answered: {answer}")
        if self._lives.setdefault((ballot, sender.node), sender.incarnation) != sender.incarnation:
            raise RuleBroken("rule 9", f"{host.name} counts promises of two incarnations of {sender.node} to {ballot}")

    def on_learned(self, host: ObservedHost, slot: Slot, ballot: Ballot) -> None:
        """``host`` takes ``slot`` for decided, as it was told under a ballot up to this one (rule 4)."""
        under = self._chosen.under.get(slot)
        if under is None:
            raise RuleBroken("rule 4", f"{host.name} takes slot {slot} for decided, which no quorum holds")
        if under > ballot:
            raise RuleBroken(
                "rule 4", f"{host.name} takes slot {slot} for decided under {ballot}; it was chosen under {under}"
            )
        self._learned.setdefault(host.name, {})[slot] = ballot
        met = self._met.get(host.name)
        if met is None or ballot > met:
            self._met[host.name] = ballot

    def has_learned(self, host: ObservedHost, slot: Slot) -> bool:
        """Whether ``host`` was told, or counted, that ``slot`` is decided."""
        if host.parts is not None and slot <= host.parts.replica.decided:
            return True
        return slot in self._learned.get(host.name, ())

    def on_installed(self, host: ObservedHost, slot: Slot, ballot: Ballot) -> None:
        """``host`` takes every slot up to ``slot`` for decided, as a snapshot says."""
        self.check_covers(host, slot, ballot)
        self._log_rules.on_installed(host, ballot)
        self._snapshot_rules.on_installed(host, slot)
        self._covered[host.name] = max(slot, self._covered.get(host.name, Slot(0)))
        self._met[host.name] = max(ballot, self._met.get(host.name, ballot))

    def on_decided_up_to(self, host: ObservedHost, before: int, decided: Slot) -> None:
        """``host`` has moved over slots: every one was learned with a ballot (rule 4)."""
        learned, covered = self._learned.get(host.name, {}), self._covered.get(host.name, Slot(0))
        for number in range(max(before, covered) + 1, decided + 1):
            if learned.pop(Slot(number), None) is None:
                raise RuleBroken(
                    "rule 4", f"{host.name} takes slot {number} for decided, and was told so under no ballot"
                )

    def on_load(self, host: ObservedHost, decided: Slot) -> None:
        """A boot begins: what its disk says it knows decided, it need not be told."""
        self._learned[host.name] = {}
        self._rounds[host.name] = {}
        self._covered[host.name] = decided
        self._met.pop(host.name, None)

    def on_closed_damage(self, host: ObservedHost, bound: Slot, held: dict[Slot, Ballot]) -> None:
        """``host`` takes nothing above ``bound`` for damaged any more: it never held anything there (rule 5)."""
        assert host.parts is not None
        log, decided = host.parts.replica.protocol.log, host.parts.replica.decided
        for slot in held:
            if slot > max(bound, decided) and slot >= log.first and log.get(slot) is None and log.is_faulty(slot):
                raise RuleBroken(
                    "rule 5", f"damage to the log of {host.name} is closed at {bound}; it held slot {slot}"
                )

    def on_counted_grant(
        self, host: ObservedHost, peer: ObservedHost, until: float, granted: tuple[Ballot, float] | None
    ) -> None:
        """``host`` counts on a lease of ``peer`` until that boot time of its own (rule 6)."""
        if granted is None:
            raise RuleBroken("B33", f"{host.name} counts on a lease that {peer.name} has not granted")
        assert host.parts is not None
        answer = host.parts.replica.protocol.heartbeats.rounds.answers[peer.name].answer
        began_at = self._rounds[host.name][answer.round]
        if until > began_at + answer.lease / _SECOND_US * (1 - DRIFT_BOUND) + _TICK_S:
            raise RuleBroken("B33", f"{host.name} counts a lease of {peer.name} from after round {answer.round} began")
        leader, ends = granted
        if leader.node != host.name:
            return  # since then it was granted to another leader; this one will learn that it is deposed
        if host.world_time_of(until) > peer.world_time_of(ends):
            raise RuleBroken("B33", f"{host.name} counts on a lease of {peer.name} for longer than that one does")

    # Who leads, and who campaigns.

    def working(self, host: ObservedHost, *, after: float | None = None, since_round: int = 0) -> set[NodeId]:
        """Voters with working disks that answered ``host`` after that active time, in that round or a later one.

        Each answer that it keeps has to be one that was given, by the incarnation that it is kept for.
        """
        assert host.parts is not None
        working: set[NodeId] = set()
        for peer, answered in host.parts.replica.protocol.heartbeats.rounds.answers.items():
            answer, incarnation = answered.answer, answered.incarnation
            if (incarnation, answer) not in self._beats[host.name, answer.nonce, answer.round]:
                raise RuleBroken("B32", f"{host.name} keeps an answer of {peer} that was not given: {answer}")
            counts = answer.round >= since_round and (after is None or answered.at > after)
            if counts and answer.disk_answers and self._chosen.has_vote((peer, incarnation)):
                working.add(peer)
        return working

    def check_is_quorum_connected(self, host: ObservedHost, leading: Leading, ticked_at: float) -> None:
        """17: when it ticks, a quorum of voters with working disks has answered within two windows (rule 5)."""
        assert host.parts is not None
        config, protocol = host.world.plan.config_of(host.index), host.parts.replica.protocol
        before = ticked_at - 2 * config.election_timeout_s
        if leading.since >= before or self._chosen.membership is None or protocol.cluster.membership is None:
            return
        names = self.working(host, after=before)
        if protocol.writes.oldest_age(ticked_at) <= config.election_timeout_s and host.has_vote:
            names.add(host.name)
        if not self._chosen.are_quorum(names):
            raise RuleBroken(
                "17", f"{host.name} leads, and within two windows none but {sorted(names)} has answered it"
            )

    def check_gets_on(self, host: ObservedHost, leading: Leading, ticked_at: float) -> None:
        """17: a leader that does not reach what its promises reported is not one for long (rule 5)."""
        assert host.parts is not None
        window_s = host.world.plan.config_of(host.index).election_timeout_s
        if host.parts.replica.decided < leading.recovered_up_to and ticked_at - leading.progressed_at > 2 * window_s:
            raise RuleBroken(
                "17",
                f"{host.name} leads, and has decided nothing of what it recovered for two windows: it is at "
                f"{host.parts.replica.decided} of {leading.recovered_up_to}",
            )
        self._check_is_not_blocked(host, leading, ticked_at, 3 * window_s)

    def _check_is_not_blocked(self, host: ObservedHost, leading: Leading, ticked_at: float, bound_s: float) -> None:
        """Nor does it lead on where it does not see the end of the log, or have back what it has lost."""
        assert host.parts is not None
        protocol = host.parts.replica.protocol
        voters, lost = protocol.cluster.voters, protocol.learning.lost
        blocked_by = lost.start if lost is not None else 0 if leading.sees_the_end(voters) else leading.next_slot
        former = self._blocked.get(host.name)
        if former is None or former[:2] != (leading.ballot, blocked_by):
            former = self._blocked[host.name] = (leading.ballot, blocked_by, ticked_at)
        if blocked_by and ticked_at - former[2] > bound_s and len(voters.names) > 1:
            raise RuleBroken("17", f"{host.name} leads under {leading.ballot}, and does not get past slot {blocked_by}")

    def check_may_campaign(self, host: ObservedHost, asked_in: int, asked_at: float) -> None:
        """A quorum of voters with working disks has answered a round it began when its window was over (rule 5).

        And after ``asked_at``, in active time: of two answers to one round one may be a minute older.
        """
        if self._chosen.membership is None or host.parts is None or host.parts.replica.membership is None:
            return
        names = self.working(host, since_round=asked_in, after=asked_at)
        if host.has_vote:
            names.add(host.name)
        if not self._chosen.are_quorum(names):
            raise RuleBroken("rule 5", f"{host.name} campaigns; with working disks only {sorted(names)} answered")

    def check_room(self, host: ObservedHost, leading: Leading) -> None:
        """Where there is room for new values, nothing is chosen under a lower ballot (rules 2 and 7)."""
        assert host.parts is not None
        start = leading.next_slot
        room = host.parts.replica.proposable
        # Whatever is not damaged is clean from some slot on, so the first, the next and the last one tell.
        for number in sorted({start, start + 1, start + room - 1}):
            if start <= number < start + room and not self._leader_rules.has_clean(leading, Slot(number)):
                raise RuleBroken(
                    "16", f"{host.name} has room for slot {number}, of which no quorum says that it is clean"
                )
        if leading.ballot != self._led.highest:
            return  # deposed, and does not know it: others may have chosen there since
        for number in range(start, start + room):
            under = self._chosen.under.get(Slot(number))
            if under is not None and under < leading.ballot:
                raise RuleBroken("rule 2", f"{host.name} has room for slot {number}, where {under} has chosen a value")


def _life(host: ObservedHost) -> Life:
    return host.name, host.sender.incarnation


def _ballots(report: PromiseReport) -> dict[Slot, Ballot]:
    return {slot: entry.ballot for slot, entry in report.entries.items()}
