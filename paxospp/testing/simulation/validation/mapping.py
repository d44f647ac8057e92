"""Finds the actions of the model that one call of a replica consists of, by what it heard, wrote, counted and sent.

They are taken in the order in which a call does things: what it heard; what it counts; the role that it takes; what it
installs, accepts, learns and promises; what it proposes; and what it says.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import replace

from paxospp.engine.rules.admission import highest_ballot
from paxospp.engine.rules.campaign import Campaigning
from paxospp.engine.rules.leader import Leading
from paxospp.engine.rules.lease import DRIFT_BOUND
from paxospp.messages import Accept, Accepted, DecidedEntries, Heartbeat, HeartbeatAnswer, Prepare, Promise
from paxospp.model import Ballot
from paxospp.testing.simulation.validation.projecting import (
    ballot_of,
    faulty_of,
    in_one_way,
    optional,
    promise_of,
    pvalue_of,
    report_of,
    value_of,
)
from paxospp.testing.simulation.validation.saying import Saying
from paxospp.testing.specification import damage, learning, leases, phase_1, phase_2, snapshots
from paxospp.testing.specification.messages import (
    AcceptorReport,
    Announcement,
    Grant,
    ModelAccept,
    ModelAccepted,
    ModelDecided,
    ModelPrepare,
    ModelPromise,
    Name,
    Vouch,
)
from paxospp.testing.specification.state import FOUNDING_SLOT, ModelCampaigning, ModelFollowing, ModelLeading
from paxospp.testing.specification.step import NotAllowedError
from paxospp.testing.specification.values import ModelBallot

_SECOND = 1_000_000
_ROUNDING_S = 1e-9


class ActionsOf(Saying):
    """One call, while its actions are found and taken."""

    def go(self, clock: float) -> None:
        """Take all actions, at ``clock`` by the node's clock. Raises RuleBroken where the model forbids one."""
        self._system.nodes[self._name] = replace(self._node, clock=clock)
        self._hear()
        self._count()
        self._change_role()
        self._install_or_publish()
        self._find_damage()
        if not isinstance(self._call.message, DecidedEntries):
            self._learn_announced()
        self._accept_or_learn()
        self._promise()
        self._learn_announced()
        self._propose()
        self._learn_announced(held=False)
        self._trim()
        self._end_own_damage()
        for send in self._sends:
            self._say_once(send.message)
        self._hand_out()

    # Input.

    def _hear(self) -> None:
        call, node = self._call, self._node
        if call.meets is not None:
            self._meet(call.meets)
        message, sender = call.message, call.sender
        if message is None or sender is None:
            return
        ballot = highest_ballot(message)
        votes = node.membership is None or node.membership.has(sender.node, sender.incarnation)
        if ballot is not None and (votes or isinstance(message, DecidedEntries)):
            self._meet(ballot)
        if isinstance(message, Accept):
            self._heard_announcement(message.ballot, message.decided_up_to)
        elif isinstance(message, Heartbeat) and message.leading is not None:
            self._heard_announcement(message.leading, message.decided_up_to)

    def _meet(self, engine_ballot: Ballot) -> None:
        ballot, met = ballot_of(engine_ballot), self._node.met
        if met is None or ballot > met:
            self._take(f"meets {ballot}", lambda step: step.meet(ballot))

    def _heard_announcement(self, ballot: Ballot, decided: int) -> None:
        if Announcement(ballot_of(ballot), decided) not in self._system.sent[self._sender]:
            raise self._broken(f"hears {self._sender} announce {decided} under {ballot}, which it did not say")
        announced = self._boot.announced
        announced[ballot_of(ballot)] = max(decided, announced.get(ballot_of(ballot), 0))

    def _count(self) -> None:
        """Take the promises and acceptances that the call counts, and the decisions that follow."""
        for sender, number, ballot, report in self._call.reports:
            self._count_promise(sender.node, (sender.boot, number), ballot_of(ballot), report_of(report))
        for asked, slot, node, incarnation in self._call.acceptances:
            acceptances = self._boot.acceptances.setdefault((ballot_of(asked), slot), {})
            acceptances[node] = ModelAccepted(incarnation, ballot_of(asked), slot)
        for peer, until in self._call.grants:
            self._count_grant(peer, until)
        if self._call.reads_by_lease and not leases.is_held(self._name, self._node):
            raise self._broken("confirms a read by a lease, and holds none")
        if isinstance(self._call.message, DecidedEntries):
            return
        for slot, under in list(self._call.learned):
            counted = self._boot.acceptances.get((ballot_of(under), slot))
            own = self._node.own_ballot == ballot_of(under)
            if counted is not None and own:
                told = list(counted.items())
                self._take(f"decides slot {slot}", lambda step, s=slot, a=told: phase_2.decide(step, s, a))  # type: ignore[misc]
                self._call.learned.remove((slot, under))

    def _count_grant(self, peer: Name, until: float) -> None:
        message, sender = self._call.message, self._call.sender
        if not isinstance(message, HeartbeatAnswer) or sender is None or sender.node != peer:
            raise self._broken(f"counts a grant of {peer}, of which it does not hear")
        me = self._replica.identity
        round = self._records.rounds.get((self._name, me.boot, message.round))
        if round is None:
            raise self._broken(f"counts a grant for the round {message.round}, which it did not send as a leader")
        grant = Grant(sender.incarnation, round, message.lease / _SECOND)
        drift = grant.length * DRIFT_BOUND
        self._take(f"counts a grant of {peer}", lambda step: leases.count_grant(step, peer, grant, drift))
        role = self._node.role
        if not isinstance(role, ModelLeading) or until > role.granted[peer] + _ROUNDING_S:
            raise self._broken(f"counts on a grant of {peer} until {until}: {role}")

    def _count_promise(self, name: Name, number: tuple[int, int], ballot: ModelBallot, report: AcceptorReport) -> None:
        parts: Sequence[ModelPromise] = [ModelPromise(ballot, number, 0, 1, report)]
        if name == self._name:
            self._take("reports to itself", lambda step: phase_1.promise_itself(step, self._checked(parts, report)))
        else:
            parts = self._records.answer(name, report.incarnation, ballot, number)
            if not parts or in_one_way(phase_1.joined(parts)) != in_one_way(report):
                raise self._broken(f"counts {report} for what {name} answered: {parts}")
        self._boot.answers[name] = parts
        role = self._node.role
        if isinstance(role, ModelLeading) and role.ballot == ballot:
            self._take(f"counts a late promise of {name}", lambda step: phase_1.count_late(step, name, parts))

    def _checked(
        self, parts: Sequence[ModelPromise], told: AcceptorReport
    ) -> Callable[[ModelBallot, AcceptorReport], Sequence[ModelPromise]]:
        """Return a function that gives ``parts``, which report ``told``, if the model would report the same."""

        def cut(ballot: ModelBallot, report: AcceptorReport) -> Sequence[ModelPromise]:
            # It may know more decided slots by now, and need not repeat what was decided when it answered.
            held = self._node.memory.report(report.incarnation, told.decided)
            if told.decided > self._node.decided or in_one_way(held) != in_one_way(told):
                raise NotAllowedError(f"report: all that is held\n  told {told}\n  held {held}")
            return parts

        return cut

    # Roles.

    def _change_role(self) -> None:
        role, node = self._protocol.role, self._node
        match role:
            case Leading(ballot=ballot):
                own = ballot_of(ballot)
                if isinstance(node.role, ModelLeading) and node.role.ballot == own:
                    return
                names: Container[Name] = role.promises.reports
                answers: dict[Name, Sequence[ModelPromise]] = {
                    name: answer for name, answer in self._boot.answers.items() if name in names
                }
                self._take(f"leads under {ballot}", lambda step: phase_1.lead(step, answers))
                if node.own_ballot != own:
                    raise self._broken(f"leads under {ballot}, and has not campaigned under it")
            case Campaigning():
                own = ballot_of(role.promises.ballot)
                if not isinstance(node.role, ModelCampaigning) or node.role.ballot != own:
                    self._boot.answers.clear()
                    self._boot.acceptances.clear()
                    self._take(f"campaigns under {own}", lambda step: phase_1.campaign(step, own))
            case _:
                if self._speaks_as_leader():
                    self._lead_for_a_moment()
                if not isinstance(self._node.role, ModelFollowing):
                    self._take("steps down", phase_1.step_down)

    def _speaks_as_leader(self) -> bool:
        own = self._node.own_ballot
        return own is not None and any(
            isinstance(send.message, Accept) and ballot_of(send.message.ballot) == own for send in self._sends
        )

    def _lead_for_a_moment(self) -> None:
        """Take the lead and give it up within this call: the founding that it proposed says that it has no vote."""
        own = self._node.own_ballot
        if isinstance(self._node.role, ModelCampaigning):
            self._take(f"leads under {own}", lambda step: phase_1.lead(step, self._boot.answers))
        self._propose(learns=False)
        self._written.clear()
        for send in self._sends:
            if isinstance(send.message, (Accept, Heartbeat)):
                self._say_once(send.message)
        self._sends = [send for send in self._sends if not isinstance(send.message, Accept)]
        self._learn_announced()

    # What it installs, accepts and learns.

    def _install_or_publish(self) -> None:
        call = self._call
        if call.covered is not None:
            slot, ballot = call.covered.meta.slot, ballot_of(call.covered.ballot)
            offers = [(name, offer) for name, offer in self._records.offers[slot] if offer.ballot == ballot]
            if not offers:
                raise self._broken(f"installs a snapshot of {slot} under {ballot}: {self._records.offers[slot]}")
            sender, offer = offers[0]
            self._take(f"installs {offer}", lambda step: snapshots.install(step, sender, offer))
            self._records.snapshots[self._name, self._node.incarnation, slot] = ballot
            self._boot.applied = max(self._boot.applied, slot)
            self._boot.under[slot] = ballot
        if call.publishes is not None:
            meta, first = call.publishes
            under = self._boot.highest_under(meta.slot)
            first = min(first, meta.slot + 1)  # type: ignore[assignment]
            if meta.slot > self._boot.applied or under is None:
                raise self._broken(f"takes a snapshot of {meta.slot}, and has applied {self._boot.applied}")
            self._take(f"takes a snapshot of {meta.slot}", lambda step: snapshots.take(step, meta.slot, first, under))
            self._records.snapshots[self._name, self._node.incarnation, meta.slot] = under

    def _find_damage(self) -> None:
        for bound, ballot in self._call.closed:
            if ballot.node == self._name:
                continue  # its own claim, which it can make only once it leads
            to = None
            if isinstance(self._call.message, HeartbeatAnswer):
                me = self._replica.identity
                to = (self._name, me.incarnation, me.boot)
            vouch = Vouch(ballot_of(ballot), bound, to)
            self._take(f"takes its damage to end by {vouch}", lambda step, v=vouch: damage.close(step, self._sender, v))  # type: ignore[misc]
        if self._call.what not in ("has read its log", "is told of damage"):
            return
        named, _ = faulty_of(self._protocol.log.faulty)
        memory = self._node.memory
        found = {slot for slot in named if not memory.is_faulty(slot)}
        forgets = self._replica.membership is None and FOUNDING_SLOT in found
        if found:
            self._take(f"cannot read {sorted(found)}", lambda step: damage.unreadable(step, found, forgets=forgets))

    def _end_own_damage(self) -> None:
        for bound, ballot in self._call.closed:
            if ballot.node == self._name:
                vouch = Vouch(ballot_of(ballot), bound, None)
                self._take(f"vouches to itself for {bound}", damage.vouch)
                self._take(f"ends its damage by {vouch}", lambda step, v=vouch: damage.close(step, self._name, v))  # type: ignore[misc]

    def _accept_or_learn(self) -> None:
        message = self._call.message
        if isinstance(message, Accept):
            answered = any(
                isinstance(send.message, Accepted) and send.message.slot == message.slot for send in self._sends
            )
            entry = self._written.get(message.slot)
            # An entry written here may be the node's own proposal, for which an older leader's announcement made room.
            if answered or (entry is not None and entry.ballot == message.ballot):
                accept = ModelAccept(ballot_of(message.ballot), message.slot, value_of(message.kind, message.value))
                self._take(
                    f"accepts {message.slot} under {message.ballot}",
                    lambda step: phase_2.accept(step, self._sender, accept),
                )
                self._written.pop(message.slot, None)
        elif isinstance(message, DecidedEntries):
            for entry in message.entries:
                slots = [slot for slot, _ in self._call.learned]
                if entry.slot in slots:
                    ballot, value = pvalue_of(entry)
                    decided = ModelDecided(entry.slot, ballot, value)
                    self._take(
                        f"learns {entry.slot} under {entry.ballot}",
                        lambda step, d=decided: learning.learn(step, self._sender, d),  # type: ignore[misc]
                    )
                    self._call.learned.remove((entry.slot, entry.ballot))
                    self._written.pop(entry.slot, None)

    def _promise(self) -> None:
        message, sender = self._call.message, self._call.sender
        parts = [send.message for send in self._sends if isinstance(send.message, Promise)]
        if parts:
            if not isinstance(message, Prepare) or sender is None:
                raise self._broken(f"promises, and nobody asked: {parts}")
            me = self._replica.identity
            told = [promise_of(me.incarnation, me.boot, part) for part in parts]
            prepare = ModelPrepare(ballot_of(message.ballot), not sender.cluster_id)
            if any(part.ballot != prepare.ballot for part in told):
                raise self._broken(f"promises {told[0].ballot}, and was asked for {prepare.ballot}")
            self._take(
                f"promises {message.ballot}",
                lambda step: phase_1.promise(step, self._sender, prepare, self._checked(told, phase_1.joined(told))),
            )
            for part in told:
                key = (self._name, me.incarnation, part.ballot, part.answer)
                self._records.parts[key][part.part] = part
        elif isinstance(message, Heartbeat) and message.leading is not None:
            ballot = ballot_of(message.leading)
            if optional(self._protocol.acceptor.promised) == ballot and self._node.memory.promised != ballot:
                self._take(f"promises the leader of {ballot}", lambda step: phase_1.raise_promise(step, ballot))

    def _learn_announced(self, *, held: bool = True) -> None:
        """Learn what was announced as decided and is ``held`` by now; at the end of the call, also the rest.

        A leader may have heard that a slot is decided before it holds a value there: then its own proposal supplies it.
        """
        for slot, under in list(self._call.learned):
            ballot = ballot_of(under)
            entry = self._node.memory.entries.get(slot)
            if held and (entry is None or entry.ballot < ballot):
                return
            self._call.learned.remove((slot, under))
            announcement = Announcement(ballot, self._boot.announced.get(ballot, 0))
            self._take(
                f"takes {slot} for decided, as announced under {ballot}",
                lambda step, s=slot, a=announcement: learning.learn_announced(step, s, a.ballot.node, a),  # type: ignore[misc]
            )

    # What it proposes.

    def _propose(self, *, learns: bool = True) -> None:
        accepts = {int(send.message.slot): send.message for send in self._sends if isinstance(send.message, Accept)}
        own = self._node.own_ballot
        for slot in sorted({*accepts, *self._written}):
            accept, entry = accepts.get(slot), self._written.get(slot)
            proposed = accept or entry
            assert proposed is not None
            if ballot_of(proposed.ballot) != own:
                raise self._broken(
                    f"writes or proposes slot {slot} under {proposed.ballot}, and nobody proposed it here"
                )
            value = value_of(proposed.kind, proposed.value)
            if entry is not None and pvalue_of(entry) != (own, value):
                raise self._broken(f"proposes {value} in slot {slot} and writes {entry}")
            if entry is None and ModelAccept(own, slot, value) in self._system.sent[self._name]:
                continue  # it is sent again
            self._take(
                f"proposes slot {slot} under {own}",
                lambda step, s=slot, v=value, e=entry: phase_2.propose(step, s, v, accepts=e is not None),  # type: ignore[misc]
            )
            if learns:
                self._learn_announced()

    def _trim(self) -> None:
        batch = self._output.persist
        if batch is not None and batch.trim is not None and batch.trim > self._node.memory.first:
            first = batch.trim
            self._take(f"trims below {first}", lambda step: snapshots.trim(step, first))
