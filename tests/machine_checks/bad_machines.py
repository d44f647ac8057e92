"""Machines that pass a unit test but cannot be replicated; each has one fault, in the method ``bad``."""

from __future__ import annotations

import datetime
import itertools
import os
import random
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from time import time as now

import paxospp
from paxospp import StateMachine, command, query

# ----------------------------------------------------------------------------- what a command looks at


class FineClock(StateMachine):
    stamps: dict[str, float]

    def __init__(self) -> None:
        self.stamps = {}

    @command
    def bad(self, key: str) -> None:
        self.stamps[key] = time.time()


class CoarseClock(StateMachine):
    """Depends on the day, so two runs on one day agree."""

    days: list[int]

    def __init__(self) -> None:
        self.days = []

    @command
    def fine(self, n: int) -> None:
        self.days.append(n)

    @command
    def bad(self) -> int:
        self.days.append(int(now()) // 86_400)
        return len(self.days)


class Today(StateMachine):
    day: str = ""

    @command
    def bad(self) -> None:
        self.day = datetime.date.today().isoformat()


class UtcDate(StateMachine):
    day: datetime.date | None = None

    @command
    def bad(self) -> None:
        self.day = datetime.datetime.now(datetime.UTC).date()


class Zone(StateMachine):
    hour: int = 0

    @command
    def bad(self) -> int:
        return datetime.datetime.fromtimestamp(self.context.time).hour


class GlobalRandom(StateMachine):
    winner: str = ""

    @command
    def bad(self, names: list[str]) -> str | None:
        self.winner = random.choice(names) if names else ""
        return self.winner


class OwnIds(StateMachine):
    ids: list[str]

    def __init__(self) -> None:
        self.ids = []

    @command
    def bad(self) -> None:
        self.ids.append(uuid.uuid4().hex)


class ProcessId(StateMachine):
    owner: int = 0

    @command
    def bad(self) -> None:
        self.owner = os.getpid()


class TextHash(StateMachine):
    buckets: dict[int, str]

    def __init__(self) -> None:
        self.buckets = {}

    @command
    def bad(self, key: str) -> None:
        self.buckets[hash(key) % 8] = key


class SetOrder(StateMachine):
    """Depends on the order of a set in its state."""

    names: set[str]
    first: str = ""

    def __init__(self) -> None:
        self.names = set()

    @command
    def add(self, name: str) -> None:
        self.names.add(name)

    @command
    def bad(self) -> None:
        for name in self.names:
            self.first = name
            break


class SetOrderOfArgument(StateMachine):
    """Depends on the order of a local set, which no snapshot shows."""

    log: list[str]

    def __init__(self) -> None:
        self.log = []

    @command
    def bad(self, names: set[str]) -> None:
        self.log = list(names)


_counter = itertools.count()


class ModuleState(StateMachine):
    last: int = 0

    @command
    def bad(self) -> None:
        self.last = next(_counter)


# ----------------------------------------------------------------------------- what a snapshot loses


@dataclass
class Animal:
    name: str


@dataclass
class Dog(Animal):
    tricks: int = 0


class Subclass(StateMachine):
    animals: dict[str, Animal]

    def __init__(self) -> None:
        self.animals = {}

    @command
    def bad(self, name: str, tricks: int) -> None:
        self.animals[name] = Dog(name, tricks)


class SharedAttribute(StateMachine):
    orders: dict[str, list[int]]
    latest: list[int]

    def __init__(self) -> None:
        self.orders = {}
        self.latest = []

    @command
    def bad(self, key: str) -> None:
        self.latest = self.orders.setdefault(key, [])

    @command
    def add(self, n: int) -> None:
        self.latest.append(n)


class SharedInside(StateMachine):
    """Keeps one list under two keys of an attribute."""

    groups: dict[str, list[int]]

    def __init__(self) -> None:
        self.groups = {}

    @command
    def alias(self, one: str, other: str) -> None:
        self.groups[other] = self.groups.setdefault(one, [])

    @command
    def bad(self, key: str, n: int) -> int:
        self.groups.setdefault(key, []).append(n)
        return sum(map(len, self.groups.values()))


@dataclass
class Account:
    balance: int
    changes: int = field(init=False)

    def __post_init__(self) -> None:
        self.changes = 0


class NotInInit(StateMachine):
    accounts: dict[str, Account]

    def __init__(self) -> None:
        self.accounts = {}

    @command
    def bad(self, name: str, amount: int) -> None:
        account = self.accounts.setdefault(name, Account(0))
        account.balance += amount
        account.changes += 1


class Unannotated(StateMachine):
    total: int = 0

    @command
    def bad(self, n: int) -> None:
        self.cache = n


class TooBig(StateMachine):
    total: int = 1

    @command
    def bad(self) -> int:
        self.total *= 1 << 20
        return 0


class LooseType(StateMachine):
    pairs: list[object] | None = None
    last: list[tuple[str, int]] | None = None

    @command
    def bad(self, key: str, n: int) -> None:
        self.last = [[key, n]]  # type: ignore[list-item]


LooseType.__annotations__.pop("pairs")


DEFAULTS: dict[str, int] = {}


class MutableDefault(StateMachine):
    """Shares one dict between all instances."""

    totals: dict[str, int]

    def __init__(self, totals: dict[str, int] = DEFAULTS) -> None:
        self.totals = totals

    @command
    def bad(self, key: str, n: int) -> None:
        self.totals[key] = n


class OwnSnapshot(StateMachine):
    """Restores a snapshot on top of the state it has, and writes a snapshot only when it is read."""

    items: dict[str, int]

    def __init__(self) -> None:
        self.items = {}

    @command
    def bad(self, key: str, n: int) -> int:
        self.items[key] = n
        return len(self.items)

    @command
    def drop(self, key: str) -> int:
        self.items.pop(key, None)
        return len(self.items)

    def snapshot(self) -> Iterable[bytes]:
        return [f"{key}={value}\n".encode() for key, value in self.items.items()]

    def restore(self, chunks: Iterable[bytes]) -> None:
        for line in b"".join(chunks).decode().splitlines():
            key, _, value = line.partition("=")
            self.items[key] = int(value)


class LateSnapshot(StateMachine):
    """Takes snapshots that include later commands."""

    items: dict[str, int]

    def __init__(self) -> None:
        self.items = {}

    @command
    def bad(self, key: str) -> int:
        self.items[key] = self.items.get(key, 0) + 1
        return self.items[key]

    def snapshot(self) -> Iterable[bytes]:
        for key in sorted(self.items):
            yield f"{key}={self.items[key]}\n".encode()

    def restore(self, chunks: Iterable[bytes]) -> None:
        lines = b"".join(chunks).decode().splitlines()
        self.items = {key: int(value) for key, _, value in (line.partition("=") for line in lines)}


class RawBytes(StateMachine):
    """Is in full control, and forgets the counter that it keeps beside its bytes."""

    def __init__(self) -> None:
        self.data = b""
        self.writes = 0

    def apply(self, command: bytes, context: paxospp.Context) -> bytes:
        self.data = command
        self.writes += 1
        return str(self.writes).encode()

    def answer(self, request: bytes) -> bytes:
        return self.data

    def snapshot(self) -> Iterable[bytes]:
        return [self.data]

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.data = b"".join(chunks)


# ----------------------------------------------------------------------------- queries and results


class WritingQuery(StateMachine):
    reads: int = 0

    @command
    def touch(self) -> None: ...

    @query
    def bad(self) -> int:
        self.reads += 1
        return self.reads


class UnsortedAnswer(StateMachine):
    names: set[str]

    def __init__(self) -> None:
        self.names = set()

    @command
    def add(self, name: str) -> None:
        self.names.add(name)

    @query
    def bad(self) -> list[str]:
        return list(self.names)


class WrongResult(StateMachine):
    @command
    def bad(self, n: int) -> str:
        return n  # type: ignore[return-value]


class Stops(StateMachine):
    @command
    def bad(self, path: str) -> str:
        with open(f"/no/such/place/{path}") as file:
            return file.read()
