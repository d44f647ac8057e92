"""Check that a store returns values of the types that the contract names.

Comparisons do not show it: ``memoryview(b"x") == b"x"``, so a store that returns a view of its driver's memory passes
every comparison and fails later, where the value is sent, stored or hashed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import paxospp.errors
from paxospp.model import Ballot, Entry, SnapshotMeta
from paxospp.storage.contract import DurableState, Storage
from paxospp.storage.key_value import KeyValueStorage


def named(kind: type) -> str:
    """Return the name by which a type is imported: ``paxospp.CorruptedError``, ``mystore.CorruptedError``."""
    if kind.__module__ == "builtins":
        return kind.__name__
    if getattr(paxospp.errors, kind.__name__, None) is kind:
        return f"paxospp.{kind.__name__}"
    module = re.sub(r"_[0-9a-f]{8}$", "", kind.__module__)  # the suffix of a module loaded from a file in a URL
    return f"{module}.{kind.__qualname__}"


def wrong_kind_of_entries(found: object) -> str | None:
    """Say which value that ``read`` returned has the wrong type; None if all types are right."""
    if not isinstance(found, Sequence):
        return f"read returns {_a(found)}; wanted a sequence of paxospp.Entry"
    for entry in found:
        if not isinstance(entry, Entry):
            return f"read returns {_a(entry)} in its sequence; wanted paxospp.Entry"
        if type(entry.value) is not bytes:
            return f"read returns an Entry (slot {entry.slot}) whose value is {_a(entry.value)}; wanted bytes"
        if not isinstance(entry.ballot, Ballot):
            return (
                f"read returns an Entry (slot {entry.slot}) whose ballot is {_a(entry.ballot)}; wanted paxospp.Ballot"
            )
    return None


def wrong_kind_of_state(state: object) -> str | None:
    """Say which value that ``load`` returned has the wrong type; None if all types are right."""
    if not isinstance(state, DurableState):
        return f"load returns {_a(state)}; wanted paxospp.DurableState"
    if state.promised is not None and not isinstance(state.promised, Ballot):
        return f"load returns a state whose promised is {_a(state.promised)}; wanted paxospp.Ballot or None"
    if state.snapshot is not None and not isinstance(state.snapshot, SnapshotMeta):
        return f"load returns a state whose snapshot is {_a(state.snapshot)}; wanted paxospp.SnapshotMeta or None"
    for name in ("decided", "first", "last"):
        if not isinstance(getattr(state, name), int):
            return f"load returns a state whose {name} is {_a(getattr(state, name))}; wanted int"
    if not isinstance(state.meta, Mapping):
        return f"load returns a state whose meta is {_a(state.meta)}; wanted a mapping of str to bytes"
    for key, value in state.meta.items():
        if not isinstance(key, str) or type(value) is not bytes:
            return f"load returns a state whose meta has {_a(key)} → {_a(value)}; wanted str → bytes"
    if not all(isinstance(slots, range) for slots in state.faulty):
        return "load returns a state whose faulty has an item that is not a range; wanted ranges of slots"
    return None


def wrong_kind_of_piece(piece: object) -> str | None:
    """Say whether a snapshot's ``read`` returned something other than bytes."""
    return None if type(piece) is bytes else f"the snapshot's read returns {_a(piece)}; wanted bytes"


def wrong_kind_of_pairs(storage: Storage) -> str | None:
    """Call ``get`` and ``scan`` of a new ``KeyValueStorage`` and say what they return instead of bytes."""
    if not isinstance(storage, KeyValueStorage):
        return None
    storage.load()
    storage.write((), [(b"~kit/probe", b"value")], True)
    for name, found in (
        ("get", storage.get(b"~kit/probe")),
        *(("scan", part) for row in _rows(storage) for part in row),
    ):
        if found is not None and type(found) is not bytes:
            return f"{name} returns {_a(found)} instead of bytes"
    return None


def _rows(storage: KeyValueStorage) -> list[tuple[bytes, bytes]]:
    return list(storage.scan(b"~kit/", b"~kit0"))


def _a(value: object) -> str:
    return "None" if value is None else f"a {named(type(value))}"
