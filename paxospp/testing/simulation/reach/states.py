"""States of one replica that change what a branch means, each checked at the moment a marker is reached.

A state is a predicate on one host, cheap enough to be evaluated in the middle of a step. It looks at the replica, its
disk and its links, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from paxospp.engine.protocol import Protocol
from paxospp.engine.rules.campaign import Campaigning
from paxospp.engine.rules.promises import Promises
from paxospp.testing.simulation.judges.observed import ObservedHost

State = Callable[["ObservedHost"], bool]

LATELY_WINDOWS = 2.0
"""Number of election timeouts after a start in which a replica counts as restarted lately."""


def _protocol(host: ObservedHost) -> Protocol:
    assert host.runtime is not None, "only a node that is up reaches a marker"
    return host.runtime.replica.protocol


def _leading(host: ObservedHost) -> bool:
    return _protocol(host).leading is not None


def _campaigning(host: ObservedHost) -> bool:
    return isinstance(_protocol(host).role, Campaigning)


def _recovering(host: ObservedHost) -> bool:
    """Return whether the replica leads and has not decided all that its promises reported."""
    protocol = _protocol(host)
    return protocol.leading is not None and protocol.decided < protocol.leading.recovered_up_to


def _another_leads(host: ObservedHost) -> bool:
    """Return whether another replica that is up believes that it leads."""
    return any(other is not host for other in host.world.leaders)


def _assembling(host: ObservedHost) -> bool:
    """Return whether some but not all parts of an answer to its ballot have arrived."""
    promises = _own_promises(_protocol(host))
    return promises is not None and promises.is_assembling


def _own_promises(protocol: Protocol) -> Promises | None:
    if protocol.leading is not None:
        return protocol.leading.promises
    return protocol.role.promises if isinstance(protocol.role, Campaigning) else None


def _behind(host: ObservedHost) -> bool:
    """Return whether another replica is known to know more decided slots."""
    learning = _protocol(host).learning
    return learning.decided < learning.wanted


def _holding(host: ObservedHost) -> bool:
    return _protocol(host).learning.is_held


def _waits_for_snapshot(host: ObservedHost) -> bool:
    return _protocol(host).learning.waits_for_snapshot


def _fetching(host: ObservedHost) -> bool:
    assert host.runtime is not None
    return host.runtime.snapshots.is_fetching


def _damaged(host: ObservedHost) -> bool:
    return bool(_protocol(host).log.faulty)


def _end_damaged(host: ObservedHost) -> bool:
    return _protocol(host).log.faulty_end


def _trimmed(host: ObservedHost) -> bool:
    return _protocol(host).log.first > 1


def _leases_on(host: ObservedHost) -> bool:
    return _protocol(host).lease.duration_us > 0


def _lease_held(host: ObservedHost) -> bool:
    protocol = _protocol(host)
    return protocol.leading is not None and protocol.lease.is_held(host.name, protocol.cluster.voters, host.boot_time())


def _writing(host: ObservedHost) -> bool:
    assert host.runtime is not None
    return _protocol(host).writes.oldest_age(host.runtime.replica.active_time) > 0


def _disk_hangs(host: ObservedHost) -> bool:
    assert host.runtime is not None
    return not _protocol(host).heartbeats.disk_answers(host.runtime.replica.active_time)


def _without_vote(host: ObservedHost) -> bool:
    protocol = _protocol(host)
    return protocol.cluster.membership is not None and not protocol.cluster.votes


def _unfounded(host: ObservedHost) -> bool:
    return _protocol(host).cluster.membership is None


def _cut_off(host: ObservedHost) -> bool:
    """Return whether a link to or from the host is cut."""
    return any(path.cut and host in (path.source, path.target) for path in host.world.network.paths)


def _restarted_lately(host: ObservedHost) -> bool:
    """Return whether the node has restarted lately; its first start is not a restart."""
    window_s = host.world.plan.config_of(host.index).election_timeout_s
    return host.sender.boot > 1 and host.world.clock.now - host.began_at < LATELY_WINDOWS * window_s


STATES: Mapping[str, State] = {
    "leading": _leading,
    "campaigning": _campaigning,
    "recovering": _recovering,
    "another replica leads too": _another_leads,
    "an answer is being put together": _assembling,
    "behind": _behind,
    "the machine is busy": _holding,
    "only a snapshot can help": _waits_for_snapshot,
    "a snapshot is being fetched": _fetching,
    "the log is damaged": _damaged,
    "the end of the log is damaged": _end_damaged,
    "the log is trimmed": _trimmed,
    "leases are on": _leases_on,
    "its lease is held": _lease_held,
    "a write is under way": _writing,
    "the disk hangs": _disk_hangs,
    "it has no vote": _without_vote,
    "nothing is founded": _unfounded,
    "a link is cut": _cut_off,
    "it restarted lately": _restarted_lately,
}
"""By the name that pairs use."""
