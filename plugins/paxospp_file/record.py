"""The encoding of one batch as one record, and what can be read from a damaged record.

Pure functions over bytes. A record is ::

    head      fixed fields, then the names of promise and snapshot, then the state block if any
    entry     head of the entry (slot, kind, ballot, length, CRC-32 of head and value), then its value
    entry     ...

The record's CRC covers the head and the heads of the entries: everything except the values. Each
entry's CRC covers its value, so every byte is summed once, and the slot of a damaged value is still
known. Both CRCs start from the store's id, and the record's from its segment and offset too: a record
of another store, or one written to the wrong place, does not verify. The record's CRC also covers the
CRC of the record before, which makes it the running checksum of the log.

Each head repeats promise, decided, first and the snapshot's name as they are *after* the batch. The
state block holds meta and the faulty slots. A record carries it if it changes either, or if it begins
a segment, so that old segments can be deleted. The block also lists slots that are no longer faulty
although nothing was written there.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from paxospp.model import Ballot, Entry, Kind, NodeId, Slot, SnapshotMeta

MAGIC = b"PxL\x01"  # the last byte is the version of this encoding

_HEAD = struct.Struct(
    ">4sI"  # magic, CRC-32
    "QIQ"  # number, checksum of the record before, number up to which all was synced
    "QQQ"  # decided, first, highest slot ever written
    "QQ"  # number of the last batch that changed trim, snapshot or meta; that changed meta
    "Q"  # oldest segment that is still needed
    "QQ"  # lowest and highest slot of the record before
    "BQQB"  # promised?, round, incarnation, length of the node's name
    "QB"  # snapshot's slot, length of its id (0: no snapshot)
    "II"  # length of the state block (0: none), number of entries
)
_ENTRY = struct.Struct(">QBQQBII")  # slot, kind, round, incarnation, node's length, value's length, CRC-32
_ENTRY_CRC = struct.Struct(">I")
_SEED = struct.Struct(">QQQ")
ENTRY_HEAD_BYTES_MAX = _ENTRY.size + 255
"""The longest head of an entry: the fixed fields and the longest name of a node."""

_BODY = len(MAGIC) + 4  # the record's CRC covers the bytes from here on


class StateBlock(msgspec.Struct, array_like=True):
    """The state block of a record."""

    meta: dict[str, bytes]
    faulty: Sequence[tuple[int, int]]
    known_empty: Sequence[tuple[int, int]] = ()
    """Slots that were faulty until this batch, and are known to be empty now."""


_encode_state = msgspec.msgpack.Encoder().encode
_decode_state = msgspec.msgpack.Decoder(StateBlock).decode


@dataclass(slots=True, kw_only=True)
class RecordHead:
    """The head of a record: all single values, as they are after its batch."""

    number: int = 0
    previous: int = 0
    """The checksum of the record before."""
    synced: int = 0
    """Every batch up to this number was synced before this record was written."""
    decided: int = 0
    first: int = 1
    highest: int = 0
    """The highest slot that was ever written, if it is known: the upper bound of slots in lost batches."""
    settled: int = 0
    """Number of the last batch that changed ``trim``, ``snapshot`` or ``meta``."""
    meta_number: int = 0
    """Number of the last batch that changed ``meta``."""
    oldest: int = 0
    """The oldest segment that the log still needs."""
    previous_low: int = 1
    previous_high: int = 0
    """Lowest and highest slot that the record before wrote; 1 and 0 if it wrote none."""
    promised: Ballot | None = None
    snapshot: SnapshotMeta | None = None


@dataclass(slots=True)
class FoundEntry:
    """An entry of a record: the offset of its head, and whether its value is intact (``whole``)."""

    slot: int
    offset: int
    value_length: int
    whole: bool


@dataclass(slots=True)
class FoundRecord:
    """A record whose CRC matched; the values of its entries may still be damaged."""

    head: RecordHead
    checksum: int
    state: StateBlock | None
    entries: list[FoundEntry]
    offset: int
    length: int


class RecordForm:
    """Encodes and decodes the records of one store."""

    def __init__(self, store: int) -> None:
        self._store = store
        self._entry_seed = zlib.crc32(_SEED.pack(store, 0, 0))

    def encode(
        self, head: RecordHead, state: StateBlock | None, entries: Sequence[Entry], *, segment: int, offset: int
    ) -> tuple[list[bytes], int, list[tuple[int, int]]]:
        """Return the record's pieces, its checksum, and each entry's offset in the record and length of value."""
        promised, snapshot = head.promised, head.snapshot
        node = promised.node.encode() if promised else b""
        id = snapshot.id.encode() if snapshot else b""
        block = _encode_state(state) if state else b""
        data = _HEAD.pack(
            MAGIC,
            0,
            head.number,
            head.previous,
            head.synced,
            head.decided,
            head.first,
            head.highest,
            head.settled,
            head.meta_number,
            head.oldest,
            head.previous_low,
            head.previous_high,
            promised is not None,
            promised.round if promised else 0,
            promised.incarnation if promised else 0,
            len(node),
            snapshot.slot if snapshot else 0,
            len(id),
            len(block),
            len(entries),
        )
        body = data[_BODY:] + node + id + block
        checksum = zlib.crc32(body, zlib.crc32(_SEED.pack(self._store, segment, offset)))
        pieces, spans, at = [b"", body], [], _BODY + len(body)
        for entry in entries:
            ballot, value = entry.ballot, entry.value
            name = ballot.node.encode()
            fields = _ENTRY.pack(entry.slot, entry.kind, ballot.round, ballot.incarnation, len(name), len(value), 0)[
                :-4
            ]
            own = zlib.crc32(value, zlib.crc32(name, zlib.crc32(fields, self._entry_seed)))
            entry_head = fields + _ENTRY_CRC.pack(own) + name
            checksum = zlib.crc32(entry_head, checksum)
            pieces += (entry_head, value)
            spans.append((at, len(value)))
            at += len(entry_head) + len(value)
        pieces[0] = MAGIC + _ENTRY_CRC.pack(checksum)
        return pieces, checksum, spans

    def decode(self, data: memoryview, *, segment: int, offset: int) -> FoundRecord | None:
        """Return the record at ``offset`` of a segment whose bytes are ``data``; None if the bytes are not a record."""
        if data[offset : offset + len(MAGIC)] != MAGIC or len(data) - offset < _HEAD.size:
            return None
        (
            _,
            checksum,
            number,
            previous,
            synced,
            decided,
            first,
            highest,
            settled,
            meta_number,
            oldest,
            previous_low,
            previous_high,
            has_promise,
            round,
            incarnation,
            node_length,
            snapshot_slot,
            id_length,
            block_length,
            count,
        ) = _HEAD.unpack_from(data, offset)
        at = offset + _HEAD.size + node_length + id_length + block_length
        if at > len(data):
            return None
        names = bytes(data[offset + _HEAD.size : at])
        running = zlib.crc32(data[offset + _BODY : at], zlib.crc32(_SEED.pack(self._store, segment, offset)))
        found: list[tuple[int, int, int, int]] = []
        for _ in range(count):
            if len(data) - at < _ENTRY.size:
                return None
            fields = _ENTRY.unpack_from(data, at)
            value = at + _ENTRY.size + fields[4]
            end = value + fields[5]
            if end > len(data):
                return None
            running = zlib.crc32(data[at:value], running)
            found.append((fields[0], at, value, end))
            at = end
        if running != checksum:
            return None
        node, id = names[:node_length], names[node_length : node_length + id_length]
        block = names[node_length + id_length :]
        try:
            head = RecordHead(
                number=number,
                previous=previous,
                synced=synced,
                decided=decided,
                first=first,
                highest=highest,
                settled=settled,
                meta_number=meta_number,
                oldest=oldest,
                previous_low=previous_low,
                previous_high=previous_high,
                promised=Ballot(round, NodeId(node.decode()), incarnation) if has_promise else None,
                snapshot=SnapshotMeta(Slot(snapshot_slot), id.decode()) if id_length else None,
            )
            state = _decode_state(block) if block_length else None
        except (ValueError, msgspec.DecodeError):
            return None
        entries = [
            FoundEntry(slot, start, end - value, self._verifies(data, start, value, end))
            for slot, start, value, end in found
        ]
        return FoundRecord(head, checksum, state, entries, offset, at - offset)

    def decode_entry(self, data: bytes, slot: int) -> Entry | None:
        """Return the entry of ``slot`` at the beginning of ``data``; None if it is damaged or another slot's."""
        if len(data) < _ENTRY.size:
            return None
        stored, kind, round, incarnation, node_length, value_length, _ = _ENTRY.unpack_from(data)
        value = _ENTRY.size + node_length
        end = value + value_length
        if stored != slot or end > len(data) or not self._verifies(memoryview(data), 0, value, end):
            return None
        name = data[_ENTRY.size : value].decode()
        return Entry(Slot(slot), Ballot(round, NodeId(name), incarnation), Kind(kind), data[value:end])

    def _verifies(self, data: memoryview, start: int, value: int, end: int) -> bool:
        crc_at = start + _ENTRY.size - 4
        own: int = _ENTRY_CRC.unpack_from(data, crc_at)[0]
        running = zlib.crc32(data[start:crc_at], self._entry_seed)
        running = zlib.crc32(data[crc_at + 4 : value], running)
        return zlib.crc32(data[value:end], running) == own
