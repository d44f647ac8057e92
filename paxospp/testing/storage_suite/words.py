"""Short ways to make ballots, entries, batches and snapshots, and to put them into words when a case fails."""

from __future__ import annotations

import hashlib
import sys
from itertools import zip_longest

from paxospp.model import Ballot, Entry, Kind, NodeId, Slot, SnapshotMeta
from paxospp.storage.contract import Storage, WriteBatch

EVERYTHING = 1 << 40
"""A limit for ``read``, in bytes, that is larger than anything a case stores."""


def ballot(round: int, node: str = "n1", incarnation: int = 7) -> Ballot:
    return Ballot(round, NodeId(node), incarnation)


def entry(slot: int, value: bytes = b"value", round: int = 1, kind: Kind = Kind.COMMANDS) -> Entry:
    return Entry(Slot(slot), ballot(round), kind, value)


def accepted(*slots: int, round: int = 1) -> WriteBatch:
    """Return a batch that accepts ``value_of(slot, round)`` in each of ``slots``."""
    return WriteBatch(accepted=[entry(slot, value_of(slot, round), round) for slot in slots])


def value_of(slot: int, round: int = 1) -> bytes:
    """Return forty bytes that occur nowhere else and hardly compress."""
    return b"<%010d/%010d>" % (slot, round) + bytes((slot * 37 + round * 101 + i * 59) % 250 + 1 for i in range(17))


def noise(size: int, seed: int = 0) -> bytes:
    """Return ``size`` bytes that hardly compress, equal for equal ``seed``."""
    block = bytes((i * i * 7 + i * 13 + (i >> 3) * 31 + (i * i >> 7)) & 0xFF for i in range(seed, seed + 4099))
    return (block * (size // len(block) + 1))[:size]


def snapshot(storage: Storage, slot: int, id: str, *chunks: bytes, publish: bool = True) -> SnapshotMeta:
    """Stage and commit a snapshot and, if ``publish``, persist the batch that names it."""
    meta = SnapshotMeta(Slot(slot), id)
    writer = storage.create_snapshot(meta)
    for chunk in chunks:
        writer.write(chunk)
    writer.commit()
    if publish:
        storage.persist(WriteBatch(snapshot=meta))
    return meta


def read_all(storage: Storage, start: int = 1, stop: int = sys.maxsize) -> dict[int, bytes]:
    """Return the values that one ``read`` returns, by slot."""
    return {found.slot: found.value for found in storage.read(Slot(start), Slot(stop), EVERYTHING)}


def read_entries(storage: Storage, start: int, stop: int) -> list[Entry]:
    """Return what ``read`` returns, sorted by slot, for cases that do not check the order (C6)."""
    return sorted(storage.read(Slot(start), Slot(stop), EVERYTHING), key=_slot)


def _slot(entry: Entry) -> int:
    return entry.slot


def read_snapshot(storage: Storage, size: int = 1 << 16) -> bytes | None:
    """Return the bytes of the current snapshot, read in pieces of ``size`` bytes; None if there is none."""
    reader = storage.open_snapshot()
    if reader is None:
        return None
    with reader:
        return b"".join(iter(lambda: reader.read(size), b""))


def told(value: object) -> str:
    """Describe ``value`` in few words, for the steps of a failing case."""
    match value:
        case WriteBatch():
            return _told_batch(value)
        case Entry():
            return f"slot {value.slot} (round {value.ballot.round}): {_told_bytes(value.value)}"
        case Ballot():
            return f"round {value.round} of {value.node}"
        case SnapshotMeta():
            return f"snapshot {value.id!r} of slot {value.slot}"
        case bytes():
            return _told_bytes(value)
        case str():
            return value if len(value) <= 300 else f"{value[:300]}…"
        case list() | tuple() if not hasattr(value, "_fields"):
            shown = [told(part) for part in value[:3]]
            return f"[{', '.join(shown)}{f', … ({len(value)} in all)' if len(value) > 3 else ''}]"
        case _:
            text = repr(value)
            return text if len(text) <= 300 else f"{text[:300]}…"


def told_apart(one: object, other: object) -> tuple[str, str]:
    """Describe two values that differ, in few words if these show a difference, else with what differs in full."""
    short = told(one), told(other)
    if short[0] != short[1]:
        return short
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and not hasattr(one, "_fields"):
        for number, (a, b) in enumerate(zip_longest(one, other), 1):
            if a != b:
                first, second = told_apart(a, b)
                return f"{short[0]}, number {number} is {first}", f"{short[1]}, number {number} is {second}"
    return told_in_full(one), told_in_full(other)


def told_call_of_read(start: int, stop: int, max_bytes: int) -> str:
    """Describe a call of ``read``."""
    until = "the end" if stop == sys.maxsize else str(stop)
    return f"read({start}, {until}, {'no limit' if max_bytes == EVERYTHING else max_bytes})"


def told_in_full(value: object) -> str:
    """Describe ``value`` like ``told``, but so that different entries, ballots and bytes never look the same."""
    match value:
        case Entry():
            return (
                f"{told_in_full(value.value)} of {told_in_full(value.ballot)}, {value.kind.name}, in slot {value.slot}"
            )
        case Ballot():
            return f"{told(value)}, incarnation {value.incarnation}"
        case bytes() if len(value) > 16:
            return f"{told(value)} with SHA-256 {hashlib.sha256(value).hexdigest()}"
        case tuple() if not hasattr(value, "_fields"):
            return " and ".join(map(told_in_full, value))
        case _:
            return told(value)


def _told_batch(batch: WriteBatch) -> str:
    parts = []
    if batch.promised is not None:
        parts.append(f"promised={told(batch.promised)}")
    if batch.accepted:
        parts.append(f"accepted={told(list(batch.accepted))}")
    parts += [
        f"{name}={told(value)}"
        for name, value in (
            ("decided", batch.decided),
            ("trim", batch.trim),
            ("faulty_until", batch.faulty_until),
            ("snapshot", batch.snapshot),
        )
        if value is not None
    ]
    if batch.meta:
        parts.append(f"meta={{{', '.join(f'{key!r}: {told(value)}' for key, value in batch.meta.items())}}}")
    if not batch.sync:
        parts.append("sync=False")
    return ", ".join(parts) or "WriteBatch()"


def _told_bytes(data: bytes) -> str:
    return repr(data) if len(data) <= 16 else f"{data[:8]!r}… ({len(data):,} bytes)"
