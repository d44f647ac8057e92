"""Describe messages, writes and entries in one line each, for scenarios and failures."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import assert_never

from paxospp.errors import CorruptedError
from paxospp.messages import (
    Accept,
    Accepted,
    CatchUp,
    DecidedEntries,
    Heartbeat,
    HeartbeatAnswer,
    Nack,
    Prepare,
    Promise,
    ProtocolMessage,
    ReadAnswer,
    ReadRequest,
)
from paxospp.model import Entry, Kind, Membership
from paxospp.storage.contract import WriteBatch


def describe_value(kind: Kind, value: bytes) -> str:
    """Return ``noop``, ``{n1 n2 n3}`` for a membership, or the value as text if it is short."""
    match kind:
        case Kind.NOOP:
            return "noop"
        case Kind.MEMBERSHIP:
            try:
                return "{" + " ".join(sorted(Membership.from_bytes(value).names)) + "}"
            except CorruptedError:
                return "{damaged}"
        case Kind.COMMANDS:
            return value.decode(errors="backslashreplace") if len(value) <= 40 else f"<{len(value)} bytes>"


def describe_entry(entry: Entry) -> str:
    """Return an entry as ``slot:value@ballot``."""
    return f"{entry.slot}:{describe_value(entry.kind, entry.value)}@{entry.ballot}"


def describe_write(batch: WriteBatch) -> str:
    """Return what ``batch`` writes, as ``field=value`` pairs."""
    parts: list[str] = []
    if batch.promised is not None:
        parts.append(f"promised={batch.promised}")
    if batch.accepted:
        parts.append(f"accepted=[{_join(batch.accepted)}]")
    if batch.decided is not None:
        parts.append(f"decided={batch.decided}")
    if batch.trim is not None:
        parts.append(f"trim={batch.trim}")
    if batch.faulty_until is not None:
        parts.append(f"faulty_until={batch.faulty_until}")
    if batch.snapshot is not None:
        parts.append(f"snapshot={batch.snapshot.slot}")
    if batch.meta and batch.trim is None:  # a batch that trims always writes meta
        parts.append(f"meta=[{' '.join(sorted(batch.meta))}]")
    if not batch.sync:
        parts.append("unsynced")
    return " ".join(parts) or "nothing"


def describe_message(message: ProtocolMessage) -> str:
    """Return the kind of ``message`` and its most important fields."""
    match message:
        case Prepare():
            return f"Prepare b={message.ballot} from={message.start}"
        case Promise():
            part = f" part={message.part + 1}/{message.parts}" if message.parts > 1 else ""
            faulty = f" faulty=[{_ranges(message.faulty)}]" if message.faulty else ""
            first = f" first={message.first}" if message.first > 1 else ""
            return (
                f"Promise b={message.ballot} decided={message.decided}{first} "
                f"accepted=[{_join(message.entries)}]{faulty}{part}"
            )
        case Accept():
            value = describe_value(message.kind, message.value)
            return f"Accept b={message.ballot} {message.slot}:{value} decided={message.decided_up_to}"
        case Accepted():
            return f"Accepted b={message.ballot} slot={message.slot}"
        case Nack():
            return f"Nack refused={message.refused} promised={message.promised}"
        case Heartbeat():
            if message.leading is None:
                return f"Heartbeat round={message.round}"
            unconnected = "" if message.quorum_connected else " unconnected"
            leading = f"leading={message.leading} decided={message.decided_up_to}"
            return f"Heartbeat round={message.round} {leading}{unconnected}"
        case HeartbeatAnswer():
            flags = [] if message.disk_answers else ["disk-hangs"]
            flags.extend(["connected"] if message.quorum_connected else [])
            flags.extend([f"lease={message.lease / 1_000_000:g}"] if message.lease else [])
            return " ".join(
                [f"HeartbeatAnswer round={message.round} promised={message.promised} decided={message.decided}", *flags]
            )
        case CatchUp():
            return f"CatchUp {message.start}..{message.stop - 1}"
        case DecidedEntries():
            first = f" first={message.first}" if message.first > 1 else ""
            return f"DecidedEntries [{_join(message.entries)}] decided={message.decided}{first}"
        case ReadRequest():
            return f"ReadRequest counter={message.counter}" + (" lease" if message.lease else "")
        case ReadAnswer():
            return f"ReadAnswer counter={message.counter} slot={message.slot}"
        case _:
            assert_never(message)


def _join(entries: Iterable[Entry]) -> str:
    return " ".join(describe_entry(entry) for entry in entries)


def _ranges(ranges: Sequence[range]) -> str:
    return " ".join(
        f"{slots.start}.." if slots.stop >= sys.maxsize else f"{slots.start}..{slots.stop - 1}" for slots in ranges
    )
