"""Writes that return, so that messages may leave, and crashes that lose those that have not."""

from __future__ import annotations

from paxospp.testing.specification.leases import LENGTH, bound_after_restart
from paxospp.testing.specification.state import FOUNDING_SLOT, ModelAcceptor, ModelFollowing
from paxospp.testing.specification.step import ModelStep
from paxospp.testing.specification.values import Map, ModelMembership


def write_returns(step: ModelStep) -> None:
    """Complete the oldest write, and send the messages that waited for it."""
    write, *others = step.node.writes
    step.become(disk=write.acceptor, writes=tuple(others))
    step.sends.extend(write.sends)


def restart(step: ModelStep, found: ModelAcceptor, decided: int, lease: float = LENGTH) -> None:
    """Begin a boot with what a crash left on disk: every write that returned, and a prefix of the others.

    ``found`` is the acceptor on disk. ``decided`` is the hint on disk, which is written without a sync and may lag.
    ``lease`` is how long a grant lasts at most, as the disk says.
    """
    node, membership = step.node, step.node.membership
    if decided < FOUNDING_SLOT or not found.knows_members:
        membership = None
    elif membership is None:
        # An earlier boot could not read slot 1, but this one can.
        founding = found.entries.get(FOUNDING_SLOT)
        membership = founding.value if founding is not None and isinstance(founding.value, ModelMembership) else None
    step.needs(
        "restart: no synced write is lost",
        found == node.disk or any(found == write.acceptor for write in node.writes),
    )
    step.needs("restart: no slot is newly decided", decided <= node.decided)
    step.become(
        memory=found,
        disk=found,
        writes=(),
        role=ModelFollowing(),
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
