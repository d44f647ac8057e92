"""Machines that can be replicated, although they do what makes others fail."""

from __future__ import annotations

import logging
import random
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import ClassVar, NamedTuple

import paxospp
from paxospp import StateMachine, command, query

log = logging.getLogger(__name__)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Item:
    name: str
    tags: set[str] = field(default_factory=set)
    next: Item | None = None


class Place(NamedTuple):
    x: int
    y: int


class Everything(StateMachine):
    """Has state of every kind, sets included, and uses it correctly."""

    items: OrderedDict[str, Item]
    recent: deque[str]
    counts: Counter[str]
    members: set[str]
    groups: dict[Place, frozenset[str]]
    colour: Colour = Colour.RED
    seen: datetime | None = None
    drawn: list[float]
    LIMIT: ClassVar[int] = 5

    def __init__(self) -> None:
        self.items = OrderedDict()
        self.recent = deque(maxlen=3)
        self.counts = Counter()
        self.members = set()
        self.groups = {}
        self.drawn = []

    @command
    def add(self, name: str, tags: set[str], under: str | None = None) -> int:
        self.recent.append(name)
        self.counts[name] += 1
        self.members |= tags
        parent = self.items.get(under) if under is not None else None
        self.items[name] = Item(name, tags, None if parent is None else Item(parent.name))
        return len(self.items)

    @command
    def paint(self, colour: Colour, at: Place) -> list[str]:
        self.colour = colour
        self.groups[at] = frozenset(self.members)
        return sorted(self.groups[at])

    @command
    def first(self) -> str | None:
        return min(self.members, default=None)

    @command
    def drop(self, name: str) -> Item:
        self.items.move_to_end(name)
        return self.items.pop(name)

    @command
    def draw(self) -> float:
        self.drawn = [*self.drawn[-self.LIMIT :], self.context.random.random()]
        self.seen = datetime.fromtimestamp(self.context.time, UTC)
        return self.drawn[-1]

    @query
    def all_members(self) -> set[str]:
        return self.members

    @query
    def last(self, n: int = 1) -> list[str]:
        return list(self.recent)[-n:]


class Chatty(StateMachine):
    """Uses a clock and a random generator, and no state or result depends on them."""

    total: int = 0

    @command
    def add(self, n: int) -> int:
        started = time.perf_counter()
        self.total += n
        log.info("took %s, at %s, %s", time.perf_counter() - started, time.time(), random.random())
        if self.total > 100:
            raise ValueError(f"too much, at {id(self):x}")  # the text of an exception may differ
        return self.total


class Bounded(StateMachine):
    """Takes an argument to construct."""

    total: int
    most: int

    def __init__(self, most: int) -> None:
        self.total = 0
        self.most = most

    @command
    def add(self, n: int) -> int:
        self.total = min(self.total + n, self.most)
        return self.total


class LargeState(StateMachine):
    """Writes its own snapshots from a copy, and keeps derived state beside them."""

    data: dict[str, int]

    def __init__(self) -> None:
        self.data = {}
        self._total: int | None = None

    @command
    def put(self, key: str, value: int) -> int:
        self.data[key] = value
        self._total = None
        return len(self.data)

    @query
    def total(self) -> int:
        if self._total is None:
            self._total = sum(self.data.values())
        return self._total

    def snapshot(self) -> Iterable[bytes]:
        return (f"{key}={value}\n".encode() for key, value in dict(self.data).items())

    def restore(self, chunks: Iterable[bytes]) -> None:
        lines = b"".join(chunks).decode().splitlines()
        self.data = {key: int(value) for key, _, value in (line.partition("=") for line in lines)}
        self._total = None


class Raw(StateMachine):
    """Is in full control of its bytes."""

    def __init__(self) -> None:
        self.data: list[bytes] = []

    def apply(self, command: bytes, context: paxospp.Context) -> bytes:
        self.data.append(command)
        return str(len(self.data)).encode()

    def answer(self, request: bytes) -> bytes:
        return b",".join(self.data)

    def snapshot(self) -> Iterable[bytes]:
        return [b",".join(self.data)]

    def restore(self, chunks: Iterable[bytes]) -> None:
        data = b"".join(chunks)
        self.data = data.split(b",") if data else []
