"""A step: one node takes one action, if the action's guards hold.

Every guard has a name. An exploration can remove a guard to show that an invariant fails without it. When a step of
a real run violates a guard, the failure names it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from paxospp.testing.specification.messages import Message, Name
from paxospp.testing.specification.state import (
    FOUNDING_SLOT,
    ModelAcceptor,
    ModelFollowing,
    ModelNode,
    PendingWrite,
    System,
)
from paxospp.testing.specification.values import ModelBallot, ModelMembership


class NotAllowedError(Exception):
    """The model does not allow the action in this state; the text is the name of the guard."""


class ModelStep:
    """A step of the node ``name``. An action changes ``node`` and ``sends``, and nothing else."""

    def __init__(self, system: System, name: Name, without: frozenset[str] = frozenset()) -> None:
        self.system = system
        self.name = name
        self.node: ModelNode = system.node(name)
        self.sends: list[Message] = []
        self._without = without

    def needs(self, guard: str, holds: bool) -> None:
        """Raise NotAllowedError unless ``holds``, or unless the guard was removed."""
        if not holds and guard not in self._without:
            raise NotAllowedError(guard)

    def lacks(self, guard: str) -> bool:
        """Whether the guard was removed."""
        return guard in self._without

    def receive(self, sender: Name, message: Message) -> None:
        """Raise NotAllowedError unless ``sender`` sent ``message``."""
        if message not in self.system.sent_by(sender):
            raise NotAllowedError("receive: only a message that was sent")

    # Effects.

    def become(self, **changes: Any) -> None:
        """Replace these fields of the node."""
        self.node = replace(self.node, **changes)

    def write(self, acceptor: ModelAcceptor, *sends: Message) -> None:
        """Begin to write ``acceptor``; ``sends`` wait for this write and for all earlier ones."""
        node = self.node
        written = node.on_disk(acceptor)
        if self.system.writes_at_once:
            self.become(memory=acceptor, disk=written)
            self.sends.extend(sends)
        elif self.lacks("send: a message about the disk waits for its write"):
            self.become(memory=acceptor, writes=(*node.writes, PendingWrite(written, ())))
            self.sends.extend(sends)
        else:
            self.become(memory=acceptor, writes=(*node.writes, PendingWrite(written, sends)))

    def meet(self, ballot: ModelBallot, guard: str = "") -> None:
        """Rule 1: a node that meets a higher ballot first stops leading or campaigning.

        ``guard`` names this place if agreement depends on it, so that an exploration can leave it out.
        """
        node = self.node
        if guard and self.lacks(guard):
            return
        if node.met is None or ballot > node.met:
            self.become(met=ballot)
        own = node.own_ballot
        if own is not None and own < ballot:
            self.become(role=ModelFollowing())

    def learn(self, slot: int) -> None:
        """Note that ``slot`` is decided. Once slot 1 is, join the cluster whose membership it holds."""
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
            if not isinstance(founding.value, ModelMembership):
                raise NotAllowedError("bootstrap: slot 1 holds a membership")
            self.join(founding.value)

    def join(self, membership: ModelMembership) -> None:
        """Adopt ``membership``: from now on its members vote, and no other node (rule 9).

        A candidate or leader that is not a member becomes a follower.
        """
        self.become(membership=membership)
        if not isinstance(self.node.role, ModelFollowing) and not membership.has(self.name, self.node.incarnation):
            self.become(role=ModelFollowing())

    @property
    def votes(self) -> bool:
        """Whether this incarnation is a voter; True before the node knows a membership, for it may become one."""
        membership = self.node.membership
        return membership is None or membership.has(self.name, self.node.incarnation)
