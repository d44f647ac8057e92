"""Rules 2 and 5: damaged entries, a lost end of the log, and how damage to the end is closed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from paxospp.testing.specification.messages import Name, Vouch
from paxospp.testing.specification.phase_2 import is_clean
from paxospp.testing.specification.state import ModelAcceptor, ModelLeading
from paxospp.testing.specification.step import ModelStep, NotAllowedError
from paxospp.testing.specification.values import ModelMembership


def damage(step: ModelStep, slots: Collection[int], *, noticed: bool = True) -> None:
    """Lose these entries, on disk and in memory; their slots become faulty, unless the damage goes unnoticed.

    If a damaged slot counts as empty, a chosen value can be lost.
    """
    step.needs("damage: a damaged slot is not taken for an empty one", noticed)
    memory = step.node.memory
    lost = frozenset(slots) & memory.entries.keys()
    damaged = replace(memory, entries=memory.entries.without(lost), faulty=memory.faulty | (lost if noticed else set()))
    step.become(memory=damaged, disk=damaged)


def lose_end(step: ModelStep, start: int) -> None:
    """Lose the end of the log from ``start`` on, and what was known to be decided there; how far it went is unknown."""
    memory = step.node.memory
    kept = memory.entries.without(slot for slot in memory.entries if slot >= start)
    start = min(start, memory.open_from or start)
    damaged = replace(memory, entries=kept, open_from=start)
    step.become(memory=damaged, disk=damaged, decided=min(step.node.decided, start - 1))


def may_be_damaged_copy(found: ModelAcceptor, before: ModelAcceptor) -> bool:
    """Whether damage alone can have turned ``before`` into ``found``."""
    kept = all(before.entries.get(slot) == entry for slot, entry in found.entries.items())
    told = all(slot in found.entries or found.is_faulty(slot) for slot in before.entries)
    still = all(slot in found.entries or found.is_faulty(slot) for slot in before.faulty)
    same = (found.promised, found.first, found.snapshot) == (before.promised, before.first, before.snapshot)
    return kept and told and still and same and (not before.open_from or found.open_from > 0)


def found_damaged(step: ModelStep, found: ModelAcceptor) -> None:
    """Begin a boot with what damage left of the disk."""
    step.needs("damage: a damaged slot is not taken for an empty one", may_be_damaged_copy(found, step.node.disk))
    step.become(memory=found, disk=found)
    if not found.knows_members:
        step.become(membership=None)


def unreadable(step: ModelStep, slots: Collection[int], *, forgets: bool = False) -> None:
    """Count these slots as damaged until the next boot: a read of them failed.

    The disk may still hold a value there, or may never have held one; a failed read does not tell. The writes of this
    boot leave that as it is, unless they store a value in the slot.

    ``forgets`` is whether slot 1 was among them when the boot began, so that this boot does not know the members.
    """
    memory = step.node.memory
    lost = frozenset(slots)
    unread = step.node.unread
    for slot in lost - memory.faulty:
        unread = unread.set(slot, memory.entries.get(slot))
    unreadable = replace(memory, entries=memory.entries.without(lost), faulty=memory.faulty | lost)
    step.become(memory=unreadable, unread=unread)
    if forgets:
        step.become(membership=None)


def vouch(step: ModelStep, to: tuple[Name, int, int] | None = None) -> None:
    """Vouch that no acceptor can have accepted anything above ``decided`` plus alpha.

    A value accepted further up would mean that an earlier leader knew more slots decided (rule 7). The leader must
    have decided everything that its promises reported, and a quorum must have given clean answers from its next slot
    on: then such a decision would be among what they reported. ``DamagedEnd`` in the engine has the whole proof.
    """
    node, role = step.node, step.node.role
    if not isinstance(role, ModelLeading) or node.membership is None:
        raise NotAllowedError("vouch: only a leader")
    reported = recovered(role, node.membership)
    step.needs("vouch: everything the promises reported is decided", node.decided >= reported)
    step.needs("vouch: no higher ballot was met", node.met is None or node.met <= role.ballot)
    next_slot = max(reported, node.decided, *role.proposed, 0) + 1
    clean = [
        name
        for name, report in role.reports.items()
        if (not report.open_from or step.lacks("vouch: clean answers from a quorum reach beyond the damage"))
        and all(is_clean(step, report, slot) for slot in range(next_slot, max(report.faulty, default=0) + 1))
        and is_clean(step, report, next_slot)
    ]
    quorum = node.membership.is_quorum(clean)
    step.needs("vouch: clean answers from a quorum reach beyond the damage", quorum)
    short = step.lacks("vouch: up to alpha above decided")
    step.sends.append(Vouch(role.ballot, node.decided + (node.membership.alpha if not short else 0), to))


def recovered(role: ModelLeading, membership: ModelMembership) -> int:
    """Return the highest slot in which, as far as the promises tell, a value may be chosen under a lower ballot."""
    held = {slot for report in role.reports.values() for slot in report.entries}

    def is_open(slot: int) -> bool:
        none = {
            name
            for name, report in role.counted
            if slot > report.decided
            and slot >= report.first
            and not report.is_faulty(slot)
            and (slot not in report.entries or report.entries[slot].ballot == role.ballot)
        }
        return not membership.is_quorum(none)

    decided = max(report.decided for report in role.reports.values())
    return max([decided, *(slot for slot in held if slot > decided and is_open(slot))])


def close(step: ModelStep, sender: Name, message: Vouch) -> None:
    """Close damage above ``bound``: the node accepted nothing there before this boot, so it lost nothing there.

    The message must come from a leader that was elected after the boot, or be addressed to it; what an earlier one
    vouched for says nothing about values that were accepted later.

    This also applies to faulty slots that are listed one by one: an earlier Vouch may have closed the damage at a
    higher slot and listed the slots up to it. The lower of two bounds is the tighter one, in either order.
    """
    node = step.node
    step.receive(sender, message)
    booted_with = node.booted_with
    elected_since = booted_with is None or message.ballot > booted_with
    to_this_boot = message.to == (step.name, node.incarnation, node.boot) and message.ballot == booted_with
    step.needs("close: the leader was elected after this boot, or vouched to it", elected_since or to_this_boot)
    memory = node.memory
    open_from = memory.open_from or message.bound + 1
    ends = {slot for slot in range(open_from, message.bound + 1) if slot not in memory.entries}
    faulty = frozenset(slot for slot in memory.faulty | ends if slot <= message.bound)
    ended = replace(memory, faulty=faulty, open_from=0)
    if ended != memory:
        step.write(ended)  # the next boot must not find the end open again
