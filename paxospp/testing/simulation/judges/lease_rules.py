"""Leases, checked where they are granted and where they bind.

* A grant is on the disk of its node before it is given: the next boot waits as long as the grant may last (6).
* Until a grant ends, restarts included, its node promises nobody else (bug B33), and grants nothing to the leader of a
  lower ballot.
* A new leader holds no grants yet, and no leader of a lower ballot holds a lease. A leader of a higher ballot may: a
  candidate that was paused before it counted its promises leads late, and nobody accepts from it.

Reference: ``paxospp.engine.rules.lease``.
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
    """Return the shortest lease that the next boot may find, in microseconds: the synced one, or one being written."""
    metas = [disk.image.meta, *(pending.batch.meta for pending in disk.pending if META_KEY in pending.batch.meta)]
    return min(int.from_bytes(meta.get(META_KEY, b""), "big") for meta in metas)


class LeaseRules:
    """Remembers the last grant of every node: to whom, and until when by the boot time of that node."""

    def __init__(self) -> None:
        self._granted: dict[NodeId, tuple[Ballot, float]] = {}
        self._lives: dict[NodeId, int] = {}
        """The incarnation that made the last grant of a node."""

    def granted(self, name: NodeId) -> tuple[Ballot, float] | None:
        """Return the last grant of that node: the leader's ballot, and the end by the node's own boot time."""
        return self._granted.get(name)

    def on_answer(self, host: ObservedHost, answer: HeartbeatAnswer) -> None:
        """Check the grant, if any, in the answer of ``host`` to a heartbeat."""
        if not answer.lease:
            return
        durable_us = _least_on_disk(host.disk)
        if durable_us < answer.lease:
            raise RuleBroken("6", f"{host.name} grants a lease of {answer.lease} us; its disk may hold {durable_us}")
        leader = answer.promised
        assert leader is not None
        bound_to, until = self._granted.get(host.name, (leader, 0.0))
        if leader < bound_to and host.boot_time() < until and self._lives.get(host.name) == host.sender.incarnation:
            raise RuleBroken("B33", f"{host.name} grants {leader} a lease while another lease binds it to {bound_to}")
        self._granted[host.name] = (leader, max(until, host.boot_time() + answer.lease / _SECOND))
        self._lives[host.name] = host.sender.incarnation

    def on_promise(self, host: ObservedHost, promise: Promise) -> None:
        """Check that ``host`` promises only to the leader that holds its grant, or after the grant has ended.

        A wiped node is another incarnation and has no vote, so its promises elect nobody in the cluster of the lease.
        """
        if self._lives.get(host.name) != host.sender.incarnation:
            return
        ballot = promise.ballot
        leader, until = self._granted.get(host.name, (ballot, 0.0))
        # A lower ballot was promised before the grant, and the promise is sent only now.
        if ballot > leader and host.boot_time() < until and ballot.node != leader.node:
            raise RuleBroken("B33", f"{host.name} promises {ballot} while a lease binds it to {leader}")

    def on_leading(self, host: ObservedHost, leading: Leading) -> None:
        """Check the leases of all nodes when ``host`` takes the lead."""
        for other in host.world.hosts:
            if other.runtime is None:
                continue
            protocol, cluster = other.runtime.replica.protocol, other.runtime.replica.protocol.cluster
            if other is host:
                if protocol.lease._granted:
                    raise RuleBroken(
                        "B33", f"{host.name} takes the lead with grants that it was given under an earlier ballot"
                    )
                continue
            role = protocol.role
            if not isinstance(role, Leading) or role.ballot > leading.ballot:
                continue
            if protocol.lease.is_held(other.name, cluster.voters, other.boot_time()):
                raise RuleBroken("B33", f"{host.name} takes the lead while {other.name} holds a lease")
