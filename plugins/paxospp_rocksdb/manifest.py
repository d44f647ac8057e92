"""A look at the MANIFEST before RocksDB sees it, for there is damage on which RocksDB never returns.

A MANIFEST has the format of its write-ahead logs: blocks of 32 KiB, in them records with a head of a
checksum (4 bytes), a length (2) and a type (1). The types above 4 belong to logs that are written over,
which a MANIFEST never is. If one flipped bit makes such a type out of a common one, RocksDB's reader
takes the rest for an old log's and goes round in a circle, holding the GIL. Everything else RocksDB
checks by itself: this reads heads, no checksums.

Reference: https://github.com/facebook/rocksdb/wiki/Write-Ahead-Log-File-Format
"""

from __future__ import annotations

import os

from paxospp import CorruptedError

BLOCK_BYTES = 32 << 10
HEAD_BYTES = 7
LAST_TYPE = 4
"""Zero (room for later), full, first, middle, last."""


def check_manifest(directory: str) -> None:
    """Raise CorruptedError if the MANIFEST that ``CURRENT`` names holds records that no MANIFEST holds.

    A file that is missing, empty, torn or cannot be read is for RocksDB to judge.
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
    except (OSError, ValueError):  # ValueError: CURRENT holds a zero byte, and names no file
        return


def _strange_record(block: bytes) -> int | None:
    """Where a record of an unknown type begins, if there is one."""
    at = 0
    while at + HEAD_BYTES <= len(block):
        length, type = int.from_bytes(block[at + 4 : at + 6], "little"), block[at + HEAD_BYTES - 1]
        if type > LAST_TYPE:
            return at
        if type == length == 0:  # room for later: nothing more stands in this block
            return None
        at += HEAD_BYTES + length
    return None
