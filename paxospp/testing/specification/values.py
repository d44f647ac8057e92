"""Ballots, memberships and maps: values that are compared, hashed and never changed."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ModelBallot(NamedTuple):
    """A totally ordered claim to lead (rule 1).

    In an explored system a round is used by one node only, and ``node`` and ``incarnation`` stay empty. No ballot
    then names a node, which makes the nodes interchangeable.
    """

    round: int
    node: str = ""
    incarnation: int = 0


class Pvalue(NamedTuple):
    """A value accepted in a slot, with the ballot it was accepted under (PMMC: pvalue)."""

    ballot: ModelBallot
    value: Hashable


class ModelMembership(NamedTuple):
    """The value of slot 1: the voters, each in one incarnation, and how many slots may be open (rules 7 and 9)."""

    voters: frozenset[tuple[Hashable, int]]
    alpha: int
    cluster: Hashable = 0

    def has(self, name: Hashable, incarnation: int) -> bool:
        """Whether this incarnation of the node votes."""
        return (name, incarnation) in self.voters

    def is_quorum(self, names: Collection[Hashable]) -> bool:
        """Whether more than half of the voters are among ``names``."""
        return 2 * len({name for name, _ in self.voters} & set(names)) > len(self.voters)


class Map(Mapping[K, V], Generic[K, V]):
    """An immutable, hashable map."""

    __slots__ = ("_hash", "_items")

    def __init__(self, items: Mapping[K, V] | Iterable[tuple[K, V]] = ()) -> None:
        self._items: dict[K, V] = dict(items)
        self._hash: int | None = None

    def __getitem__(self, key: K) -> V:
        return self._items[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def get(self, key: K, default: V | None = None) -> V | None:  # type: ignore[override]
        return self._items.get(key, default)

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset(self._items.items()))
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Map) and self._items == other._items

    def __repr__(self) -> str:
        return repr(self._items)

    def set(self, key: K, value: V) -> Map[K, V]:
        """Return a copy with ``value`` under ``key``."""
        return Map({**self._items, key: value})

    def without(self, keys: Iterable[K]) -> Map[K, V]:
        """Return a copy without these keys."""
        gone = set(keys)
        return Map({key: value for key, value in self._items.items() if key not in gone})


Entries = Map[int, Pvalue]
"""Accepted values by slot."""
