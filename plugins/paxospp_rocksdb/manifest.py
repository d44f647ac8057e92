"""Checks the MANIFEST before RocksDB reads it, because on some damage RocksDB never returns.

A MANIFEST has the format of RocksDB's write-ahead logs: blocks of 32 KiB that hold records, each with
a head of a checksum (4 bytes), a length (2) and a type (1). Types above 4 occur only in logs that are
recycled, which a MANIFEST never is. If a flipped bit turns a type into one of these, RocksDB mistakes
the rest for that of an old log and loops for ever, holding the GIL. RocksDB finds all other damage itself,
so this module reads the heads of records and no checksums.

Reference: https://github.com/facebook/rocksdb/wiki/Write-Ahead-Log-File-Format
"""

from __future__ import annotations

import os

from paxospp import CorruptedError

BLOCK_BYTES = 32 << 10
HEAD_BYTES = 7
LAST_TYPE = 4
"""The types are zero (preallocated space), full, first, middle and last."""


def check_manifest(directory: str) -> None:
    """Raise CorruptedError if the MANIFEST that ``CURRENT`` names holds a record of an impossible type.

    A file that is missing, empty, torn or unreadable is left to RocksDB.
    """
    try:
        with open(os.path.join(directory, "CURRENT"), "rb") as file:
            name = file.read(256).strip()
        with open(os.path.join(os.fsencode(directory), name), "rb") as file:
            at = 0
            while block := file.read(BLOCK_BYTES):
                if (found := _strange_record(block)) is not None:
                    raise CorruptedError(
                        f"{os.path.join(directory, os.fsdecode(name))}: the record at {at + found} is of a type "
                        f"({block[found + HEAD_BYTES - 1]}) that no MANIFEST holds"
                    )
                at += len(block)
    except (OSError, ValueError):  # ValueError: CURRENT holds a zero byte, so it is not a file name
        return


def _strange_record(block: bytes) -> int | None:
    """Return the offset of the first record of an unknown type, or None."""
    at = 0
    while at + HEAD_BYTES <= len(block):
        length, type = int.from_bytes(block[at + 4 : at + 6], "little"), block[at + HEAD_BYTES - 1]
        if type > LAST_TYPE:
            return at
        if type == length == 0:  # preallocated space: the rest of the block is empty
            return None
        at += HEAD_BYTES + length
    return None
