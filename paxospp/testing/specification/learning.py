"""Rule 4: how a decision spreads. A node that learns of a decision meets the ballot it was decided under."""

from __future__ import annotations

from dataclasses import replace

from paxospp.testing.specification.messages import Announcement, ModelDecided, Name
from paxospp.testing.specification.phase_2 import storing
from paxospp.testing.specification.state import ModelLeading
from paxospp.testing.specification.step import ModelStep, NotAllowedError
from paxospp.testing.specification.values import Pvalue


def announce(step: ModelStep, decided: int) -> None:
    """Announce, under the leader's own ballot, that every slot up to ``decided`` is decided."""
    node, role = step.node, step.node.role
    if not isinstance(role, ModelLeading):
        raise NotAllowedError("announce: only a leader")
    step.needs("announce: no higher ballot was met", node.met is None or node.met <= role.ballot)
    step.needs("announce: only slots known to be decided", decided <= node.decided)
    step.sends.append(Announcement(role.ballot, decided))


def learn_announced(step: ModelStep, slot: int, sender: Name, announcement: Announcement) -> None:
    """Treat the node's own accepted value as the decided one.

    The value is the decided one if it was accepted under the announcer's ballot or above. Accepted under a lower
    ballot, it may have lost to another value since.
    """
    step.receive(sender, announcement)
    step.needs("learn: only slots that the announcement covers", slot <= announcement.decided)
    held = step.node.memory.entries.get(slot)
    if held is None:
        raise NotAllowedError("learn: only a slot that holds a value")
    step.needs("learn: accepted under the announcer's ballot or above", held.ballot >= announcement.ballot)
    step.learn(slot)


def teach(step: ModelStep, slot: int, read: Pvalue | None = None) -> None:
    """Send a decided entry with the ballot that it is held under, or with the older one of a copy ``read`` earlier."""
    held = step.node.memory.entries.get(slot)
    step.needs("teach: only a slot known to be decided", step.node.knows_decided(slot))
    if read is not None and held is not None:
        stale = held.value == read.value and held.ballot >= read.ballot
        step.needs("teach: the entry read is the one held, or an older copy", stale)
    told = read or held
    if told is None:
        raise NotAllowedError("teach: only a slot that holds a value")
    step.sends.append(ModelDecided(slot, told.ballot, told.value))


def learn(step: ModelStep, sender: Name, decided: ModelDecided) -> None:
    """Store a decided entry under its ballot; an entry that is held under a higher ballot stays.

    The promise rises to the ballot in the same write, so that no accepted ballot exceeds the promise.
    """
    step.receive(sender, decided)
    step.meet(decided.ballot, "learn: a decided entry's ballot is met")
    memory = step.node.memory
    held = memory.entries.get(decided.slot)
    if decided.slot >= memory.first and (held is None or held.ballot < decided.ballot):
        acceptor = storing(memory, decided.slot, Pvalue(decided.ballot, decided.value))
        rises = memory.promised is None or memory.promised < decided.ballot
        if rises and not step.lacks("learn: the promise rises to the entry's ballot"):
            acceptor = replace(acceptor, promised=decided.ballot)
        step.write(acceptor)
    step.learn(decided.slot)
