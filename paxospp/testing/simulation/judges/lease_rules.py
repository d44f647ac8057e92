"""Leases, judged where they are granted and where they bind.

* A grant is on its node's disk before it is given: a next boot waits as long as it may last (6).
* Until a grant is over, restarts included, its node promises nobody else (FAULTS B33), and grants nothing to the
  leader of a lower ballot.
* Who takes the lead holds no grants yet, and nobody that leads below it holds a lease. One above it
  may: whoever was paused before it counted its promises leads late, and nobody accepts from it.

Reference: ``engine.lease``, whose promises these are.
"""

from __future__ import annotations

from paxospp.engine.rules.leader import Leading
from paxospp.engine.rules.lease import META_KEY
from paxospp.messages import HeartbeatAnswer, Promise
from paxospp.model import Ballot, NodeId
from paxospp.testing.simulation.judges.observed import ObservedHost
from paxospp.testing.simulation.rule_broken import RuleBroken
from paxospp.testing.simulation.world.disk import SimulatedDisk

_SECOND = 1_000_000


def _least_on_disk(disk: SimulatedDisk) -> int:
    """The shortest lease that a next boot may find, in microseconds: the synced one, or one that is being written."""
    metas = [disk.image.meta, *(pending.batch.meta for pending in disk.pending if META_KEY in pending.batch.meta)]
    return min(int.from_bytes(meta.get(META_KEY, b""), "big") for meta in metas)


class LeaseRules:
    """To whom every node granted last, and until when by its clock that never stops."""

    def __init__(self) -> None:
        self._granted: dict[NodeId, tuple[Ballot, float]] = {}
        self._lives: dict[NodeId, int] = {}
        """Which life of a node granted last."""

    def granted(self, name: NodeId) -> tuple[Ballot, float] | None:
        """To whom that node granted last, and until when by its own boot time."""
        return self._granted.get(name)

    def on_answer(self, host: ObservedHost, answer: HeartbeatAnswer) -> None:
        """``host`` answers a heartbeat, perhaps with a grant."""
        if not answer.lease:
            return
        durable_us = _least_on_disk(host.disk)
        if durable_us < answer.lease:
            raise RuleBroken("6", f"{host.name} grants a lease of {answer.lease} us; {durable_us} may be on disk")
        leader = answer.promised
        assert leader is not None
        bound_to, until = self._granted.get(host.name, (leader, 0.0))
        if leader < bound_to and host.boot_time() < until and self._lives.get(host.name) == host.sender.incarnation:
            raise RuleBroken("B33", f"{host.name} grants {leader} a lease while one binds it to {bound_to}")
        self._granted[host.name] = (leader, max(until, host.boot_time() + answer.lease / _SECOND))
        self._lives[host.name] = host.sender.incarnation

    def on_promise(self, host: ObservedHost, promise: Promise) -> None:
        """``host`` promises: to whom it granted, or after that is over.

        A wiped node is another life, which has no vote: its promise elects nobody in the cluster that the lease is of.
        """
        if self._lives.get(host.name) != host.sender.incarnation:
            return
        ballot = promise.ballot
        leader, until = self._granted.get(host.name, (ballot, 0.0))
        # A lower one was promised before, and is on its way only now.
        if ballot > leader and host.boot_time() < until and ballot.node != leader.node:
            raise RuleBroken("B33", f"{host.name} promises {ballot} while a lease binds it to {leader}")

    def on_leading(self, host: ObservedHost, leading: Leading) -> None:
        """``host`` takes the lead."""
        for other in host.world.hosts:
            if other.parts is None:
                continue
            protocol, cluster = other.parts.replica.protocol, other.parts.replica.protocol.cluster
            if other is host:
                if protocol.lease._granted:
                    raise RuleBroken("B33", f"{host.name} takes the lead with the grants of another reign")
                continue
            role = protocol.role
            if not isinstance(role, Leading) or role.ballot > leading.ballot:
                continue
            if protocol.lease.is_held(other.name, cluster.voters, other.boot_time()):
                raise RuleBroken("B33", f"{host.name} takes the lead while {other.name} holds a lease")
