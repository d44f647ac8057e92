"""How a traced process says where it is: lines such as ``offer 7`` and ``ack 7``.

They go, one ``write`` each, to a file that the recorder passes on by number in the environment, so
that they stand in the trace at their place among the writes and syncs.
"""

from __future__ import annotations

import os

DESCRIPTOR = "PAXOSPP_MARKS"
"""The environment variable that holds the number of the open file for marks."""


def mark(text: str) -> None:
    """Say ``text`` (one line) there; on standard output where nobody records."""
    os.write(int(os.environ.get(DESCRIPTOR, "1")), text.encode() + b"\n")


def offer(number: int) -> None:
    """Batch ``number`` is about to be persisted: it may be there from now on."""
    mark(f"offer {number}")


def acknowledge(number: int) -> None:
    """Batch ``number`` and all before it were persisted: they have to be there from now on."""
    mark(f"ack {number}")


def numbered(text: str) -> tuple[str, int] | None:
    """``("offer", 7)`` or ``("ack", 7)``; None for any other line."""
    word, _, number = text.partition(" ")
    return (word, int(number)) if word in ("offer", "ack") and number.isdecimal() else None
