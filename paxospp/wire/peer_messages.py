"""Encodes each message between nodes as one PeerMessage, and decodes it.

``decode_message`` checks the bounds of every field: kinds are known, node names are valid, slots are positive, parts
are consistent. The engine does not check these again. ``wire.frames`` identifies the sender and detects damaged bytes.

Numbers stay below 2**63, so that adding to one does not overflow 64 bits on disk.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any, assert_never

from google.protobuf.message import DecodeError

from paxospp.errors import ConfigError
from paxospp.messages import (
    Accept,
    Accepted,
    CatchUp,
    Checkpoint,
    DecidedEntries,
    ForwardRuns,
    Heartbeat,
    HeartbeatAnswer,
    Message,
    Nack,
    Prepare,
    Promise,
    ReadAnswer,
    ReadRequest,
    SnapshotChunk,
    SnapshotRequest,
)
from paxospp.model import Ballot, Entry, Kind, NodeId, Slot, SnapshotMeta, check_node_id
from paxospp.wire.fields import varint
from paxospp.wire.v1 import peer_pb2 as pb

_NUMBER_MAX = sys.maxsize
_PARTS_MAX = 1 << 20
_LARGE_BYTES = 4096
_DIGEST_BYTES_MAX = 64
_PEER_MESSAGE_ACCEPT_TAG = b"\x1a"
"""The tag of PeerMessage.accept: field 3, length-delimited."""
_ACCEPT_VALUE_TAG = b"\x22"
"""The tag of Accept.value: field 4, length-delimited."""


class MalformedFrameError(ValueError):
    """Bytes from a peer are damaged, addressed to another node, or hold an invalid value.

    ``reason`` is one of a few fixed phrases, so that frames can be counted by reason.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"malformed frame: {reason}")
        self.reason = reason


def encode_message(message: Message) -> bytes:
    """Return the bytes of ``message``; ValueError if a number does not fit its field, which is a bug in the engine."""
    return _wrap(message).SerializeToString()


class MessageEncoder:
    """Encodes messages for one writer, reusing one protobuf object for Accepts and one for Accepteds.

    Under one ballot only slot and value change, and setting two fields takes a fifth of the time of creating a
    protobuf message.
    """

    def __init__(self) -> None:
        self._accept = pb.PeerMessage()
        self._accepted = pb.PeerMessage()
        self._accept_ballot: Ballot | None = None
        self._accepted_ballot: Ballot | None = None

    def encode(self, message: Message) -> bytes:
        """Return the bytes of ``message``."""
        if type(message) is not Accepted:
            return encode_message(message)
        if message.ballot != self._accepted_ballot:
            self._accepted = _wrap(message)
            self._accepted_ballot = message.ballot
        self._accepted.accepted.slot = message.slot
        return self._accepted.SerializeToString()

    def encode_accept(self, accept: Accept) -> tuple[bytes, bytes]:
        """Return the bytes of ``accept`` in two pieces; the second is ``accept.value`` if it is large, else empty.

        Joining the pieces copies a large value once; protobuf fields may be concatenated in any order.
        """
        if accept.ballot != self._accept_ballot:
            self._accept = pb.PeerMessage(accept={"ballot": _fields(accept.ballot)})
            self._accept_ballot = accept.ballot
        fields, value = self._accept.accept, accept.value
        is_large = len(value) >= _LARGE_BYTES
        fields.slot = accept.slot
        fields.kind = _KIND_TO_WIRE[accept.kind]
        fields.value = b"" if is_large else value
        fields.decided_up_to = accept.decided_up_to
        if not is_large:
            return self._accept.SerializeToString(), b""
        head = fields.SerializeToString() + _ACCEPT_VALUE_TAG + varint(len(value))
        return _PEER_MESSAGE_ACCEPT_TAG + varint(len(head) + len(value)) + head, value


def _wrap(message: Message) -> pb.PeerMessage:
    # Inner messages are passed as dicts, which protobuf fills in place; it would copy objects with their values.
    match message:
        case Accept():
            return pb.PeerMessage(
                accept={
                    "ballot": _fields(message.ballot),
                    "slot": message.slot,
                    "kind": _KIND_TO_WIRE[message.kind],
                    "value": message.value,
                    "decided_up_to": message.decided_up_to,
                }
            )
        case Accepted():
            return pb.PeerMessage(accepted={"ballot": _fields(message.ballot), "slot": message.slot})
        case Heartbeat():
            return pb.PeerMessage(
                heartbeat={
                    "round": message.round,
                    "leading": _optional(message.leading),
                    "quorum_connected": message.quorum_connected,
                    "decided_up_to": message.decided_up_to,
                    # For older versions: they consider damage to end where the leader's `decided_up_to` reaches this.
                    "recovered_up_to": 0 if message.vouched_up_to else _NUMBER_MAX,
                    "promised": _optional(message.promised),
                    "remembered": message.remembered,
                    "booted_with": _optional(message.booted_with),
                    "checkpoint": None if message.checkpoint is None else message.checkpoint._asdict(),
                    "vouched_up_to": message.vouched_up_to,
                }
            )
        case HeartbeatAnswer():
            return pb.PeerMessage(
                heartbeat_answer={
                    "nonce": message.nonce,
                    "round": message.round,
                    "promised": _optional(message.promised),
                    "decided": message.decided,
                    "disk_answers": message.disk_answers,
                    "quorum_connected": message.quorum_connected,
                    "leader": message.leader,
                    "remembered": message.remembered,
                    "booted_with": _optional(message.booted_with),
                    "lease": message.lease,
                    "vouched_up_to": message.vouched_up_to,
                }
            )
        case ForwardRuns():
            return pb.PeerMessage(forward_runs={"runs": message.runs})
        case ReadRequest():
            return pb.PeerMessage(read_request={"counter": message.counter, "lease": message.lease})
        case ReadAnswer():
            return pb.PeerMessage(
                read_answer={"nonce": message.nonce, "counter": message.counter, "slot": message.slot}
            )
        case DecidedEntries():
            return pb.PeerMessage(
                decided={
                    "entries": [_entry_fields(entry) for entry in message.entries],
                    "decided": message.decided,
                    "first": message.first,
                }
            )
        case CatchUp():
            return pb.PeerMessage(catch_up={"start": message.start, "stop": message.stop})
        case Prepare():
            return pb.PeerMessage(prepare={"ballot": _fields(message.ballot), "start": message.start})
        case Promise():
            return pb.PeerMessage(
                promise={
                    "ballot": _fields(message.ballot),
                    "start": message.start,
                    "answer": message.answer,
                    "part": message.part,
                    "parts": message.parts,
                    "decided": message.decided,
                    "first": message.first,
                    "last": message.last,
                    "entries": [_entry_fields(entry) for entry in message.entries],
                    "faulty": [
                        {"start": slots.start, "stop": 0 if slots.stop >= sys.maxsize else slots.stop}
                        for slots in message.faulty
                    ],
                }
            )
        case Nack():
            return pb.PeerMessage(nack={"refused": _fields(message.refused), "promised": _fields(message.promised)})
        case SnapshotRequest():
            return pb.PeerMessage(
                snapshot_request={"id": message.id, "offset": message.offset, "covers": message.covers}
            )
        case SnapshotChunk():
            return pb.PeerMessage(
                snapshot_chunk={
                    "slot": message.slot,
                    "id": message.id,
                    "offset": message.offset,
                    "data": message.data,
                    "last": message.last,
                    "ballot": _optional(message.ballot),
                }
            )
        case _:
            assert_never(message)


def decode_message(data: bytes) -> Message:
    """Return the message in ``data``, checked.

    Raises:
        MalformedFrameError: ``encode_message`` cannot have written these bytes.
    """
    try:
        wrapped = pb.PeerMessage.FromString(data)
    except DecodeError as error:
        raise MalformedFrameError("message not decodable") from error
    match wrapped.WhichOneof("message"):
        case "accept":
            accept = wrapped.accept
            return Accept(
                ballot=_ballot(accept.ballot),
                slot=_slot(accept.slot),
                kind=_kind(accept.kind),
                value=accept.value,
                decided_up_to=_number(accept.decided_up_to),
            )
        case "accepted":
            accepted = wrapped.accepted
            return Accepted(ballot=_ballot(accepted.ballot), slot=_slot(accepted.slot))
        case "heartbeat":
            heartbeat = wrapped.heartbeat
            return Heartbeat(
                round=_number(heartbeat.round),
                leading=_ballot(heartbeat.leading) if heartbeat.HasField("leading") else None,
                quorum_connected=heartbeat.quorum_connected,
                decided_up_to=_number(heartbeat.decided_up_to),
                promised=_ballot(heartbeat.promised) if heartbeat.HasField("promised") else None,
                remembered=_number(heartbeat.remembered),
                booted_with=_ballot(heartbeat.booted_with) if heartbeat.HasField("booted_with") else None,
                checkpoint=_checkpoint(heartbeat.checkpoint) if heartbeat.HasField("checkpoint") else None,
                vouched_up_to=_number(heartbeat.vouched_up_to),
            )
        case "heartbeat_answer":
            answer = wrapped.heartbeat_answer
            return HeartbeatAnswer(
                nonce=answer.nonce,
                round=_number(answer.round),
                promised=_ballot(answer.promised) if answer.HasField("promised") else None,
                decided=_number(answer.decided),
                disk_answers=answer.disk_answers,
                quorum_connected=answer.quorum_connected,
                leader=node_name(answer.leader) if answer.leader else None,
                remembered=_number(answer.remembered),
                booted_with=_ballot(answer.booted_with) if answer.HasField("booted_with") else None,
                lease=_number(answer.lease),
                vouched_up_to=_number(answer.vouched_up_to),
            )
        case "forward_runs":
            return ForwardRuns(runs=tuple(wrapped.forward_runs.runs))
        case "read_request":
            return ReadRequest(counter=_number(wrapped.read_request.counter), lease=wrapped.read_request.lease)
        case "read_answer":
            read = wrapped.read_answer
            slot = _number(read.slot) if read.HasField("slot") else None
            return ReadAnswer(nonce=read.nonce, counter=_number(read.counter), slot=slot)
        case "decided":
            decided = wrapped.decided
            return DecidedEntries(
                entries=tuple(map(_entry, decided.entries)),
                decided=_number(decided.decided),
                first=_slot(decided.first),
            )
        case "catch_up":
            catch_up = wrapped.catch_up
            if catch_up.stop < catch_up.start:
                raise MalformedFrameError("range out of bounds")
            return CatchUp(start=_slot(catch_up.start), stop=_slot(catch_up.stop))
        case "prepare":
            return Prepare(ballot=_ballot(wrapped.prepare.ballot), start=_slot(wrapped.prepare.start))
        case "promise":
            return _promise(wrapped.promise)
        case "nack":
            return Nack(refused=_ballot(wrapped.nack.refused), promised=_ballot(wrapped.nack.promised))
        case "snapshot_request":
            request = wrapped.snapshot_request
            return SnapshotRequest(
                id=_snapshot_id(request.id), offset=_number(request.offset), covers=Slot(_number(request.covers))
            )
        case "snapshot_chunk":
            chunk = wrapped.snapshot_chunk
            return SnapshotChunk(
                slot=_number(chunk.slot),
                id=_snapshot_id(chunk.id),
                offset=_number(chunk.offset),
                data=chunk.data,
                last=chunk.last,
                ballot=_ballot(chunk.ballot) if chunk.HasField("ballot") else None,
            )
        case _:
            raise MalformedFrameError("unknown message")


@lru_cache(maxsize=1024)
def node_name(name: str) -> NodeId:
    """Return ``name`` if it is a valid node name; valid names are cached because every message contains one.

    Raises:
        MalformedFrameError: it is not valid.
    """
    try:
        return check_node_id(name)
    except ConfigError as error:
        raise MalformedFrameError("node's name") from error


def _promise(promise: pb.Promise) -> Promise:
    if not promise.part < promise.parts <= _PARTS_MAX:
        raise MalformedFrameError("part out of bounds")
    return Promise(
        ballot=_ballot(promise.ballot),
        start=_slot(promise.start),
        answer=_number(promise.answer),
        part=promise.part,
        parts=promise.parts,
        decided=_number(promise.decided),
        first=_slot(promise.first),
        last=_number(promise.last),
        entries=tuple(map(_entry, promise.entries)),
        faulty=tuple(map(_range, promise.faulty)),
    )


def _checkpoint(checkpoint: pb.Checkpoint) -> Checkpoint:
    if len(checkpoint.digest) > _DIGEST_BYTES_MAX:
        raise MalformedFrameError("digest out of bounds")
    return Checkpoint(_slot(checkpoint.slot), checkpoint.digest)


def _snapshot_id(id: str) -> str:
    if id:
        try:
            SnapshotMeta(Slot(1), id)
        except ValueError as error:
            raise MalformedFrameError("snapshot's id") from error
    return id


def _fields(ballot: Ballot) -> dict[str, Any]:
    return {"round": ballot.round, "node": ballot.node, "incarnation": ballot.incarnation}


def _optional(ballot: Ballot | None) -> dict[str, Any] | None:
    return None if ballot is None else _fields(ballot)


def _ballot(ballot: pb.Ballot) -> Ballot:
    # A missing ballot decodes to one with an empty node name, which node_name refuses.
    return Ballot(_number(ballot.round), node_name(ballot.node), ballot.incarnation)


def _entry_fields(entry: Entry) -> dict[str, Any]:
    return {
        "slot": entry.slot,
        "ballot": _fields(entry.ballot),
        "kind": _KIND_TO_WIRE[entry.kind],
        "value": entry.value,
    }


def _entry(entry: pb.Entry) -> Entry:
    return Entry(_slot(entry.slot), _ballot(entry.ballot), _kind(entry.kind), entry.value)


def _range(slots: pb.SlotRange) -> range:
    stop = slots.stop or sys.maxsize
    if stop <= slots.start:
        raise MalformedFrameError("range out of bounds")
    return range(_slot(slots.start), _slot(stop))


def _kind(kind: int) -> Kind:
    try:
        return _KIND_FROM_WIRE[kind]
    except KeyError:
        raise MalformedFrameError("unknown kind") from None


def _number(number: int) -> Slot:
    """Check a counter, a round or a slot that may be 0; the type Slot lets one function serve all three."""
    if number > _NUMBER_MAX:
        raise MalformedFrameError("number out of bounds")
    return Slot(number)


def _slot(slot: int) -> Slot:
    if not 0 < slot <= _NUMBER_MAX:
        raise MalformedFrameError("slot out of bounds")
    return Slot(slot)


_KIND_TO_WIRE = {Kind.NOOP: pb.KIND_NOOP, Kind.COMMANDS: pb.KIND_COMMANDS, Kind.MEMBERSHIP: pb.KIND_MEMBERSHIP}
_KIND_FROM_WIRE: dict[int, Kind] = {wire: kind for kind, wire in _KIND_TO_WIRE.items()}
