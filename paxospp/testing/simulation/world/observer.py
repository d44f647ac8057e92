"""The observer of one host: it counts markers, and passes on each step to the judges of that step."""

from __future__ import annotations

from collections.abc import Sequence

from paxospp.engine.rules.pending_reads import ReadRequester
from paxospp.engine.rules.promises import PromiseReport
from paxospp.messages import Sender
from paxospp.model import Ballot, NodeId, Slot, SnapshotMeta
from paxospp.node.observer import NodeObserver
from paxospp.testing.simulation.judges.bounds import check_log
from paxospp.testing.simulation.rule_broken import RuleBroken
from paxospp.testing.simulation.world.node_host import NodeHost


class HostObserver(NodeObserver):
    """Reports to the judges of a run what one host does."""

    def __init__(self, host: NodeHost) -> None:
        self._host = host
        self._reach = host.world.reach
        self._invariants = host.world.invariants
        self._sharing: dict[bool, Sequence[object]] = {False: (), True: ()}
        """The queries that share the latest ticket, by whether a lease (True) or a round (False) confirms them."""

    def reached(self, marker: str) -> None:
        self._reach.reached(self._host, marker)

    def counted_acceptance(self, ballot: Ballot, slot: Slot, node: NodeId, incarnation: int) -> None:
        self._invariants.leader_rules.on_counted(self._host, ballot, slot, node)

    def reported(self, answer: int) -> None:
        self._invariants.answer_memory.on_reported(self._host, answer)

    def counted_promise(self, sender: Sender, answer: int, ballot: Ballot, report: PromiseReport) -> None:
        self._invariants.step_rules.on_counted_promise(self._host, sender, answer, ballot, report)
        if sender.node == self._host.name:
            self._invariants.leader_rules.on_own_promise(self._host, ballot, report)

    def counted_grant(self, peer: NodeId, until: float) -> None:
        granter = self._host.world.host(peer)
        self._invariants.step_rules.on_counted_grant(
            self._host, granter, until, self._invariants.lease_rules.granted(peer)
        )

    def learned(self, slot: Slot, ballot: Ballot) -> None:
        self._invariants.step_rules.on_learned(self._host, slot, ballot)

    def installed(self, slot: Slot, ballot: Ballot) -> None:
        self._invariants.step_rules.on_installed(self._host, slot, ballot)

    def campaigns(self, asked_in: int | None) -> None:
        self._invariants.role_rules.on_campaign(self._host, asked_in)

    def leads_on(self, now: float) -> None:
        self._invariants.role_rules.on_leads_on(self._host, now)

    def closed_damage(self, bound: Slot, ballot: Ballot) -> None:
        self._invariants.on_closed_damage(self._host, bound)

    def took_read(self, requester: ReadRequester, ballot: Ballot, next_slot: Slot) -> None:
        self._invariants.read_rules.on_taken(self._host, requester, ballot, next_slot)

    def confirmed_read(self, requester: ReadRequester, ballot: Ballot | None, slot: Slot, *, by_lease: bool) -> None:
        self._invariants.read_rules.on_confirmed(self._host, requester, ballot, slot, by_lease=by_lease)

    def gave_up_read(self, requester: ReadRequester) -> None:
        self._invariants.read_rules.on_given_up(self._host, requester)

    def persisted(self, token: int) -> None:
        validator = self._host.world.validator
        if validator is not None:
            validator.on_written(self._host, token)

    def asked(self, requests: Sequence[bytes]) -> None:
        for request in requests:
            self._host.world.history.on_asked(request)

    def drew_ticket(self, asked: Sequence[object], *, lease: bool) -> None:
        host = self._host
        assert host.runtime is not None
        protocol = host.runtime.replica.protocol
        if lease and protocol.leading and protocol.lease.is_held(host.name, protocol.cluster.voters, host.boot_time()):
            host.world.coverage["a read was confirmed by a lease"] += 1
        self._sharing[lease] = list(asked)

    def confirmed(self, asked: Sequence[object], *, lease: bool) -> None:
        if asked != self._sharing[lease]:
            raise RuleBroken("B32", f"{self._host.name} confirms a query with a ticket that was drawn before it came")

    def knows_fresh(self, slot: Slot, begun_at: float) -> None:
        host = self._host
        host.world.history.check_fresh(host.name, slot, host.world_time_of(begun_at))

    def publishes(self, meta: SnapshotMeta, first: Slot) -> None:
        check_log(self._host, meta.slot, first)
