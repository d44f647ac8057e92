"""The methods and values that make up storage contract 1.

A failure here means that the contract has changed. If a storage written before the change would no longer be
correct, increase ``paxospp.STORAGE_CONTRACT``; otherwise add the change to the lists below.
"""

from __future__ import annotations

import dataclasses
import inspect

import paxospp


def methods_to_implement(contract: type) -> dict[str, list[str]]:
    """Map each abstract method of ``contract`` to the names of its parameters."""
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


def test_the_current_storage_contract_is_1() -> None:
    assert paxospp.STORAGE_CONTRACT == 1
    assert paxospp.Storage.contract == 1, "a class that does not set it was written for contract 1"
    assert paxospp.StorageBackend("mine", paxospp.Storage, "").contract is None


def test_a_storage_implements_exactly_these_methods() -> None:
    assert methods_to_implement(paxospp.Storage) == {
        "close": [],
        "create_snapshot": ["meta"],
        "load": [],
        "open_snapshot": [],
        "persist": ["batch"],
        "read": ["start", "stop", "max_bytes"],
    }
    assert methods_to_implement(paxospp.SnapshotWriter) == {"abort": [], "commit": [], "write": ["data"]}
    assert methods_to_implement(paxospp.SnapshotReader) == {"close": [], "meta": [], "read": ["size"]}
    assert methods_to_implement(paxospp.KeyValueStorage) == {
        "close": [],
        "get": ["key"],
        "scan": ["start", "stop"],
        "write": ["delete_ranges", "puts", "sync"],
    }


def test_the_values_that_a_storage_takes_and_returns_have_exactly_these_fields() -> None:
    written = ["promised", "accepted", "decided", "trim", "snapshot", "meta", "sync", "faulty_until"]
    assert fields_of(paxospp.WriteBatch) == written
    assert fields_of(paxospp.DurableState) == ["promised", "decided", "first", "last", "snapshot", "meta", "faulty"]
    assert fields_of(paxospp.StorageBackend) == ["scheme", "open", "summary", "drivers", "contract"]
    assert fields_of(paxospp.SnapshotMeta) == ["slot", "id"]
