"""The system that a run is held against: nodes by name, all that they said, and the steps that they take."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Sequence

from paxospp.testing.simulation.rule_broken import RuleBroken
from paxospp.testing.specification.durability import write_returns
from paxospp.testing.specification.messages import Message, Name
from paxospp.testing.specification.state import ModelNode
from paxospp.testing.specification.step import ModelStep, NotAllowedError

_NUMBERS = re.compile(r" [^a-z].*| n\d.*")
RULE = "the model"
"""What a run that the model does not allow has broken."""


class Followed:
    """Nodes as the model has them; what was said is never forgotten."""

    writes_at_once = False

    def __init__(self, names: Sequence[Name]) -> None:
        self.names = names
        self.nodes: dict[Name, ModelNode] = {name: ModelNode(boot=0) for name in names}
        self.sent: dict[Name, set[Message]] = {name: set() for name in names}
        self.actions: Counter[str] = Counter()
        """How often each action was taken."""
        self._tokens: dict[Name, deque[int]] = {name: deque() for name in names}
        """The number of each write under way, as the engine counts them."""
        self._returned: dict[Name, int] = dict.fromkeys(names, 0)

    def node(self, name: Name) -> ModelNode:
        """The node of that name, in its present life."""
        return self.nodes[name]

    def sent_by(self, name: Name) -> set[Message]:
        """All that any life of it ever said."""
        return self.sent[name]

    def take(self, name: Name, what: str, act: Callable[[ModelStep], None], *, token: int = 0) -> None:
        """Take one action; what it writes is part of write ``token``. Raises Broken if the model does not allow it."""
        before = self.nodes[name]
        step = ModelStep(self, name)
        try:
            act(step)
        except NotAllowedError as refused:
            raise RuleBroken(RULE, f"{name} {what}, and may not: {refused}\n{describe(before)}") from refused
        self.actions[_NUMBERS.sub("", what.partition(": ")[2] or what)] += 1
        self.nodes[name] = step.node
        self.sent[name].update(step.sends)
        tokens = self._tokens[name]
        while len(tokens) < len(step.node.writes):
            tokens.append(token)
        self._settle(name)

    def on_written(self, name: Name, token: int) -> None:
        """Write ``token`` and all earlier ones have returned."""
        self._returned[name] = token
        self._settle(name)

    def _settle(self, name: Name) -> None:
        tokens = self._tokens[name]
        while tokens and tokens[0] <= self._returned[name]:
            tokens.popleft()
            step = ModelStep(self, name)
            write_returns(step)
            self.nodes[name] = step.node
            self.sent[name].update(step.sends)

    def begin_boot(self, name: Name) -> None:
        """Writes are numbered from 1 again, and none is under way."""
        self._tokens[name].clear()
        self._returned[name] = 0


def describe(node: ModelNode) -> str:
    """The state of a node as a reader needs it: without what is long decided."""
    memory = node.memory
    held = {slot: entry for slot, entry in sorted(memory.entries.items()) if slot >= node.decided - 2}
    role = type(node.role).__name__.removeprefix("Model")
    return (
        f"  in the model: {role} {node.own_ballot or ''}, promised {memory.promised}, on disk "
        f"{node.disk.promised}, met {node.met}, decided {node.decided} and {sorted(node.learned)}, "
        f"first {memory.first}, held {held}, faulty {sorted(memory.faulty)} and from {memory.open_from}, "
        f"incarnation {node.incarnation}, boot {node.boot}"
    )
