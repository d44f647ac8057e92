"""The state of the model for a run: nodes by name, all that they said, and the steps that they take."""

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
"""The rule that a run breaks if the model does not allow it."""


class Followed:
    """The nodes of the model, and every message that they ever sent."""

    writes_at_once = False

    def __init__(self, names: Sequence[Name]) -> None:
        self.names = names
        self.nodes: dict[Name, ModelNode] = {name: ModelNode(boot=0) for name in names}
        self.sent: dict[Name, set[Message]] = {name: set() for name in names}
        self.actions: Counter[str] = Counter()
        """Number of times that each action was taken."""
        self._tokens: dict[Name, deque[int]] = {name: deque() for name in names}
        """The token of each write under way, as the engine counts them."""
        self._returned: dict[Name, int] = dict.fromkeys(names, 0)

    def node(self, name: Name) -> ModelNode:
        """Return the node of that name, in its present incarnation."""
        return self.nodes[name]

    def sent_by(self, name: Name) -> set[Message]:
        """Return all that any incarnation of the node ever said."""
        return self.sent[name]

    def take(self, name: Name, what: str, act: Callable[[ModelStep], None], *, token: int = 0) -> None:
        """Take one action, whose writes are part of write ``token``. Raises RuleBroken if the model forbids it."""
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
        """Let write ``token`` and all earlier ones return."""
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
        """Number writes from 1 again; none is under way."""
        self._tokens[name].clear()
        self._returned[name] = 0


def describe(node: ModelNode) -> str:
    """Describe the state of a node for a reader, without slots decided long ago."""
    memory = node.memory
    held = {slot: entry for slot, entry in sorted(memory.entries.items()) if slot >= node.decided - 2}
    role = type(node.role).__name__.removeprefix("Model")
    return (
        f"  in the model: {role} {node.own_ballot or ''}, promised {memory.promised}, on disk "
        f"{node.disk.promised}, met {node.met}, decided {node.decided} and {sorted(node.learned)}, "
        f"first {memory.first}, held {held}, faulty {sorted(memory.faulty)} and from {memory.open_from}, "
        f"incarnation {node.incarnation}, boot {node.boot}"
    )
