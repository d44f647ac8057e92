"""The values of the protocol: slots, ballots, entries, memberships and names of snapshots.

They are frozen and know only how to encode and decode themselves. Anything that is stored or sent is
encoded here, so that every storage and every peer rejects the same damage.

References: Lamport, "Paxos Made Simple" (2001); van Renesse and Altinbuken, "Paxos Made
Moderately Complex" (2015), which calls an entry a pvalue.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, NewType

import msgspec

from paxospp.errors import ConfigError, CorruptedError

Slot = NewType("Slot", int)
"""A position in the log. The first one is 1; 0 means "before the first"."""

NodeId = NewType("NodeId", str)
"""The name of a node, ``[A-Za-z0-9][A-Za-z0-9_.-]{0,62}``."""

_NODE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_SNAPSHOT_ID = re.compile(r"[a-z0-9-]{1,48}")

_FORMAT = 1
_HEAD = struct.Struct(">BI")  # format, CRC-32 of all that follows
_BALLOT = struct.Struct(">QQB")  # round, incarnation, length of the node's name
_ENTRY = struct.Struct(">QBQQB")  # slot, kind, round, incarnation, length of the node's name


def check_node_id(name: str) -> NodeId:
    """Return ``name`` as a NodeId, or raise ConfigError that says which names are valid."""
    if not _NODE_ID.fullmatch(name):
        raise ConfigError(
            f"{name!r} is not a valid node name: use 1 to 63 letters, digits, '_', '.' or '-', "
            "beginning with a letter or digit"
        )
    return NodeId(name)


def _seal(body: bytes) -> bytes:
    return _HEAD.pack(_FORMAT, zlib.crc32(body)) + body


def _unseal(data: bytes, what: str) -> bytes:
    if len(data) < _HEAD.size:
        raise CorruptedError(f"{what}: only {len(data)} bytes")
    version, checksum = _HEAD.unpack_from(data)
    if version != _FORMAT:
        raise CorruptedError(f"{what}: this version of paxospp does not know format {version}")
    body = data[_HEAD.size :]
    if zlib.crc32(body) != checksum:
        raise CorruptedError(f"{what}: the checksum does not match")
    return body


class Ballot(NamedTuple):
    """A totally ordered claim to lead; elsewhere a proposal number, a view or a term.

    ``incarnation`` tells apart two disks that one node name had: a node whose disk was wiped cannot
    create a ballot that it used before.
    """

    round: int
    node: NodeId
    incarnation: int

    def __str__(self) -> str:
        return f"{self.round}.{self.node}"

    def to_bytes(self) -> bytes:
        """Encode the ballot, with a format byte and a CRC-32."""
        node = self.node.encode()
        return _seal(_BALLOT.pack(self.round, self.incarnation, len(node)) + node)

    @classmethod
    def from_bytes(cls, data: bytes) -> Ballot:
        """Decode what ``to_bytes`` wrote; raises CorruptedError for anything else."""
        body = _unseal(data, "ballot")
        try:
            round, incarnation, length = _BALLOT.unpack_from(body)
            node = body[_BALLOT.size :].decode()
        except (struct.error, UnicodeDecodeError) as error:
            raise CorruptedError(f"ballot: {error}") from error
        if len(body) != _BALLOT.size + length:
            raise CorruptedError("ballot: the length does not match")
        return cls(round, NodeId(node), incarnation)


class Kind(IntEnum):
    """How to read the value of an entry: nothing, runs of commands, or a membership."""

    NOOP = 0
    COMMANDS = 1
    MEMBERSHIP = 2


@dataclass(slots=True, frozen=True)
class Entry:
    """A value accepted in a slot under a ballot (PMMC: pvalue). ``b""`` is a valid value."""

    slot: Slot
    ballot: Ballot
    kind: Kind
    value: bytes

    def to_bytes(self) -> bytes:
        """Encode the entry, with a format byte and a CRC-32 over slot, ballot, kind and value."""
        node = self.ballot.node.encode()
        body = (
            _ENTRY.pack(self.slot, self.kind, self.ballot.round, self.ballot.incarnation, len(node)) + node + self.value
        )
        return _seal(body)

    @classmethod
    def from_bytes(cls, data: bytes, *, slot: Slot) -> Entry:
        """Decode what ``to_bytes`` wrote; raises CorruptedError for damage and for the bytes of another slot."""
        body = _unseal(data, f"entry of slot {slot}")
        try:
            stored, kind, round, incarnation, length = _ENTRY.unpack_from(body)
            node = body[_ENTRY.size : _ENTRY.size + length].decode()
            known_kind = Kind(kind)
        except (struct.error, UnicodeDecodeError, ValueError) as error:
            raise CorruptedError(f"entry of slot {slot}: {error}") from error
        if stored != slot:
            raise CorruptedError(f"entry of slot {slot}: these are the bytes of slot {stored}")
        value = body[_ENTRY.size + length :]
        return cls(slot, Ballot(round, NodeId(node), incarnation), known_kind, value)


class Change(NamedTuple):
    """A command that took effect, as ``Node.watch`` and ``Client.watch`` return it.

    The log holds no results: to get them, run the commands on a state machine of your own.
    ``arguments`` is one MessagePack array. For a machine in full control ``name`` is empty and
    ``arguments`` are the raw bytes of the command.
    """

    slot: Slot
    position: int
    """Index of the command in its slot, from 0; slot and position together identify the command."""
    time: float
    """Unix seconds, equal to the ``context.time`` of the command."""
    name: str
    arguments: bytes


@dataclass(slots=True, frozen=True)
class SnapshotMeta:
    """The name of a snapshot: the last slot it covers, and an id that is unique to each attempt to take one."""

    slot: Slot
    id: str

    def __post_init__(self) -> None:
        if not _SNAPSHOT_ID.fullmatch(self.id):
            raise ValueError(f"{self.id!r} is not a valid snapshot id: use 1 to 48 of a-z, 0-9 and '-'")

    def to_bytes(self) -> bytes:
        """Encode the name, with a format byte and a CRC-32."""
        return _seal(self.slot.to_bytes(8, "big") + self.id.encode())

    @classmethod
    def from_bytes(cls, data: bytes) -> SnapshotMeta:
        """Decode what ``to_bytes`` wrote; raises CorruptedError for anything else."""
        body = _unseal(data, "snapshot name")
        try:
            return cls(Slot(int.from_bytes(body[:8], "big")), body[8:].decode())
        except ValueError as error:
            raise CorruptedError(f"snapshot name: {error}") from error


class Member(msgspec.Struct, frozen=True, array_like=True):
    """One voter: its name, the address where peers connect, and the incarnation of its storage."""

    name: NodeId
    address: str
    incarnation: int


class Membership(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """The voters. The first membership is the value of slot 1 and fixes the settings that never change.

    ``alpha``: a membership decided in slot i governs the slots from i + alpha on, and at most
    alpha slots are undecided at once; the first membership governs from slot 2.
    ``session_expiry_s``: seconds of the log's time after which a silent session is dropped.
    ``replaces``: the slot of the membership that this one replaces; 0 for the first one.
    """

    cluster_id: bytes
    group: int
    alpha: int
    session_expiry_s: int
    replaces: Slot
    members: tuple[Member, ...]

    @property
    def names(self) -> frozenset[NodeId]:
        return frozenset(member.name for member in self.members)

    def has(self, name: NodeId, incarnation: int) -> bool:
        """Whether this incarnation of the node may vote."""
        return any(member.name == name and member.incarnation == incarnation for member in self.members)

    def to_bytes(self) -> bytes:
        """Encode the membership, with a format byte and a CRC-32, as the value of a log entry."""
        return _seal(_membership_encoder.encode(self))

    @classmethod
    def from_bytes(cls, data: bytes) -> Membership:
        """Decode what ``to_bytes`` wrote; raises CorruptedError for anything else."""
        try:
            return _membership_decoder.decode(_unseal(data, "membership"))
        except msgspec.DecodeError as error:
            raise CorruptedError(f"membership: {error}") from error


_membership_encoder = msgspec.msgpack.Encoder()
_membership_decoder = msgspec.msgpack.Decoder(Membership)
