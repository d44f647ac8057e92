"""The keys and records that ``KeyValueStorage`` keeps, byte by byte.

====================== ===========================================================================
``e`` + slot (8 bytes)  one entry, as ``Entry.to_bytes`` writes it; big-endian, so that the order
                        of the keys is the order of the slots
``s``                   the *record*: stamp of the last batch, promise, decided, first, last, the
                        slots not held, the faulty ones, the snapshot's name, the checksum of meta.
                        Written with every batch
``m``                   meta, all of it; written when it changes
``r``                   the slots that were written again, each with the CRC-32 of its newest entry;
                        written when one is, so that an older entry is never taken for the newest
``c`` + id + ``/`` + n  piece n (8 bytes, big-endian) of a snapshot
``n`` + id              how many pieces and bytes a committed snapshot has
``f``                   what wrote all this, for whoever finds the directory
====================== ===========================================================================

Each record but the entries is a format byte, a CRC-32 of key and body, and a MessagePack body: the
record of another key is refused like a damaged one.
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
"""How much of an encoded entry is its format byte and its CRC-32."""

_VERSION = 1
_HEAD = struct.Struct(">BI")
_ENTRY_KEY = struct.Struct(">cQ")
_PIECE = struct.Struct(">Q")
_SLOT_MAX = 2**63 - 1


class Record(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """All single values of a store: what every batch writes besides its entries."""

    promised: Ballot | None = None
    decided: int = 0
    first: int = 1
    last: int = 0
    absent: tuple[tuple[int, int], ...] = ()
    """The slots from ``first`` to ``last`` that hold no entry, so that a lost one is told from them."""
    faulty: tuple[tuple[int, int], ...] = ()
    snapshot: tuple[int, str] | None = None
    meta_checksum: int = 0
    """The CRC-32 of meta's record; 0: there is none."""
    replaced_checksum: int = 0
    """The same of the slots written again."""


class Size(msgspec.Struct, frozen=True, array_like=True):
    """What a committed snapshot consists of."""

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
    """The key of a slot, or the bound of a scan; every slot above the greatest possible is ``ENTRIES_STOP``."""
    return _ENTRY_KEY.pack(b"e", slot) if slot <= _SLOT_MAX else ENTRIES_STOP


def slot_of(key: bytes) -> Slot:
    """Undo ``entry_key``."""
    if len(key) != _ENTRY_KEY.size:
        raise CorruptedError(f"{key!r} is no key of an entry")
    return Slot(_ENTRY_KEY.unpack(key)[1])


def piece_key(id: str, number: int) -> bytes:
    """The key of one piece of a snapshot."""
    return b"c" + id.encode() + b"/" + _PIECE.pack(number)


def size_key(id: str) -> bytes:
    """The key of the size of a committed snapshot."""
    return b"n" + id.encode()


def encode_body(record: Record) -> bytes:
    """The part of the record that the running checksum covers."""
    return _encoder.encode(record)


def encode_record(stamp: Stamp, body: bytes) -> bytes:
    """The value at ``RECORD_KEY``."""
    return _seal(RECORD_KEY, stamp.to_bytes() + body)


def decode_record(data: bytes) -> tuple[Stamp, Record]:
    """Undo ``encode_record``; raises CorruptedError for anything it did not write."""
    body = _unseal(RECORD_KEY, data)
    size = len(_EMPTY_STAMP)
    return Stamp.from_bytes(body[:size]), _decode(_record_decoder, body[size:])


def encode_meta(meta: dict[str, bytes]) -> bytes:
    """The value at ``META_KEY``."""
    return _seal(META_KEY, _encoder.encode(meta))


def decode_meta(data: bytes | None, checksum: int) -> dict[str, bytes]:
    """Undo ``encode_meta``; ``checksum`` is what the record says, so that an older meta is damage too."""
    if data is None and checksum == 0:
        return {}
    if data is None or zlib.crc32(data) != checksum:
        raise CorruptedError("meta is damaged or missing: this store cannot say whose it is")
    return _decode(_meta_decoder, _unseal(META_KEY, data))


def encode_replaced(replaced: dict[int, int]) -> bytes:
    """The value at ``REPLACED_KEY``."""
    return _seal(REPLACED_KEY, _encoder.encode(replaced))


def decode_replaced(data: bytes | None, checksum: int) -> dict[int, int]:
    """Undo ``encode_replaced``; raises CorruptedError for another one than the record names.

    A ``checksum`` of 0 says that there is none, whatever is left of an earlier one.
    """
    if checksum == 0:
        return {}
    if data is None or zlib.crc32(data) != checksum:
        raise CorruptedError("the list of the slots written again is damaged, missing or an older one")
    return _decode(_replaced_decoder, _unseal(REPLACED_KEY, data))


def entry_checksum(data: bytes) -> int:
    """The CRC-32 that an encoded entry carries."""
    return int.from_bytes(data[1:HEAD_BYTES], "big")


def encode_size(meta: SnapshotMeta, pieces: int, size: int, checksum: int) -> bytes:
    """The value at ``size_key``."""
    return _seal(size_key(meta.id), _encoder.encode(Size(meta.slot, pieces, size, checksum)))


def decode_size(meta: SnapshotMeta, data: bytes | None) -> Size:
    """Undo ``encode_size``; raises CorruptedError too when it is missing or of another snapshot."""
    if data is None:
        raise CorruptedError(f"the snapshot of slot {meta.slot} is missing")
    size = _decode(_size_decoder, _unseal(size_key(meta.id), data))
    if size.slot != meta.slot:
        raise CorruptedError(f"the snapshot {meta.id} is of slot {size.slot}, not {meta.slot}")
    return size


def check_format(data: bytes | None) -> None:
    """Raise unless ``data``, the value at ``FORMAT_KEY``, is what this version writes, or nothing."""
    if data is not None and data != FORMAT:
        raise StorageError(f"the store says it is {data[:40]!r}; this version of paxospp reads {FORMAT.decode()!r}")


def decode_entry(slot: Slot, data: bytes) -> Entry:
    """The entry of ``slot``; CorruptedError names the slot."""
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
        raise CorruptedError(f"the record {key!r} has format {version}, which this version of paxospp does not know")
    if zlib.crc32(body, zlib.crc32(key)) != checksum:
        raise CorruptedError(f"the record {key!r} is damaged: its checksum does not fit")
    return body


def _decode(decoder: msgspec.msgpack.Decoder[Body], data: bytes) -> Body:
    try:
        return decoder.decode(data)
    except msgspec.DecodeError as error:
        raise CorruptedError(f"a record cannot be read: {error}") from error


_EMPTY_STAMP = Stamp(0, 0, 0, Slot(1), 0, Slot(1)).to_bytes()
