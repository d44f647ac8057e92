"""What every batch carries inside its store, so that the anchor has something to compare with."""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from paxospp.errors import CorruptedError
from paxospp.model import Slot
from paxospp.storage.contract import WriteBatch

_FORMAT = 1
_STAMP = struct.Struct(">BIQQIQQQ")  # format, CRC-32 of the rest, and the fields of Stamp
_HEAD_BYTES = 5  # format and CRC


class Stamp(NamedTuple):
    """What every batch carries inside the store, atomically with the rest of it."""

    store: int
    """64 random bits drawn when the store was made; keeps parts of two stores apart."""
    number: int
    """Batches are numbered from 1 without gaps; 0 is a store being made."""
    checksum: int
    """CRC-32 of this batch, begun with the checksum of the batch before: a running one."""
    undecided: Slot
    """The lowest slot not known to be decided."""
    settled: int
    """The number of the last batch that changed ``trim``, ``snapshot`` or ``meta``."""
    lowest: Slot
    """No batch above the anchor on disk wrote a slot below this one: from here ``load`` writes anew."""

    def to_bytes(self) -> bytes:
        """The stamp with a format byte and a CRC-32."""
        data = _STAMP.pack(_FORMAT, 0, *self)
        return _STAMP.pack(_FORMAT, zlib.crc32(data[_HEAD_BYTES:]), *self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Stamp:
        """Undo ``to_bytes``; raises CorruptedError for anything it did not write."""
        if len(data) != _STAMP.size or data[0] != _FORMAT:
            raise CorruptedError("the number of the last batch is damaged, or another version of paxospp wrote it")
        _, checksum, store, number, running, undecided, settled, lowest = _STAMP.unpack(data)
        if zlib.crc32(data[_HEAD_BYTES:]) != checksum:
            raise CorruptedError("the number of the last batch is damaged: the checksum does not fit")
        return cls(store, number, running, Slot(undecided), settled, Slot(lowest))


def settles(batch: WriteBatch) -> bool:
    """Whether ``batch`` changes what no slot stands for, so that its loss cannot be told as faulty slots."""
    return batch.trim is not None or batch.snapshot is not None or bool(batch.meta)
