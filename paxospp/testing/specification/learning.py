"""Rule 4: to learn that a slot is decided is to meet a ballot."""

from __future__ import annotations

from dataclasses import replace

from paxospp.testing.specification.messages import Announcement, Decided, Name
from paxospp.testing.specification.phase_2 import storing
from paxospp.testing.specification.state import Leading
from paxospp.testing.specification.step import NotAllowedError, Step
from paxospp.testing.specification.values import Pvalue


def announce(step: Step, decided: int) -> None:
    """Say under one's own ballot that every slot up to ``decided`` is decided."""
    node, role = step.node, step.node.role
    if not isinstance(role, Leading):
        raise NotAllowedError("announce: only who leads")
    step.needs("announce: under no ballot below one that was met", node.met is None or node.met <= role.ballot)
    step.needs("announce: what is known to be decided", decided <= node.decided)
    step.says.append(Announcement(role.ballot, decided))


def learn_announced(step: Step, slot: int, sender: Name, announcement: Announcement) -> None:
    """Take one's own accepted value for the decided one, if it was accepted under the announcer's ballot or above."""
    step.heard(sender, announcement)
    step.needs("learn: what the announcement covers", slot <= announcement.decided)
    held = step.node.memory.entries.get(slot)
    if held is None:
        raise NotAllowedError("learn: only what is held")
    step.needs("learn: accepted under the announcer's ballot or above", held.ballot >= announcement.ballot)
    step.learn(slot)


def teach(step: Step, slot: int, read: Pvalue | None = None) -> None:
    """Tell a decided entry, with the ballot that it is held under; or under which it was held when it was ``read``."""
    held = step.node.memory.entries.get(slot)
    step.needs("teach: only what is known to be decided", step.node.knows_decided(slot))
    if read is not None and held is not None:
        stale = held.value == read.value and held.ballot >= read.ballot
        step.needs("teach: what was read is what is held, or was", stale)
    told = read or held
    if told is None:
        raise NotAllowedError("teach: only what is held")
    step.says.append(Decided(slot, told.ballot, told.value))


def learn(step: Step, sender: Name, decided: Decided) -> None:
    """Store a decided entry under its ballot or the slot's own, if that is higher; the promise rises with it."""
    step.heard(sender, decided)
    step.meet(decided.ballot, "learn: a decided entry's ballot is met")
    memory = step.node.memory
    held = memory.entries.get(decided.slot)
    if decided.slot >= memory.first and (held is None or held.ballot < decided.ballot):
        acceptor = storing(memory, decided.slot, Pvalue(decided.ballot, decided.value))
        rises = memory.promised is None or memory.promised < decided.ballot
        if rises and not step.lacks("learn: the promise rises with the entry"):
            acceptor = replace(acceptor, promised=decided.ballot)
        step.write(acceptor)
    step.learn(decided.slot)
