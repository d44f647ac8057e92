"""Marks: the lines by which a traced process reports its progress, such as ``offer 7`` and ``ack 7``.

Each mark is one ``write`` to a file whose descriptor number the recorder passes in the environment. So the trace shows
the marks in their order among the writes and syncs.
"""

from __future__ import annotations

import os

DESCRIPTOR = "PAXOSPP_MARKS"
"""The environment variable that holds the number of the descriptor for marks."""


def mark(text: str) -> None:
    """Write ``text`` (one line) as a mark; to standard output if the process is not traced."""
    os.write(int(os.environ.get(DESCRIPTOR, "1")), text.encode() + b"\n")


def offer(number: int) -> None:
    """Report that batch ``number`` is about to be persisted: it may survive a power cut from now on."""
    mark(f"offer {number}")


def acknowledge(number: int) -> None:
    """Report that batch ``number`` and all before it are durable: they must survive a power cut from now on."""
    mark(f"ack {number}")


def numbered(text: str) -> tuple[str, int] | None:
    """Parse a mark: return ``("offer", 7)`` or ``("ack", 7)``, or None for any other line."""
    word, _, number = text.partition(" ")
    return (word, int(number)) if word in ("offer", "ack") and number.isdecimal() else None
