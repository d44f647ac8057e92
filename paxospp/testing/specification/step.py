"""One action of one node while it is taken: what it needs, and what comes of it.

Every need has a name, a *guard*. An exploration may take one guard away, to show that an invariant fails
without it; a step of a real run that lacks one is a failure, which names it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from paxospp.testing.specification.messages import Message, Name
from paxospp.testing.specification.state import FOUNDING_SLOT, Acceptor, Following, Node, System, Write
from paxospp.testing.specification.values import Ballot, Membership


class NotAllowedError(Exception):
    """The model does not allow this action here; the text is the guard's name."""


class Step:
    """What the node ``name`` does now. Actions change ``node`` and ``says``; nothing else changes."""

    def __init__(self, system: System, name: Name, without: frozenset[str] = frozenset()) -> None:
        self.system = system
        self.name = name
        self.node: Node = system.node(name)
        self.says: list[Message] = []
        self._without = without

    def needs(self, guard: str, holds: bool) -> None:
        """Go on only if ``holds``, or if this guard is taken away. Raises NotAllowedError."""
        if not holds and guard not in self._without:
            raise NotAllowedError(guard)

    def lacks(self, guard: str) -> bool:
        """Whether this guard is taken away."""
        return guard in self._without

    def heard(self, sender: Name, message: Message) -> None:
        """Only what was said can be heard."""
        if message not in self.system.said_by(sender):
            raise NotAllowedError("hear: only what was said")

    # What comes of it.

    def become(self, **changes: Any) -> None:
        """The node is as it was, but for these."""
        self.node = replace(self.node, **changes)

    def write(self, acceptor: Acceptor, *says: Message) -> None:
        """Have ``acceptor`` written; ``says`` wait for that and for all earlier writes."""
        node = self.node
        written = node.on_disk(acceptor)
        if self.system.writes_at_once:
            self.become(memory=acceptor, disk=written)
            self.says.extend(says)
        elif self.lacks("say: what is said of the disk waits for it"):
            self.become(memory=acceptor, writes=(*node.writes, Write(written, ())))
            self.says.extend(says)
        else:
            self.become(memory=acceptor, writes=(*node.writes, Write(written, says)))

    def meet(self, ballot: Ballot, guard: str = "") -> None:
        """Rule 1: who meets a higher ballot stops leading and campaigning before anything else.

        ``guard`` names the place, where it is one that agreement hangs on.
        """
        node = self.node
        if guard and self.lacks(guard):
            return
        if node.met is None or ballot > node.met:
            self.become(met=ballot)
        own = node.own_ballot
        if own is not None and own < ballot:
            self.become(role=Following())

    def learn(self, slot: int) -> None:
        """A value is decided in ``slot``, and the memory holds it; a cluster is joined when its founding is known."""
        node = self.node
        if node.knows_decided(slot) and (node.membership is not None or slot > FOUNDING_SLOT):
            return
        decided, learned = node.decided, {*node.learned, slot}
        learned -= {it for it in learned if it <= decided}
        while decided + 1 in learned:
            decided += 1
            learned.remove(decided)
        self.become(decided=decided, learned=frozenset(learned))
        founding = node.memory.entries.get(FOUNDING_SLOT)
        if node.membership is None and decided >= FOUNDING_SLOT and founding is not None:
            if not isinstance(founding.value, Membership):
                raise NotAllowedError("found: slot 1 holds a membership")
            self.join(founding.value)

    def join(self, membership: Membership) -> None:
        """From now on its members vote and nobody else; who asked everybody has to ask them (rule 9)."""
        self.become(membership=membership)
        if not isinstance(self.node.role, Following) and not membership.has(self.name, self.node.life):
            self.become(role=Following())

    # What is asked often.

    @property
    def votes(self) -> bool:
        """Whether this life stands in the membership; before there is one, whether it might."""
        membership = self.node.membership
        return membership is None or membership.has(self.name, self.node.life)
