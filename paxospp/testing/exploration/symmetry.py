"""Interchangeable nodes: worlds that differ only in the names of such nodes are treated as one.

Names are not mere labels in the engine. Of two ballots of the same round, the one with the greater name is higher; of
two peers that know equally much, the one with the greater name is asked first. So nodes are interchangeable only if

* they never campaign, so that no ballot contains their names (the scope lists the nodes that may campaign),
* no node fetches anything, and
* either all of them may crash, or none.

Then renaming them turns every step of the engine into another step of the engine: everywhere else it treats names as
labels, all nodes here have the same incarnation and address, and neither messages nor facts order nodes by name. The
key of a world is the least key among all its renamings.

Reference: Ip and Dill, "Better Verification Through Symmetry" (1996).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import fields, is_dataclass
from itertools import permutations
from typing import Any

from paxospp.model import NodeId
from paxospp.testing.exploration.claims import Fact
from paxospp.testing.exploration.nodes import key_of
from paxospp.testing.exploration.scope import ExplorationScope
from paxospp.testing.exploration.worlds import Explorer, World


def interchangeable(scope: ExplorationScope) -> tuple[str, ...]:
    """Return the names of the interchangeable nodes of ``scope``; fewer than two names mean that it has none."""
    if scope.fetches or not scope.campaigners:
        return ()
    passive = [f"n{number}" for number in range(1, scope.nodes + 1) if f"n{number}" not in scope.campaigners]
    crashing = [name for name in passive if name in scope.crashers]
    return tuple(passive if not scope.crashers or not crashing else crashing)


class Symmetry:
    """Computes keys of worlds that are equal for worlds that differ only in the names of interchangeable nodes."""

    def __init__(self, explorer: Explorer) -> None:
        self._explorer = explorer
        self._numbers: dict[Hashable, int] = {}
        names = interchangeable(explorer.scope)
        others = tuple(NodeId(name) for name in names)
        self.renamings: list[Mapping[str, str]] = [
            dict(zip(others, order, strict=True)) for order in permutations(others)
        ]
        """All renamings; the first one changes nothing."""
        place = {name: number for number, name in enumerate(explorer.names)}
        self._places = [
            [place[NodeId(renaming.get(name, name))] for name in explorer.names] for renaming in self.renamings
        ]
        """For each renaming, the new index of each node."""
        size = len(self.renamings)
        self._nodes: list[dict[int, int]] = [{} for _ in range(size)]
        self._messages: list[dict[int, int]] = [{} for _ in range(size)]
        self._histories: list[dict[int, int]] = [{} for _ in range(size)]
        self._facts: list[dict[Fact, int]] = [{} for _ in range(size)]

    def key(self, world: World) -> int:
        """Return the key of ``world``, which all its renamings share."""
        return min(self._key(world, number) for number in range(len(self.renamings)))

    def _key(self, world: World, renaming: int) -> int:
        size = self._explorer.size
        nodes, messages, places = self._nodes[renaming], self._messages[renaming], self._places[renaming]
        renamed = [0] * size
        for place in range(size):
            number = world[place]
            shape = nodes.get(number)
            if shape is None:
                shape = nodes[number] = self._number(key_of(self._explorer.nodes.known[number]), renaming)
            renamed[places[place]] = shape
        history = self._histories[renaming].get(world[size])
        if history is None:
            known = self._explorer.histories[world[size]]
            facts = frozenset([self._fact(fact, renaming) for fact in known.votes.facts | known.answers])
            history = self._histories[renaming][world[size]] = self._numbers.setdefault(facts, len(self._numbers))
        in_flight: list[int] = []
        for number in world[size + 2 :]:
            shape = messages.get(number)
            if shape is None:
                shape = messages[number] = self._number(self._explorer.nodes.messages[number], renaming)
            in_flight.append(shape)
        in_flight.sort()
        return hash((*renamed, history, world[size + 1], *in_flight))

    def _fact(self, fact: Fact, renaming: int) -> int:
        known = self._facts[renaming]
        number = known.get(fact)
        if number is None:
            number = known[fact] = self._number(fact, renaming)
        return number

    def _number(self, value: Any, renaming: int) -> int:
        return self._numbers.setdefault(_renamed(value, self.renamings[renaming]), len(self._numbers))


def _renamed(value: Any, names: Mapping[str, str]) -> Hashable:
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, tuple):
        return (type(value).__name__, *[_renamed(item, names) for item in value])
    if isinstance(value, frozenset):
        return frozenset([_renamed(item, names) for item in value])
    if is_dataclass(value):
        held = [_renamed(getattr(value, field.name), names) for field in fields(value)]
        return (type(value).__name__, *held)
    return value  # type: ignore[no-any-return]
