"""The words of the protocol: ballots, slots, entries, memberships, snapshots' names.

Frozen values without behaviour beyond their own bytes. What is stored or sent is encoded
here, once, so that every storage and every peer refuses the same damage.

References: Lamport, "Paxos Made Simple" (2001); van Renesse and Altinbuken, "Paxos Made
Moderately Complex" (2015), whose pvalue is our entry.
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
"""A position in the log; the first one is 1, and 0 stands for "before the first"."""

NodeId = NewType("NodeId", str)
"""The name of a node, ``[A-Za-z0-9][A-Za-z0-9_.-]{0,62}``."""

_NODE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_SNAPSHOT_ID = re.compile(r"[a-z0-9-]{1,48}")

_FORMAT = 1
_HEAD = struct.Struct(">BI")  # format, CRC-32 of all that follows
_BALLOT = struct.Struct(">QQB")  # round, incarnation, length of the node's name
_ENTRY = struct.Struct(">QBQQB")  # slot, kind, round, incarnation, length of the node's name


def check_node_id(name: str) -> NodeId:
    """Return ``name`` as a NodeId, or raise ConfigError saying what a name may look like."""
    if not _NODE_ID.fullmatch(name):
        raise ConfigError(
            f"{name!r} is no name for a node: use 1 to 63 letters, digits, '_', '.' or '-', "
            "beginning with a letter or digit"
        )
    return NodeId(name)


def _seal(body: bytes) -> bytes:
    return _HEAD.pack(_FORMAT, zlib.crc32(body)) + body


def _unseal(data: bytes, what: str) -> bytes:
    if len(data) < _HEAD.size:
        raise CorruptedError(f"{what}: {len(data)} bytes are too few")
    version, checksum = _HEAD.unpack_from(data)
    if version != _FORMAT:
        raise CorruptedError(f"{what}: format {version} is not one that this version of paxospp knows")
    body = data[_HEAD.size :]
    if zlib.crc32(body) != checksum:
        raise CorruptedError(f"{what}: the checksum does not fit")
    return body


class Ballot(NamedTuple):
    """A totally ordered claim to lead (a proposal number, view or term elsewhere).

    The incarnation keeps two lives of one name apart: a node whose disk was wiped can never
    mint a ballot that its former life has used.
    """

    round: int
    node: NodeId
    incarnation: int

    def __str__(self) -> str:
        return f"{self.round}.{self.node}"

    def to_bytes(self) -> bytes:
        """The ballot with a format byte and a CRC-32."""
        node = self.node.encode()
        return _seal(_BALLOT.pack(self.round, self.incarnation, len(node)) + node)

    @classmethod
    def from_bytes(cls, data: bytes) -> Ballot:
        """Undo ``to_bytes``; raises CorruptedError for anything it did not write."""
        body = _unseal(data, "ballot")
        try:
            round, incarnation, length = _BALLOT.unpack_from(body)
            node = body[_BALLOT.size :].decode()
        except (struct.error, UnicodeDecodeError) as error:
            raise CorruptedError(f"ballot: {error}") from error
        if len(body) != _BALLOT.size + length:
            raise CorruptedError("ballot: the length does not fit")
        return cls(round, NodeId(node), incarnation)


class Kind(IntEnum):
    """What the value of an entry is."""

    NOOP = 0
    COMMANDS = 1
    MEMBERSHIP = 2


@dataclass(slots=True, frozen=True)
class Entry:
    """A value accepted in a slot under a ballot (PMMC: pvalue); ``b""`` is a value too."""

    slot: Slot
    ballot: Ballot
    kind: Kind
    value: bytes

    def to_bytes(self) -> bytes:
        """The entry with a format byte and a CRC-32 that covers slot, ballot, kind and value."""
        node = self.ballot.node.encode()
        body = (
            _ENTRY.pack(self.slot, self.kind, self.ballot.round, self.ballot.incarnation, len(node)) + node + self.value
        )
        return _seal(body)

    @classmethod
    def from_bytes(cls, data: bytes, *, slot: Slot) -> Entry:
        """Undo ``to_bytes``; raises CorruptedError for damage and for another slot's record."""
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
    """A command that took effect: what ``Node.watch`` and ``Client.watch`` tell of the log.

    What came of it is not in the log: whoever wants results runs the commands on a machine of
    his own. ``arguments`` is one MessagePack array; for a machine in full control ``name`` is
    empty and they are the bytes it was given.
    """

    slot: Slot
    position: int
    """Its place in its slot, from 0; slot and position together identify it."""
    time: float
    """Unix seconds, as ``context.time`` was."""
    name: str
    arguments: bytes


@dataclass(slots=True, frozen=True)
class SnapshotMeta:
    """The name of a snapshot: the last slot it covers, and one id per attempt to take it."""

    slot: Slot
    id: str

    def __post_init__(self) -> None:
        if not _SNAPSHOT_ID.fullmatch(self.id):
            raise ValueError(f"{self.id!r} is no snapshot id: use 1 to 48 of a-z, 0-9 and '-'")

    def to_bytes(self) -> bytes:
        """The name with a format byte and a CRC-32."""
        return _seal(self.slot.to_bytes(8, "big") + self.id.encode())

    @classmethod
    def from_bytes(cls, data: bytes) -> SnapshotMeta:
        """Undo ``to_bytes``; raises CorruptedError for anything it did not write."""
        body = _unseal(data, "snapshot's name")
        try:
            return cls(Slot(int.from_bytes(body[:8], "big")), body[8:].decode())
        except ValueError as error:
            raise CorruptedError(f"snapshot's name: {error}") from error


class Member(msgspec.Struct, frozen=True, array_like=True):
    """One voter: its name, the address its peers dial, and the life of its storage."""

    name: NodeId
    address: str
    incarnation: int


class Membership(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Who votes. The founding one is the value of slot 1 and fixes what never changes.

    ``alpha``: a membership decided at slot i governs the slots from i + alpha on, and at most
    alpha slots are open at once; the founding one governs from slot 2.
    ``session_expiry_s``: log seconds after which a silent session is dropped.
    ``replaces``: the slot of the membership this one replaces; 0 for the founding one.
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
        """Whether this life of that node may vote."""
        return any(member.name == name and member.incarnation == incarnation for member in self.members)

    def to_bytes(self) -> bytes:
        """The membership with a format byte and a CRC-32, as it stands in the log."""
        return _seal(_membership_encoder.encode(self))

    @classmethod
    def from_bytes(cls, data: bytes) -> Membership:
        """Undo ``to_bytes``; raises CorruptedError for anything it did not write."""
        try:
            return _membership_decoder.decode(_unseal(data, "membership"))
        except msgspec.DecodeError as error:
            raise CorruptedError(f"membership: {error}") from error


_membership_encoder = msgspec.msgpack.Encoder()
_membership_decoder = msgspec.msgpack.Decoder(Membership)
