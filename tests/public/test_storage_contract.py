"""The methods and values that make up storage contract 1.

A test that fails here has found a change of the contract. If existing stores would break the changed
contract, increase ``paxospp.STORAGE_CONTRACT``; if not, add the change to the lists here.
"""

from __future__ import annotations

import dataclasses
import inspect

import paxospp


def methods_to_write(contract: type) -> dict[str, list[str]]:
    """Return the abstract methods with their parameters."""
    names: frozenset[str] = getattr(contract, "__abstractmethods__", frozenset())
    found = {}
    for name in sorted(names):
        member = inspect.getattr_static(contract, name)
        function = member.fget if isinstance(member, property) else member
        found[name] = list(inspect.signature(function).parameters)[1:]
    return found


def fields_of(record: type) -> list[str]:
    assert dataclasses.is_dataclass(record)
    return [field.name for field in dataclasses.fields(record)]


def test_this_is_contract_1() -> None:
    assert paxospp.STORAGE_CONTRACT == 1
    assert paxospp.Storage.contract == 1, "a class that says nothing was written for contract 1, for ever"
    assert paxospp.StorageBackend("mine", paxospp.Storage, "").contract is None


def test_a_store_writes_these_methods_and_no_others() -> None:
    assert methods_to_write(paxospp.Storage) == {
        "close": [],
        "create_snapshot": ["meta"],
        "load": [],
        "open_snapshot": [],
        "persist": ["batch"],
        "read": ["start", "stop", "max_bytes"],
    }
    assert methods_to_write(paxospp.SnapshotWriter) == {"abort": [], "commit": [], "write": ["data"]}
    assert methods_to_write(paxospp.SnapshotReader) == {"close": [], "meta": [], "read": ["size"]}
    assert methods_to_write(paxospp.KeyValueStorage) == {
        "close": [],
        "get": ["key"],
        "scan": ["start", "stop"],
        "write": ["delete_ranges", "puts", "sync"],
    }


def test_a_store_is_given_these_values_and_returns_those() -> None:
    written = ["promised", "accepted", "decided", "trim", "snapshot", "meta", "sync", "faulty_until"]
    assert fields_of(paxospp.WriteBatch) == written
    assert fields_of(paxospp.DurableState) == ["promised", "decided", "first", "last", "snapshot", "meta", "faulty"]
    assert fields_of(paxospp.StorageBackend) == ["scheme", "open", "summary", "drivers", "contract"]
    assert fields_of(paxospp.SnapshotMeta) == ["slot", "id"]
