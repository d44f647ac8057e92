"""Finds out whether a cluster is stuck: only then may it fail to recover after the faults.

It is stuck at a slot that no node of the core can send, and that a quorum of the core cannot report as *accepted* or
*none* (``stuck_slot``). Before the founding (``founding_is_stuck``), every node has to report *none* for slot 1, unless
a node holds a founding value that a quorum of the incarnations in it can confirm (rule 9).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from paxospp.model import Membership, Slot
from paxospp.testing.simulation.judges.observed import ObservedHost
from paxospp.testing.simulation.world.disk import StoredImage


def founding_is_stuck(hosts: Sequence[ObservedHost]) -> bool:
    """Return whether no node can found a cluster: some report damage in slot 1, and no founding value can be confirmed.

    To confirm a value takes clean answers of a quorum of the incarnations in it. A node that was wiped since is another
    incarnation; what the former one accepted may have founded the cluster, together with what is damaged elsewhere.
    """
    founding = Slot(1)
    clean = [host for host in hosts if not host.disk.image.is_faulty(founding) and not host.finds_faulty(founding)]
    held = [entry for host in clean if (entry := host.disk.image.entries.get(founding)) is not None]
    if not held:
        return len(clean) < len(hosts)
    members = Membership.from_bytes(max(held, key=lambda entry: entry.ballot).value)
    listed = [host for host in clean if members.has(host.name, host.sender.incarnation)]
    return 2 * len(listed) <= len(members.members)


def stuck_slot(core: Sequence[ObservedHost], quorum: int) -> Slot | None:
    """Return a slot that no node of ``core`` can send and a quorum of it cannot call clean; None if there is none."""
    if len(core) < quorum:
        return Slot(0)
    top = max(_last_in_doubt(host.disk.image) for host in core)
    for number in range(1, top + 2):
        slot = Slot(number)
        clean = 0
        for host in core:
            image = host.disk.image
            if slot < image.first:
                if image.snapshot_is_damaged:
                    continue
                break
            if image.snapshot is not None and slot <= image.snapshot[0].slot and not image.snapshot_is_damaged:
                break
            if image.is_faulty(slot) or host.finds_faulty(slot):
                continue
            if slot <= image.decided:
                break
            clean += 1
        else:
            if clean < quorum:
                return slot
    return None


def _last_in_doubt(image: StoredImage) -> int:
    """Return the highest slot that this disk holds, knows decided, or may have lost; for a lost end, its first slot."""
    open_from = image.open_from if image.open_from < sys.maxsize else 0
    return max([image.decided, open_from, *image.entries, *image.faulty])
