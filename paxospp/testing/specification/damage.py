"""Rules 2 and 5: entries that rot, an end of the log that is lost, and where that ends."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from paxospp.testing.specification.messages import Name, Vouch
from paxospp.testing.specification.phase_2 import is_clean
from paxospp.testing.specification.state import Acceptor, Leading
from paxospp.testing.specification.step import NotAllowedError, Step
from paxospp.testing.specification.values import Membership


def damage(step: Step, slots: Collection[int], *, told: bool = True) -> None:
    """These entries cannot be read any more, on disk and in memory; they are told from empty slots."""
    step.needs("damage: a damaged slot is told from an empty one", told)
    memory = step.node.memory
    lost = frozenset(slots) & memory.entries.keys()
    damaged = replace(memory, entries=memory.entries.without(lost), faulty=memory.faulty | (lost if told else set()))
    step.become(memory=damaged, disk=damaged)


def lose_end(step: Step, start: int) -> None:
    """Everything from ``start`` on is lost, and nobody can say what there was; what is known decided goes with it."""
    memory = step.node.memory
    kept = memory.entries.without(slot for slot in memory.entries if slot >= start)
    start = min(start, memory.open_from or start)
    damaged = replace(memory, entries=kept, open_from=start)
    step.become(memory=damaged, disk=damaged, decided=min(step.node.decided, start - 1))


def is_left_of(found: Acceptor, before: Acceptor) -> bool:
    """Whether damage, and nothing else, can have made ``found`` of ``before``."""
    kept = all(before.entries.get(slot) == entry for slot, entry in found.entries.items())
    told = all(slot in found.entries or found.is_faulty(slot) for slot in before.entries)
    still = all(slot in found.entries or found.is_faulty(slot) for slot in before.faulty)
    same = (found.promised, found.first, found.snapshot) == (before.promised, before.first, before.snapshot)
    return kept and told and still and same and (not before.open_from or found.open_from > 0)


def found_damaged(step: Step, found: Acceptor) -> None:
    """A boot finds what damage has left of its disk."""
    step.needs("damage: a damaged slot is told from an empty one", is_left_of(found, step.node.disk))
    step.become(memory=found, disk=found)
    if not found.knows_members:
        step.become(membership=None)


def unreadable(step: Step, slots: Collection[int], *, forgets: bool = False) -> None:
    """These slots could not be read just now: they count as damaged until the next boot.

    The disk may hold them all the same, or may never have held anything there: who cannot read a slot cannot tell it
    from an empty one. No write of this boot changes that, unless it stores a value there.

    ``forgets``: the founding was among them when a boot began, so this boot does not know the members.
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


def vouch(step: Step, to: tuple[Name, int, int] | None = None) -> None:
    """Say that nobody can have accepted anything above decided + alpha."""
    node, role = step.node, step.node.role
    if not isinstance(role, Leading) or node.membership is None:
        raise NotAllowedError("vouch: only who leads")
    reported = recovered(role, node.membership)
    step.needs("vouch: what the promises reported is decided", node.decided >= reported)
    step.needs("vouch: under no ballot below one that was met", node.met is None or node.met <= role.ballot)
    next_slot = max(reported, node.decided, *role.proposed, 0) + 1
    clean = [
        name
        for name, report in role.reports.items()
        if (not report.open_from or step.lacks("vouch: clean answers of a quorum reach beyond the damage"))
        and all(is_clean(step, report, slot) for slot in range(next_slot, max(report.faulty, default=0) + 1))
        and is_clean(step, report, next_slot)
    ]
    quorum = node.membership.is_quorum(clean)
    step.needs("vouch: clean answers of a quorum reach beyond the damage", quorum)
    short = step.lacks("vouch: up to alpha above decided")
    step.says.append(Vouch(role.ballot, node.decided + (node.membership.alpha if not short else 0), to))


def recovered(role: Leading, membership: Membership) -> int:
    """The highest slot of which the promises leave it open whether a value was chosen there under a lower ballot."""
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


def close(step: Step, sender: Name, message: Vouch) -> None:
    """Nothing above ``bound`` was accepted before this boot, so nothing there counts as damaged any more.

    This holds for slots that have names as well: an earlier word may have ended the damage at a higher slot, and given
    the slots up to there their names. Of two words the lower bound is the tighter one, in whatever order they come.
    """
    node = step.node
    step.heard(sender, message)
    booted_with = node.booted_with
    elected_since = booted_with is None or message.ballot > booted_with
    to_this_boot = message.to == (step.name, node.life, node.boot) and message.ballot == booted_with
    step.needs("close: the leader was elected since, or vouched to this boot", elected_since or to_this_boot)
    memory = node.memory
    open_from = memory.open_from or message.bound + 1
    ends = {slot for slot in range(open_from, message.bound + 1) if slot not in memory.entries}
    faulty = frozenset(slot for slot in memory.faulty | ends if slot <= message.bound)
    ended = replace(memory, faulty=faulty, open_from=0)
    if ended != memory:
        step.write(ended)  # so that the next boot does not find its end open again
