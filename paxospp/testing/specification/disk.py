"""What may leave when: writes that return, and crashes that take what has not."""

from __future__ import annotations

from paxospp.testing.specification.leases import LENGTH, bound_after_restart
from paxospp.testing.specification.state import FOUNDING_SLOT, Acceptor, Following
from paxospp.testing.specification.step import Step
from paxospp.testing.specification.values import Map, Membership


def write_returns(step: Step) -> None:
    """The oldest write is on disk, and what waited for it leaves."""
    write, *others = step.node.writes
    step.become(disk=write.acceptor, writes=tuple(others))
    step.says.extend(write.says)


def restart(step: Step, found: Acceptor, decided: int, lease: float = LENGTH) -> None:
    """Begin a boot from what a crash has left: all that returned, and of the rest a prefix.

    ``decided`` is what the disk happens to know; it is written without being synced, and with nothing waiting for it.
    ``lease`` is how long it says that a grant may last.
    """
    node, membership = step.node, step.node.membership
    if decided < FOUNDING_SLOT or not found.knows_members:
        membership = None
    elif membership is None:
        # An earlier boot could not read its founding; it is there all the same.
        founding = found.entries.get(FOUNDING_SLOT)
        membership = founding.value if founding is not None and isinstance(founding.value, Membership) else None
    step.needs(
        "restart: nothing that was synced is forgotten",
        found == node.disk or any(found == write.acceptor for write in node.writes),
    )
    step.needs("restart: no slot is decided that was not known to be", decided <= node.decided)
    step.become(
        memory=found,
        disk=found,
        writes=(),
        role=Following(),
        met=found.promised,
        decided=decided,
        learned=frozenset(),
        boot=node.boot + 1,
        booted_with=found.promised,
        answers=0,
        bound=bound_after_restart(step, lease),
        membership=membership,
        unread=Map(),
    )
