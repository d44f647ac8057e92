"""What must hold after every event, seen from where all nodes and all disks are seen.

The numbers are those of FAULTS (e). Everything is kept incrementally: an event costs as much as
it changed. What is chosen is counted in ``chosen``; what is asked of leaders stands in ``leaders``,
of reads in ``reads``, of leases in ``leases``, and of calls, results and states (10 to 14) in ``history``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from paxospp.engine.campaigning import Campaigning
from paxospp.engine.leading import Leading
from paxospp.engine.settings import Identity
from paxospp.messages import Accept, Accepted, Decided, Heartbeat, HeartbeatAnswer, Message, Nack, Prepare, Promise
from paxospp.model import Ballot, Entry, Kind, NodeId, Slot
from paxospp.storage.contract import DurableState, WriteBatch
from paxospp.testing.simulation.bounds import check_memory
from paxospp.testing.simulation.broken import Broken
from paxospp.testing.simulation.chosen import Chosen, Life
from paxospp.testing.simulation.leaders import LeaderRules
from paxospp.testing.simulation.leases import LeaseRules
from paxospp.testing.simulation.reads import ReadRules

if TYPE_CHECKING:
    from paxospp.testing.simulation.host import Host


@dataclass(slots=True)
class _Said:
    """What one life of a storage ever told its peers."""

    promised: Ballot | None = None
    accepted: dict[Slot, Ballot] = field(default_factory=dict)


class Invariants:
    """Looks at every message said, every write synced, every slot applied, and every node after every event."""

    def __init__(self, coverage: Counter[str]) -> None:
        self.coverage = coverage
        self.chosen = Chosen()
        self.leaders: set[Ballot] = set()
        """Every ballot that was led under."""
        self.highest_leader: Ballot | None = None
        """The highest of them."""
        self.of_leaders = LeaderRules(self)
        self.of_reads = ReadRules(self)
        self.of_leases = LeaseRules()
        self._held: dict[Life, dict[Slot, Ballot]] = {}
        """Per slot the ballot under which a life of a storage held it last."""
        self._faulty: dict[NodeId, list[range]] = {}
        self._boots: dict[Ballot, int] = {}
        self._said: dict[Life, _Said] = {}
        self._partial: dict[tuple[Ballot, NodeId, Slot], set[Slot]] = {}
        self._proposed: set[tuple[Slot, Ballot]] = set()
        self._checks: Mapping[type[Any], Callable[[Host, Any], None]] = {
            Prepare: self._on_prepare,
            Promise: self._on_promise,
            Accept: self._on_accept,
            Accepted: self._on_accepted,
            Nack: self._on_nack,
            Decided: self._on_decided,
            Heartbeat: self._on_heartbeat,
            HeartbeatAnswer: self._on_answer,
        }

    # What is said. Called at the moment of emission.

    def on_send(self, host: Host, to: NodeId, message: Message) -> None:
        check = self._checks.get(type(message))
        if check is not None:
            check(host, message)

    def _on_prepare(self, host: Host, prepare: Prepare) -> None:
        self._check_promised(host, prepare.ballot, "Prepare")
        self._check_owner(host, prepare.ballot)

    def _on_nack(self, host: Host, nack: Nack) -> None:
        self._check_promised(host, nack.promised, "Nack")

    def _on_promise(self, host: Host, promise: Promise) -> None:
        ballot = promise.ballot
        self._check_promised(host, ballot, "Promise")
        if promise.start != 1 or not self._is_unaware(host):
            self._check_votes(host, "promises")
        if promise.start < promise.first:
            self.coverage["a prepare began below the floor of a log"] += 1
        said = self._said_by(host)
        if said.promised is None or ballot > said.promised:
            said.promised = ballot
        self.of_leaders.on_promise(host, promise)
        self.of_leases.on_promise(host, promise)
        # 7, in this very answer: whatever it ever said to have accepted, it has to tell.
        key = (ballot, host.name, promise.decided)
        mentioned = self._partial.setdefault(key, set())
        mentioned.update(entry.slot for entry in promise.entries)
        if promise.part == promise.parts - 1:
            self._check_complete(host, promise, mentioned, said)

    def _check_complete(self, host: Host, promise: Promise, mentioned: set[Slot], said: _Said) -> None:
        floor = max(promise.decided + 1, promise.first)
        for slot, ballot in said.accepted.items():
            if slot < floor or slot in mentioned or ballot > promise.ballot:
                continue
            if not any(slot in slots for slots in promise.faulty):
                raise Broken(
                    "7",
                    f"{host.name} promises {promise.ballot} and is silent about slot {slot}, accepted under {ballot}",
                )
        del self._partial[promise.ballot, host.name, promise.decided]

    def _on_accepted(self, host: Host, accepted: Accepted) -> None:
        slot, ballot = accepted.slot, accepted.ballot
        self._check_promised(host, ballot, "Accepted")
        self._check_votes(host, "accepts")
        if slot == 1 and not self.chosen.would_vote((host.name, host.sender.incarnation), ballot):
            raise Broken("15", f"{host.name} accepts a founding in which this life of its storage does not stand")
        held = host.disk.known.get(slot)
        if held is None or held < ballot:
            raise Broken("6", f"{host.name} says that it accepted slot {slot} under {ballot}; synced is {held}")
        self._said_by(host).accepted[slot] = ballot
        # One write may have merged this acceptance with a later one of the same slot.
        self.chosen.count(host, slot, ballot)

    def _on_accept(self, host: Host, accept: Accept) -> None:
        slot, ballot = accept.slot, accept.ballot
        key = (slot, ballot)
        value = (accept.kind, accept.value)
        if self.chosen.proposed(slot, ballot, value) != value:
            raise Broken("2", f"{host.name} proposes two values under {ballot} in slot {slot}")
        if key in self._proposed:
            return
        self._proposed.add(key)
        self._check_owner(host, ballot)
        self._check_promised(host, ballot, "Accept")
        if slot != 1 or not self._is_unaware(host):
            self._check_votes(host, "proposes")
        chosen, membership = self.chosen.values.get(slot), self.chosen.membership
        # A deposed leader may; whoever leads above what was chosen may not.
        if chosen is not None and chosen != value and ballot > self.chosen.under[slot]:
            raise Broken("1", f"{host.name} proposes another value in slot {slot}, where one is chosen already")
        if membership is None:
            if slot != 1:
                raise Broken("15", f"{host.name} proposes slot {slot} before the cluster is founded")
            return
        if slot > self.chosen.up_to + membership.alpha:
            raise Broken(
                "15",
                f"{host.name} proposes slot {slot} while {self.chosen.up_to + 1} is open; alpha is {membership.alpha}",
            )
        self.of_leaders.on_proposal(host, accept)
        if accept.kind is Kind.NOOP:
            self.coverage["a gap was filled with a no-op"] += 1

    def _on_decided(self, host: Host, decided: Decided) -> None:
        assert host.parts is not None
        for entry in decided.entries:
            if entry.slot > host.parts.replica.decided:
                raise Broken("9", f"{host.name} tells that slot {entry.slot} is decided, and does not know it")
            if self.chosen.values.get(entry.slot) != (entry.kind, entry.value):
                raise Broken("1", f"{host.name} tells that slot {entry.slot} is decided as what was not chosen there")

    def _on_answer(self, host: Host, answer: HeartbeatAnswer) -> None:
        self.of_leases.on_answer(host, answer)
        self.of_reads.on_answer(host, answer)

    def _on_heartbeat(self, host: Host, heartbeat: Heartbeat) -> None:
        if heartbeat.round > host.round:
            host.round = heartbeat.round
            self._on_round(host, heartbeat.round)
        if heartbeat.leading is not None:
            if heartbeat.decided_up_to > self.chosen.up_to:
                raise Broken(
                    "9", f"{host.name} announces {heartbeat.decided_up_to}; chosen is up to {self.chosen.up_to}"
                )
            if self._boots.get(heartbeat.leading) is None:
                self._check_owner(host, heartbeat.leading)

    def _on_round(self, host: Host, round: int) -> None:
        """Once for each that ``host`` asks."""
        assert host.parts is not None
        self.of_reads.on_round(host, round)
        leading = host.parts.replica._protocol.leading
        if leading is not None:
            self.of_leaders.check_has_room(host, leading)

    def _check_promised(self, host: Host, ballot: Ballot, what: str) -> None:
        synced = host.disk.image.promised
        if synced is None or synced < ballot:
            raise Broken("6", f"{host.name} says {what} with {ballot} while {synced} is synced")

    def _check_owner(self, host: Host, ballot: Ballot) -> None:
        """2: one owner per ballot, and one boot of it."""
        sender = host.sender
        if (ballot.node, ballot.incarnation) != (sender.node, sender.incarnation):
            raise Broken("2", f"{host.name} speaks under {ballot}, which is not its own")
        if self._boots.setdefault(ballot, sender.boot) != sender.boot:
            raise Broken("2", f"{host.name} uses {ballot} again after a restart")

    def _check_votes(self, host: Host, what: str) -> None:
        if not self.has_vote(host):
            raise Broken("15", f"{host.name} {what} in a life of its storage that has no vote")

    def _is_unaware(self, host: Host) -> bool:
        """A new life that has not heard of a founding answers whoever asks for one, in a message of long ago too;
        and it may propose anew what it is told to have been accepted.

        DESIGN rule 9 asks every named node in its present life; what was founded is told by the others.
        """
        return host.parts is not None and host.parts.replica.membership is None

    def forgive(self, host: Host) -> None:
        """What was ever said from the disk of ``host`` is not asked of it any more: an older one was put in."""
        self._said.pop((host.name, host.sender.incarnation), None)
        self._held.pop((host.name, host.sender.incarnation), None)
        self._boots = {ballot: boot for ballot, boot in self._boots.items() if ballot.node != host.name}

    def _said_by(self, host: Host) -> _Said:
        key = (host.name, host.sender.incarnation)
        said = self._said.get(key)
        if said is None:
            said = self._said[key] = _Said()
        return said

    # What is on disk.

    def on_synced(self, host: Host, batch: WriteBatch) -> None:
        """``batch`` is synced on the disk of ``host``."""
        image = host.disk.image
        promised = image.promised
        if batch.trim is not None:
            self._check_trim(host, batch.trim)
        held = self._held.setdefault((host.name, host.sender.incarnation), {})
        for entry in batch.accepted:
            value = (entry.kind, entry.value)
            if self.chosen.proposed(entry.slot, entry.ballot, value) != value:
                raise Broken("2", f"two values under {entry.ballot} in slot {entry.slot}; {host.name} holds one")
            if promised is None or entry.ballot > promised:
                raise Broken("5", f"{host.name} holds slot {entry.slot} under {entry.ballot} and promised {promised}")
            former = held.get(entry.slot)
            # What was damaged, or could not be read, is learned anew under the ballot it was chosen under.
            was_lost = entry.slot in host.disk.healed or host.world.plan.faults.read_error > 0
            if former is not None and entry.ballot < former and not was_lost:
                raise Broken("5", f"{host.name} held slot {entry.slot} under {former} and now {entry.ballot}")
            accepted = self._said_by(host).accepted
            if entry.ballot < accepted.get(entry.slot, entry.ballot):
                accepted[entry.slot] = entry.ballot
            held[entry.slot] = entry.ballot
            self.chosen.count(host, entry.slot, entry.ballot)

    def _check_trim(self, host: Host, trim: Slot) -> None:
        """10: what is given back is in a snapshot, and everything in that was decided."""
        snapshot = host.disk.image.snapshot
        floor = Slot(0) if snapshot is None else snapshot[0].slot
        if trim > floor + 1 or floor > self.chosen.up_to:
            raise Broken("10", f"{host.name} trims below {trim} with a snapshot of slot {floor}")
        self.coverage["a log was trimmed"] += 1

    def on_load(self, host: Host, identity: Identity, state: DurableState) -> None:
        """A node starts: what its storage loaded is at least what was ever said from it (7)."""
        host.sender = host.sender._replace(
            incarnation=identity.incarnation, boot=identity.boot, nonce=identity.nonce, cluster_id=b""
        )
        said = self._said.get((host.name, identity.incarnation))
        if said is None:
            return
        if said.promised is not None and (state.promised is None or state.promised < said.promised):
            raise Broken("7", f"{host.name} promised {said.promised} and came back with {state.promised}")
        image = host.disk.image
        newest = max((entry.ballot for entry in image.entries.values()), default=None)
        if newest is not None and (image.promised is None or newest > image.promised):
            raise Broken("5", f"{host.name} came back with a slot accepted under {newest}, promised {image.promised}")
        for slot, ballot in said.accepted.items():
            held = image.entries.get(slot)
            if (held is None or held.ballot < ballot) and slot >= image.first and not image.is_faulty(slot):
                raise Broken("7", f"{host.name} accepted slot {slot} under {ballot} and came back with {held}")

    def has_vote(self, host: Host) -> bool:
        """Whether the storage of ``host`` is one that votes, as far as that is settled."""
        return self.chosen.has_vote((host.name, host.sender.incarnation))

    # What is applied.

    def on_apply(self, host: Host, entry: Entry) -> None:
        """``host`` applies ``entry`` next."""
        chosen = self.chosen.values.get(entry.slot)
        if chosen is None:
            raise Broken("1", f"{host.name} applies slot {entry.slot}, which no quorum holds")
        if chosen != (entry.kind, entry.value):
            raise Broken("1", f"{host.name} applies another value in slot {entry.slot} than was chosen")
        if entry.slot != host.applied + 1:
            raise Broken("9", f"{host.name} applies slot {entry.slot} after {host.applied}")
        host.applied = entry.slot

    # Each node after each of its events.

    def after_event(self, host: Host) -> None:
        parts = host.parts
        assert parts is not None
        protocol = parts.replica._protocol
        promised = protocol._acceptor.promised
        if promised is not host.promised:
            if host.promised is not None and (promised is None or promised < host.promised):
                raise Broken("4", f"{host.name} had promised {host.promised} and now {promised}")
            host.promised = promised
        decided = protocol.learning.learner.decided
        if decided != host.decided:
            if decided < host.decided or decided > self.chosen.up_to:
                raise Broken(
                    "9", f"{host.name} knows {decided} decided after {host.decided}; chosen is {self.chosen.up_to}"
                )
            host.decided = decided
        role = protocol.role
        if role is not host.role:
            self._on_role(host, role)
            host.role = role
        if isinstance(role, Leading) and self.chosen.membership is not None:
            self._check_rightly_leads(host, role)
        check_memory(host)
        log = protocol.log
        if log.faulty != self._faulty.get(host.name) and not protocol.learning.is_loading:
            self._faulty[host.name] = list(log.faulty)
            self._check_remembers(host)
        if parts.executor.applied > decided:
            raise Broken("9", f"{host.name} has applied {parts.executor.applied} and knows {decided} decided")

    def _check_remembers(self, host: Host) -> None:
        """7, in memory: whatever it said it accepted, it holds or knows to be damaged, until that is decided."""
        assert host.parts is not None
        log = host.parts.replica._protocol.log
        for slot in self._said_by(host).accepted:
            if slot > host.decided and slot >= log.first and log.get(slot) is None and not log.is_faulty(slot):
                raise Broken("7", f"{host.name} does not know any more that it accepted slot {slot}")

    def _on_role(self, host: Host, role: object) -> None:
        if isinstance(role, Leading):
            self._on_leading(host, role)
        elif isinstance(role, Campaigning):
            self._check_rightly_campaigns(host)
        elif isinstance(host.role, Campaigning):
            self.coverage["a campaign was given up"] += 1

    def _check_rightly_campaigns(self, host: Host) -> None:
        """B41, B45: nobody who answered the round it asked in leads with a quorum, or hears such a leader."""
        assert host.parts is not None
        protocol, voters = host.parts.replica._protocol, host.parts.replica._cluster.voters
        asked_in = protocol.election._probe_round
        if asked_in is None or host.usurps:
            host.usurps = False
            return
        for peer, answer in protocol.pulse.heartbeats.since(asked_in).items():
            if answer.served and peer in voters.names:
                raise Broken("B45", f"{host.name} campaigns although {peer} is served")

    def _check_rightly_leads(self, host: Host, leading: Leading) -> None:
        """17, B47: when it ticked last, a quorum had answered and its disk too, both within two windows."""
        assert host.parts is not None
        protocol, config = host.parts.replica._protocol, host.world.plan.config
        ticked_at = protocol.tick_due_at - config.heartbeat_interval_s
        before = ticked_at - 2 * config.election_timeout_s
        if leading.since < before and not protocol.pulse.hears_quorum(before):
            raise Broken("17", f"{host.name} leads, and no quorum has answered it for two windows")
        if protocol.pulse.writes.oldest_age(ticked_at) > 2 * config.election_timeout_s:
            raise Broken("B47", f"{host.name} leads, and its disk has not answered for two windows")

    def _on_leading(self, host: Host, leading: Leading) -> None:
        """17: a new leader is the only one of its ballot."""
        if leading.ballot in self.leaders:
            raise Broken("17", f"{leading.ballot} leads a second time, now {host.name}")
        self.leaders.add(leading.ballot)
        self.highest_leader = max(leading.ballot, self.highest_leader or leading.ballot)
        self.of_leaders.on_leading(host, leading)
        self.of_reads.on_leading(host, leading)
        self.coverage["leaders"] += 1
        self.of_leases.on_leading(host, leading)
