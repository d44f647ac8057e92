"""A system that is explored: nodes by their places, and which of two states are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations

from paxospp.testing.specification.messages import Message, Name
from paxospp.testing.specification.scopes import Scope
from paxospp.testing.specification.state import FOUNDING_SLOT, Acceptor, Leading, Node
from paxospp.testing.specification.step import Step
from paxospp.testing.specification.values import Map, Membership


@dataclass(frozen=True, slots=True)
class Explored:
    """All nodes, all that was said, and what is left of the budgets."""

    nodes: tuple[Node, ...]
    said: tuple[frozenset[Message], ...]
    left: tuple[tuple[str, int], ...]
    writes_at_once: bool

    @property
    def names(self) -> Sequence[int]:
        return range(len(self.nodes))

    def node(self, name: Name) -> Node:
        """The node in that place."""
        assert isinstance(name, int)
        return self.nodes[name]

    def said_by(self, name: Name) -> frozenset[Message]:
        """All that it ever said."""
        assert isinstance(name, int)
        return self.said[name]

    def after(self, step: Step, spends: str) -> Explored:
        """The state after ``step``."""
        name = step.name
        assert isinstance(name, int)
        said = self.said
        if step.says:
            said = (*said[:name], said[name] | frozenset(step.says), *said[name + 1 :])
        left = self.left
        if spends:
            left = tuple((what, count - (what == spends)) for what, count in left)
        return Explored((*self.nodes[:name], step.node, *self.nodes[name + 1 :]), said, left, self.writes_at_once)


def membership_of(scope: Scope) -> Membership | None:
    """The membership that was decided before the exploration begins; None where it founds a cluster."""
    if scope.founds:
        return None
    return Membership(frozenset((name, 1) for name in range(scope.nodes)), scope.alpha)


def begin(scope: Scope) -> Explored:
    """The state that everything begins in."""
    membership = membership_of(scope)
    node = Node()
    if membership is not None:
        log = Acceptor(first=FOUNDING_SLOT + 1)
        node = Node(memory=log, disk=log, decided=FOUNDING_SLOT, membership=membership)
    return Explored(
        (node,) * scope.nodes,
        (frozenset(),) * scope.nodes,
        tuple(sorted(scope.budgets.items())),
        not scope.delays_writes,
    )


class Symmetry:
    """States that differ in which node is which only, are one."""

    def __init__(self, nodes: int) -> None:
        self._orders = list(permutations(range(nodes)))
        self._renamed: dict[tuple[Node, tuple[int, ...]], Node] = {}

    def canonical(self, state: Explored) -> tuple[Explored, tuple[int, ...]]:
        """The one of its kind that stands for all, and which place of ``state`` each of its nodes had."""
        best, best_order, best_key = state, self._orders[0], 0
        for order in self._orders:
            nodes = tuple(self._rename(state.nodes[place], order) for place in order)
            said = tuple(state.said[place] for place in order)
            key = hash((nodes, said))
            if order is self._orders[0] or key < best_key:
                best, best_order, best_key = Explored(nodes, said, state.left, state.writes_at_once), order, key
        return best, best_order

    def _rename(self, node: Node, order: tuple[int, ...]) -> Node:
        role = node.role
        if type(role) is not Leading:
            return node
        key = (node, order)
        renamed = self._renamed.get(key)
        if renamed is None:
            new = {old: place for place, old in enumerate(order)}
            renamed = self._renamed[key] = replace(
                node,
                role=role._replace(
                    reports=Map((new[it], report) for it, report in role.reports.items() if isinstance(it, int)),
                    granted=Map((new[it], until) for it, until in role.granted.items() if isinstance(it, int)),
                    hidden=frozenset((new[it], report) for it, report in role.hidden if isinstance(it, int)),
                ),
            )
        return renamed
