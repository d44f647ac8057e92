"""Reads everything that a ``KeyValueStorage`` finds at start-up, and finds the faulty slots.

The record lists the slots that hold an entry. A listed slot is faulty if its entry is missing,
unreadable or damaged; an entry in a slot that is not listed makes that slot faulty too. Entries that
may not be durable yet are returned, so that the caller can write them again. Nothing is written here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from paxospp.errors import CorruptedError
from paxospp.model import Ballot, Slot, SnapshotMeta
from paxospp.storage.anchor import Recovery
from paxospp.storage.key_value_records import (
    ENTRIES_STOP,
    FORMAT,
    FORMAT_KEY,
    META_KEY,
    RECORD_KEY,
    REPLACED_KEY,
    Record,
    check_format,
    decode_entry,
    decode_meta,
    decode_record,
    decode_replaced,
    entry_checksum,
    entry_key,
    slot_of,
)
from paxospp.storage.slot_set import SlotSet
from paxospp.storage.stamp import Stamp

Scan = Callable[[bytes, bytes], Iterator[tuple[bytes, bytes]]]

PROBES_ONE_BY_ONE = 512
"""The number of slots after an unreadable one that are probed one by one before the steps double."""


@dataclass(slots=True, frozen=True)
class LoadedStore:
    """The state that ``load_keys`` found, and what the caller has to write again."""

    stamp: Stamp
    promised: Ballot | None
    decided: int
    first: int
    last: int
    absent: SlotSet
    faulty: SlotSet
    snapshot: SnapshotMeta | None
    meta: dict[str, bytes]
    meta_checksum: int
    replaced: dict[int, int]
    replaced_checksum: int
    to_rewrite: list[tuple[bytes, bytes]]
    """Keys and values to write again, synced, before ``load`` returns."""


def load_keys(
    get: Callable[[bytes], bytes | None], scan: Scan, recover: Callable[[Stamp | None], Recovery]
) -> LoadedStore:
    """Read every key; ``recover`` compares the last batch with the anchor.

    Raises:
        CorruptedError: a record that is not an entry is damaged or missing.
        StorageError: another version of paxospp wrote the store.
    """
    check_format(get(FORMAT_KEY))
    data = get(RECORD_KEY)
    found, record = (None, Record()) if data is None else decode_record(data)
    recovery = recover(found)
    meta_data = get(META_KEY)
    meta = decode_meta(meta_data, record.meta_checksum)

    faulty = SlotSet(range(*slots) for slots in record.faulty)
    if recovery.lost is not None:
        faulty.add(recovery.lost)
    absent = SlotSet(range(*slots) for slots in record.absent)
    to_rewrite = [(FORMAT_KEY, FORMAT)]
    if record.meta_checksum and meta_data is not None:
        to_rewrite.append((META_KEY, meta_data))
    replaced_data = get(REPLACED_KEY)
    try:
        replaced = decode_replaced(replaced_data, record.replaced_checksum)
        if replaced and replaced_data is not None:
            to_rewrite.append((REPLACED_KEY, replaced_data))
    except CorruptedError:  # any entry may be an older one that was replaced
        replaced = {}
        faulty.add(range(record.first, record.last + 1))
    _check_entries(scan, record, absent, faulty, replaced, recovery.stamp.lowest, to_rewrite)

    promises = [promise for promise in (record.promised, recovery.promised) if promise is not None]
    return LoadedStore(
        stamp=recovery.stamp,
        promised=max(promises, default=None),
        decided=record.decided,
        first=record.first,
        last=record.last,
        absent=absent,
        faulty=faulty,
        snapshot=None if record.snapshot is None else SnapshotMeta(Slot(record.snapshot[0]), record.snapshot[1]),
        meta=meta,
        meta_checksum=record.meta_checksum,
        replaced=replaced,
        replaced_checksum=record.replaced_checksum if replaced else 0,
        to_rewrite=to_rewrite,
    )


def _check_entries(
    scan: Scan,
    record: Record,
    absent: SlotSet,
    faulty: SlotSet,
    replaced: dict[int, int],
    lowest: int,
    to_rewrite: list[tuple[bytes, bytes]],
) -> None:
    """Add damaged and missing slots to ``faulty``, and entries from ``lowest`` on to ``to_rewrite``."""
    missing = SlotSet()
    next_slot, stop = record.first, max(record.last, record.decided) + 1
    for slots, data in _walk(scan, record.first, record.last):
        slot = Slot(slots.start)
        if slot > next_slot:
            missing.add(range(next_slot, min(slot, stop)))
        next_slot = slots.stop
        if data is None or slot > record.last or slot in absent or not _is_intact(slot, data):
            faulty.add(slots)
        elif slot in replaced and replaced[slot] != entry_checksum(data):
            faulty.add(slots)  # older than the entry that was written last
        elif slot >= lowest:
            to_rewrite.append((entry_key(slot), data))
    missing.add(range(next_slot, stop))
    for slots in absent.ranges:
        missing.discard(range(max(slots.start, record.decided + 1), slots.stop))
    for slots in missing.ranges:
        faulty.add(slots)


def _is_intact(slot: Slot, data: bytes) -> bool:
    try:
        decode_entry(slot, data)
    except CorruptedError:
        return False
    return True


def _walk(scan: Scan, first: int, last: int) -> Iterator[tuple[range, bytes | None]]:
    """Yield the slot of every entry from ``first`` on, as a range, with its bytes; None with an unreadable range."""
    at = first
    while True:
        try:
            for key, data in scan(entry_key(at), ENTRIES_STOP):
                slot = slot_of(key)
                yield range(slot, slot + 1), data
                at = slot + 1
            return
        except CorruptedError:
            if at > last:
                return  # no batch wrote anything above ``last``
            readable = _next_readable(scan, at, last)
            yield range(at, readable), None
            at = readable


def _next_readable(scan: Scan, unreadable: int, last: int) -> int:
    """Return the next slot from which a scan succeeds; ``last + 1`` if every scan fails."""
    step, tried = 1, 0
    at = unreadable + 1
    while at <= last:
        try:
            for key, _ in scan(entry_key(at), ENTRIES_STOP):
                slot_of(key)
                break
            return at
        except CorruptedError:
            tried += 1
            if tried > PROBES_ONE_BY_ONE:
                step *= 2
            at += step
    return last + 1
