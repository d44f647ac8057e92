"""Users' machines under simulation: faults of a machine are found within few seeds."""

from __future__ import annotations

import random as chance
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest

import paxospp
from paxospp.testing import Simulation, SimulationError

SEEDS = range(50)


class Bank(paxospp.StateMachine):
    """Moves money, and never makes any."""

    accounts: dict[str, int]

    def __init__(self) -> None:
        self.accounts = {"a": 10, "b": 10, "c": 10}

    @paxospp.command
    def transfer(self, source: str, target: str, amount: int) -> int:
        if amount < 0 or self.accounts.get(source, 0) < amount:
            raise ValueError("not that much")
        self.accounts[source] = self.accounts.get(source, 0) - amount
        self.accounts[target] = self.accounts.get(target, 0) + amount
        return self.accounts[target]

    @paxospp.query
    def balance(self, name: str) -> int:
        return self.accounts.get(name, 0)


class LosingBank(Bank):
    """Takes the money before it checks the target: breaks its invariant."""

    @paxospp.command
    def transfer(self, source: str, target: str, amount: int) -> int:
        self.accounts[source] = self.accounts.get(source, 0) - amount
        self.accounts[target] += amount
        return self.accounts[target]


class GenerousBank(Bank):
    """Rewards the first account of a set: diverges."""

    customers: set[str]

    def __init__(self) -> None:
        super().__init__()
        self.customers = set()

    @paxospp.command
    def transfer(self, source: str, target: str, amount: int) -> int:
        self.customers |= {source, target}
        lucky = next(iter(self.customers))
        self.accounts[lucky] = self.accounts.get(lucky, 0) + amount
        return self.accounts[lucky]


def transfers(random: Random) -> tuple[object, ...]:
    return "transfer", random.choice("abcd"), random.choice("abcd"), random.randint(0, 5)


def conserves_money(bank: Bank) -> None:
    assert sum(bank.accounts.values()) == 30, bank.accounts


def test_a_good_bank_holds_with_calls_drawn_from_its_annotations() -> None:
    report = Simulation(Bank, invariant=conserves_money, nodes=3).run((1, 5, 12, 13, 15, 16))

    assert report.seeds == 6
    assert report.calls["answered"] > 20


def test_a_bank_that_loses_money_fails_by_its_invariant() -> None:
    with pytest.raises(SimulationError) as found:
        Simulation(LosingBank, workload=transfers, invariant=conserves_money).run(SEEDS)

    assert found.value.rule == "invariant"
    command = found.value.command
    assert "--machine" in command
    assert "test_machines.py:LosingBank" in command
    assert "--workload" in command
    assert "test_machines.py:transfers" in command
    assert f"--seed {found.value.seed}" in command


def test_a_bank_that_iterates_over_a_set_diverges() -> None:
    with pytest.raises(SimulationError) as found:
        Simulation(GenerousBank, workload=transfers).run(SEEDS)

    assert found.value.rule == "divergence"


class WallClock(Bank):
    @paxospp.command
    def transfer(self, source: str, target: str, amount: int) -> int:
        self.accounts[source] = time.time_ns()
        return self.accounts[source]


class GlobalRandom(Bank):
    @paxospp.command
    def transfer(self, source: str, target: str, amount: int) -> int:
        self.accounts[source] = chance.randint(0, 10**9)
        return self.accounts[source]


@dataclass
class Account:
    owner: str


@dataclass
class RichAccount(Account):
    money: int = 0


class SubclassUnderItsBase(paxospp.StateMachine):
    held: dict[str, Account]

    def __init__(self) -> None:
        self.held = {}

    @paxospp.command
    def open(self, name: str, money: int) -> int:
        account = self.held.setdefault(name, RichAccount(name, money))
        return account.money if isinstance(account, RichAccount) else -1


class SharedAttribute(paxospp.StateMachine):
    first: list[int]
    second: list[int]

    def __init__(self) -> None:
        self.first = self.second = []

    @paxospp.command
    def add(self, amount: int) -> int:
        self.first.append(amount)
        return len(self.second)


@dataclass
class Entry:
    text: str
    changes: int = field(init=False)

    def __post_init__(self) -> None:
        self.changes = 0


class FieldWithoutInit(paxospp.StateMachine):
    entries: dict[str, Entry]

    def __init__(self) -> None:
        self.entries = {}

    @paxospp.command
    def put(self, key: str, text: str) -> int:
        entry = self.entries.setdefault(key, Entry(text))
        entry.changes += 1
        return entry.changes


@pytest.mark.parametrize(
    "machine",
    [GenerousBank, WallClock, GlobalRandom, SubclassUnderItsBase, SharedAttribute, FieldWithoutInit],
)
def test_bad_machines_are_found(machine: Callable[[], paxospp.StateMachine]) -> None:
    with pytest.raises(SimulationError) as found:
        Simulation(machine).run(SEEDS)

    assert found.value.rule in ("divergence", "a node stopped"), found.value


class Echo(paxospp.StateMachine):
    """Implements the raw interface: bytes in, bytes out."""

    def __init__(self) -> None:
        self.log: list[bytes] = []

    def apply(self, command: bytes, context: paxospp.Context) -> bytes:
        self.log.append(command)
        return b"%d" % len(self.log)

    def answer(self, request: bytes) -> bytes:
        return b"%d:%s" % (len(self.log), request)

    def snapshot(self) -> list[bytes]:
        return [len(command).to_bytes(4, "big") + command for command in self.log]

    def restore(self, chunks: object) -> None:
        data = b"".join(chunks)  # type: ignore[arg-type]
        self.log = []
        while data:
            size = int.from_bytes(data[:4], "big")
            self.log.append(data[4 : 4 + size])
            data = data[4 + size :]


def raw_calls(random: Random) -> tuple[object, ...]:
    return random.choice(("execute", "execute", "query")), random.randbytes(random.randint(3, 9))


def test_a_machine_in_full_control_is_simulated_too() -> None:
    assert Simulation(Echo, workload=raw_calls).run((1, 5, 12)).calls["answered"] > 20
