"""The state of an explored system, in which nodes are numbered, and the symmetry between its states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations

from paxospp.testing.specification.messages import Message, Name
from paxospp.testing.specification.scopes import ModelScope
from paxospp.testing.specification.state import FOUNDING_SLOT, ModelAcceptor, ModelLeading, ModelNode
from paxospp.testing.specification.step import ModelStep
from paxospp.testing.specification.values import Map, ModelMembership


@dataclass(frozen=True, slots=True)
class Explored:
    """The state of an explored system: its nodes, all messages ever sent, and what is left of the budgets."""

    nodes: tuple[ModelNode, ...]
    sent: tuple[frozenset[Message], ...]
    left: tuple[tuple[str, int], ...]
    writes_at_once: bool

    @property
    def names(self) -> Sequence[int]:
        return range(len(self.nodes))

    def node(self, name: Name) -> ModelNode:
        """Return the state of the node with this number."""
        assert isinstance(name, int)
        return self.nodes[name]

    def sent_by(self, name: Name) -> frozenset[Message]:
        """Return all messages that the node ever sent."""
        assert isinstance(name, int)
        return self.sent[name]

    def after(self, step: ModelStep, spends: str) -> Explored:
        """Return the state after ``step``, which takes one from the budget ``spends``; empty: from none."""
        name = step.name
        assert isinstance(name, int)
        sent = self.sent
        if step.sends:
            sent = (*sent[:name], sent[name] | frozenset(step.sends), *sent[name + 1 :])
        left = self.left
        if spends:
            left = tuple((what, count - (what == spends)) for what, count in left)
        return Explored((*self.nodes[:name], step.node, *self.nodes[name + 1 :]), sent, left, self.writes_at_once)


def membership_of(scope: ModelScope) -> ModelMembership | None:
    """Return the membership decided before the exploration begins; None if the scope bootstraps a cluster."""
    if scope.founds:
        return None
    return ModelMembership(frozenset((name, 1) for name in range(scope.nodes)), scope.alpha)


def begin(scope: ModelScope) -> Explored:
    """Return the initial state of ``scope``."""
    membership = membership_of(scope)
    node = ModelNode()
    if membership is not None:
        log = ModelAcceptor(first=FOUNDING_SLOT + 1)
        node = ModelNode(memory=log, disk=log, decided=FOUNDING_SLOT, membership=membership)
    return Explored(
        (node,) * scope.nodes,
        (frozenset(),) * scope.nodes,
        tuple(sorted(scope.budgets.items())),
        not scope.delays_writes,
    )


class ModelSymmetry:
    """Maps states that are equal up to renaming the nodes to one of them."""

    def __init__(self, nodes: int) -> None:
        self._orders = list(permutations(range(nodes)))
        self._renamed: dict[tuple[ModelNode, tuple[int, ...]], ModelNode] = {}

    def canonical(self, state: Explored) -> tuple[Explored, tuple[int, ...]]:
        """Return the state that stands for all renamings of ``state``.

        Also return, for each node of that state, the index of the same node in ``state``.
        """
        best, best_order, best_key = state, self._orders[0], 0
        for order in self._orders:
            nodes = tuple(self._rename(state.nodes[place], order) for place in order)
            sent = tuple(state.sent[place] for place in order)
            key = hash((nodes, sent))
            if order is self._orders[0] or key < best_key:
                best, best_order, best_key = Explored(nodes, sent, state.left, state.writes_at_once), order, key
        return best, best_order

    def _rename(self, node: ModelNode, order: tuple[int, ...]) -> ModelNode:
        role = node.role
        if type(role) is not ModelLeading:
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
