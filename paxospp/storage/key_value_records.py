"""The keys and records of ``KeyValueStorage``, byte by byte.

====================== ===========================================================================
``e`` + slot (8 bytes)  one entry, as ``Entry.to_bytes`` writes it; big-endian, so that keys are in
                        the order of slots
``s``                   the *record*: stamp of the last batch, promise, decided, first, last, empty
                        slots, faulty slots, name of the snapshot, checksum of meta. Written with
                        every batch
``m``                   all of meta; written when it changes
``r``                   the slots whose entry was replaced, each with the CRC-32 of its newest entry;
                        written when an entry is replaced, so that an older one is never taken for it
``c`` + id + ``/`` + n  piece n (8 bytes, big-endian) of a snapshot
``n`` + id              number of pieces and bytes of a committed snapshot
``f``                   name and version of this format
====================== ===========================================================================

Every record except an entry is a format byte, a CRC-32 of key and body, and a MessagePack body. So
the record of another key is rejected like a damaged one.
"""

from __future__ import annotations

import struct
import zlib
from typing import TypeVar

import msgspec

from paxospp.errors import CorruptedError, StorageError
from paxospp.model import Ballot, Entry, Slot, SnapshotMeta
from paxospp.storage.stamp import Stamp

FORMAT_KEY = b"f"
FORMAT = b"paxospp.KeyValueStorage 1"
RECORD_KEY = b"s"
META_KEY = b"m"
REPLACED_KEY = b"r"
ENTRIES_STOP = b"f"
"""The first key above every entry."""
PIECES = (b"c", b"d")
SIZES = (b"n", b"o")

HEAD_BYTES = 5
"""Length of the format byte and the CRC-32 of an encoded entry."""

_VERSION = 1
_HEAD = struct.Struct(">BI")
_ENTRY_KEY = struct.Struct(">cQ")
_PIECE = struct.Struct(">Q")
_SLOT_MAX = 2**63 - 1


class Record(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """All single values of a store; every batch writes them with its entries."""

    promised: Ballot | None = None
    decided: int = 0
    first: int = 1
    last: int = 0
    absent: tuple[tuple[int, int], ...] = ()
    """The slots from ``first`` to ``last`` that hold no entry, so that a lost entry is noticed."""
    faulty: tuple[tuple[int, int], ...] = ()
    snapshot: tuple[int, str] | None = None
    meta_checksum: int = 0
    """CRC-32 of the record of meta; 0 if it was never written."""
    replaced_checksum: int = 0
    """CRC-32 of the record of replaced entries; 0 if it was never written."""


class Size(msgspec.Struct, frozen=True, array_like=True):
    """The size of a committed snapshot: its pieces, its bytes and their checksum."""

    slot: int
    pieces: int
    size: int
    checksum: int


Body = TypeVar("Body", Record, Size, dict[str, bytes], dict[int, int])

_encoder = msgspec.msgpack.Encoder()
_record_decoder = msgspec.msgpack.Decoder(Record)
_size_decoder = msgspec.msgpack.Decoder(Size)
_meta_decoder = msgspec.msgpack.Decoder(dict[str, bytes])
_replaced_decoder = msgspec.msgpack.Decoder(dict[int, int])


def entry_key(slot: int) -> bytes:
    """Return the key of a slot, or a bound of a scan: above the greatest possible slot, ``ENTRIES_STOP``."""
    return _ENTRY_KEY.pack(b"e", slot) if slot <= _SLOT_MAX else ENTRIES_STOP


def slot_of(key: bytes) -> Slot:
    """Return the slot of an entry's key."""
    if len(key) != _ENTRY_KEY.size:
        raise CorruptedError(f"{key!r} is not the key of an entry")
    return Slot(_ENTRY_KEY.unpack(key)[1])


def piece_key(id: str, number: int) -> bytes:
    """Return the key of piece ``number`` of snapshot ``id``."""
    return b"c" + id.encode() + b"/" + _PIECE.pack(number)


def size_key(id: str) -> bytes:
    """Return the key of the size of the committed snapshot ``id``."""
    return b"n" + id.encode()


def encode_body(record: Record) -> bytes:
    """Encode the part of the record that the running checksum covers."""
    return _encoder.encode(record)


def encode_record(stamp: Stamp, body: bytes) -> bytes:
    """Return the value for ``RECORD_KEY``."""
    return _seal(RECORD_KEY, stamp.to_bytes() + body)


def decode_record(data: bytes) -> tuple[Stamp, Record]:
    """Decode what ``encode_record`` wrote; raises CorruptedError for anything else."""
    body = _unseal(RECORD_KEY, data)
    size = len(_EMPTY_STAMP)
    return Stamp.from_bytes(body[:size]), _decode(_record_decoder, body[size:])


def encode_meta(meta: dict[str, bytes]) -> bytes:
    """Return the value for ``META_KEY``."""
    return _seal(META_KEY, _encoder.encode(meta))


def decode_meta(data: bytes | None, checksum: int) -> dict[str, bytes]:
    """Decode what ``encode_meta`` wrote; ``checksum`` is the one in the record, so that an older meta is rejected.

    Raises:
        CorruptedError: meta is damaged, missing or an older one.
    """
    if data is None and checksum == 0:
        return {}
    if data is None or zlib.crc32(data) != checksum:
        raise CorruptedError("meta is damaged or missing, so the store does not know which node it belongs to")
    return _decode(_meta_decoder, _unseal(META_KEY, data))


def encode_replaced(replaced: dict[int, int]) -> bytes:
    """Return the value for ``REPLACED_KEY``."""
    return _seal(REPLACED_KEY, _encoder.encode(replaced))


def decode_replaced(data: bytes | None, checksum: int) -> dict[int, int]:
    """Decode what ``encode_replaced`` wrote; ``checksum`` is the one in the record.

    With a ``checksum`` of 0 no entry counts as replaced, even if an earlier list is still stored.

    Raises:
        CorruptedError: the list is damaged, missing or an older one.
    """
    if checksum == 0:
        return {}
    if data is None or zlib.crc32(data) != checksum:
        raise CorruptedError("the list of replaced entries is damaged, missing or an older one")
    return _decode(_replaced_decoder, _unseal(REPLACED_KEY, data))


def entry_checksum(data: bytes) -> int:
    """Return the CRC-32 stored in an encoded entry."""
    return int.from_bytes(data[1:HEAD_BYTES], "big")


def encode_size(meta: SnapshotMeta, pieces: int, size: int, checksum: int) -> bytes:
    """Return the value for ``size_key(meta.id)``."""
    return _seal(size_key(meta.id), _encoder.encode(Size(meta.slot, pieces, size, checksum)))


def decode_size(meta: SnapshotMeta, data: bytes | None) -> Size:
    """Decode what ``encode_size`` wrote; raises CorruptedError if it is damaged, missing or another snapshot's."""
    if data is None:
        raise CorruptedError(f"the snapshot of slot {meta.slot} is missing")
    size = _decode(_size_decoder, _unseal(size_key(meta.id), data))
    if size.slot != meta.slot:
        raise CorruptedError(f"the snapshot {meta.id} is of slot {size.slot}, not {meta.slot}")
    return size


def check_format(data: bytes | None) -> None:
    """Raise StorageError unless ``data``, the value of ``FORMAT_KEY``, is this version's format or missing."""
    if data is not None and data != FORMAT:
        raise StorageError(f"the store has the format {data[:40]!r}; this version of paxospp reads {FORMAT.decode()!r}")


def decode_entry(slot: Slot, data: bytes) -> Entry:
    """Decode the entry of ``slot``; raises CorruptedError, which names the slot."""
    try:
        return Entry.from_bytes(data, slot=slot)
    except CorruptedError as error:
        raise CorruptedError(str(error), [range(slot, slot + 1)]) from error


def _seal(key: bytes, body: bytes) -> bytes:
    return _HEAD.pack(_VERSION, zlib.crc32(body, zlib.crc32(key))) + body


def _unseal(key: bytes, data: bytes) -> bytes:
    if len(data) < _HEAD.size:
        raise CorruptedError(f"the record {key!r} is too short")
    version, checksum = _HEAD.unpack_from(data)
    body = data[_HEAD.size :]
    if version != _VERSION:
        raise CorruptedError(f"record {key!r}: this version of paxospp does not know format {version}")
    if zlib.crc32(body, zlib.crc32(key)) != checksum:
        raise CorruptedError(f"the record {key!r} is damaged: the checksum does not match")
    return body


def _decode(decoder: msgspec.msgpack.Decoder[Body], data: bytes) -> Body:
    try:
        return decoder.decode(data)
    except msgspec.DecodeError as error:
        raise CorruptedError(f"a record cannot be decoded: {error}") from error


_EMPTY_STAMP = Stamp(0, 0, 0, Slot(1), 0, Slot(1)).to_bytes()
