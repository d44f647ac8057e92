"""The stamp that a store keeps with every batch, to be compared with the anchor at start-up."""

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
    """The number of a batch and what goes with it; stored atomically with the batch."""

    store: int
    """64 random bits drawn when the store was made, so that parts of two stores are never mixed."""
    number: int
    """Batches are numbered from 1 without gaps; 0 means that the store is being made."""
    checksum: int
    """Running CRC-32 over all batches: that of this batch, continued from the checksum of the batch before."""
    undecided: Slot
    """The lowest slot that is not known to be decided."""
    settled: int
    """The number of the last batch that changed ``trim``, ``snapshot`` or ``meta``."""
    lowest: Slot
    """No batch above the anchor on disk wrote a slot below this one, so ``load`` writes entries again from here."""

    def to_bytes(self) -> bytes:
        """Encode the stamp, with a format byte and a CRC-32."""
        data = _STAMP.pack(_FORMAT, 0, *self)
        return _STAMP.pack(_FORMAT, zlib.crc32(data[_HEAD_BYTES:]), *self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Stamp:
        """Decode what ``to_bytes`` wrote; raises CorruptedError for anything else."""
        if len(data) != _STAMP.size or data[0] != _FORMAT:
            raise CorruptedError("the number of the last batch is damaged, or another version of paxospp wrote it")
        _, checksum, store, number, running, undecided, settled, lowest = _STAMP.unpack(data)
        if zlib.crc32(data[_HEAD_BYTES:]) != checksum:
            raise CorruptedError("the number of the last batch is damaged: the checksum does not match")
        return cls(store, number, running, Slot(undecided), settled, Slot(lowest))


def settles(batch: WriteBatch) -> bool:
    """Return whether ``batch`` changes something other than slots, so that faulty slots cannot report its loss."""
    return batch.trim is not None or batch.snapshot is not None or bool(batch.meta)
