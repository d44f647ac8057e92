"""The bounds of each message's fields: bytes that no version of paxospp writes are refused."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxospp.messages import Accept, Message, Prepare, Promise, ReadAnswer
from paxospp.model import Ballot, Kind, NodeId, Slot
from paxospp.wire.peer_messages import MalformedFrameError, MessageEncoder, decode_message, encode_message
from paxospp.wire.v1 import peer_pb2 as pb
from tests.examples import examples
from tests.wire.drawn import MESSAGES

BALLOT: dict[str, Any] = {"round": 7, "node": "n1", "incarnation": 5}
ENTRY: dict[str, Any] = {"slot": 3, "ballot": BALLOT, "kind": pb.KIND_COMMANDS, "value": b"v"}
PROMISE: dict[str, Any] = {"ballot": BALLOT, "start": 1, "part": 0, "parts": 1, "first": 1}
ACCEPT: dict[str, Any] = {"ballot": BALLOT, "slot": 1, "kind": pb.KIND_NOOP}

MALFORMED: list[tuple[str, dict[str, Any]]] = [
    ("unknown message", {}),
    ("node's name", {"accept": {**ACCEPT, "ballot": None}}),
    ("node's name", {"accept": {**ACCEPT, "ballot": {}}}),
    ("node's name", {"accept": {**ACCEPT, "ballot": {"round": 1, "node": "../n1"}}}),
    ("number out of bounds", {"accept": {**ACCEPT, "ballot": {**BALLOT, "round": 2**63}}}),
    ("slot out of bounds", {"accept": {**ACCEPT, "slot": 0}}),
    ("slot out of bounds", {"accept": {**ACCEPT, "slot": 2**63}}),
    ("number out of bounds", {"accept": {**ACCEPT, "decided_up_to": 2**64 - 1}}),
    ("unknown kind", {"accept": {**ACCEPT, "kind": pb.KIND_UNSPECIFIED}}),
    ("unknown kind", {"accept": {**ACCEPT, "kind": 4}}),
    ("unknown kind", {"accept": {**ACCEPT, "kind": -1}}),
    ("slot out of bounds", {"accepted": {"ballot": BALLOT}}),
    ("node's name", {"accepted": {"slot": 1}}),
    ("node's name", {"nack": {"refused": BALLOT}}),
    ("node's name", {"nack": {"promised": BALLOT}}),
    ("slot out of bounds", {"prepare": {"ballot": BALLOT, "start": 0}}),
    ("node's name", {"prepare": {"start": 1}}),
    ("part out of bounds", {"promise": {**PROMISE, "parts": 0}}),
    ("part out of bounds", {"promise": {**PROMISE, "part": 1}}),
    ("part out of bounds", {"promise": {**PROMISE, "part": 7, "parts": 2**31}}),
    ("slot out of bounds", {"promise": {**PROMISE, "start": 0}}),
    ("slot out of bounds", {"promise": {**PROMISE, "first": 0}}),
    ("number out of bounds", {"promise": {**PROMISE, "last": 2**63}}),
    ("slot out of bounds", {"promise": {**PROMISE, "entries": [{**ENTRY, "slot": 0}]}}),
    ("unknown kind", {"promise": {**PROMISE, "entries": [ENTRY, {**ENTRY, "kind": 9}]}}),
    ("node's name", {"promise": {**PROMISE, "entries": [{**ENTRY, "ballot": None}]}}),
    ("slot out of bounds", {"promise": {**PROMISE, "faulty": [{"start": 0, "stop": 4}]}}),
    ("range out of bounds", {"promise": {**PROMISE, "faulty": [{"start": 4, "stop": 4}]}}),
    ("range out of bounds", {"promise": {**PROMISE, "faulty": [{"start": 4, "stop": 2}]}}),
    ("slot out of bounds", {"promise": {**PROMISE, "faulty": [{"start": 4, "stop": 2**63}]}}),
    ("node's name", {"heartbeat": {"leading": {}}}),
    ("number out of bounds", {"heartbeat": {"round": 2**63}}),
    ("number out of bounds", {"heartbeat": {"remembered": 2**63}}),
    ("node's name", {"heartbeat_answer": {"leader": "a leader"}}),
    ("number out of bounds", {"heartbeat_answer": {"decided": 2**63}}),
    ("slot out of bounds", {"catch_up": {"start": 0, "stop": 4}}),
    ("range out of bounds", {"catch_up": {"start": 5, "stop": 4}}),
    ("slot out of bounds", {"decided": {"first": 0}}),
    ("unknown kind", {"decided": {"first": 1, "entries": [{**ENTRY, "kind": 0}]}}),
    ("slot out of bounds", {"heartbeat": {"checkpoint": {"slot": 0}}}),
    ("digest out of bounds", {"heartbeat": {"checkpoint": {"slot": 1, "digest": bytes(65)}}}),
    ("snapshot's id", {"snapshot_request": {"id": "../../etc"}}),
    ("number out of bounds", {"snapshot_request": {"offset": 2**63}}),
    ("snapshot's id", {"snapshot_chunk": {"slot": 1, "id": "A"}}),
    ("number out of bounds", {"snapshot_chunk": {"slot": 1, "id": "a", "offset": 2**64 - 1}}),
    ("number out of bounds", {"read_request": {"counter": 2**63}}),
    ("number out of bounds", {"read_answer": {"slot": 2**63}}),
]


@pytest.mark.parametrize(("reason", "fields"), MALFORMED, ids=lambda value: str(value)[:60])
def test_what_no_version_says_is_refused(reason: str, fields: dict[str, Any]) -> None:
    with pytest.raises(MalformedFrameError) as caught:
        decode_message(pb.PeerMessage(**fields).SerializeToString())

    assert caught.value.reason == reason


def test_a_kind_of_message_that_a_later_version_may_add_is_refused() -> None:
    with pytest.raises(MalformedFrameError, match="unknown message"):
        decode_message(b"\xfa\x07\x02hi")  # field 127


@examples(300)
@given(MESSAGES, st.data())
def test_damaged_messages_are_refused_or_are_messages(message: Message, data: st.DataObject) -> None:
    """Random bytes, without the checksum of a frame: every message that decodes is within the bounds of its fields."""
    body = bytearray(encode_message(message))
    for _ in range(data.draw(st.integers(1, 4))):
        if body:
            body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = decode_message(bytes(body))
    except MalformedFrameError:
        return

    assert decode_message(encode_message(read)) == read


@pytest.mark.parametrize("size", [0, 1, 4_095, 4_096, 4_097, 70_000])
def test_small_and_large_accepts_are_the_same_on_the_wire(size: int) -> None:
    accept = Accept(
        ballot=Ballot(7, NodeId("n1"), 5),
        slot=Slot(3),
        kind=Kind.MEMBERSHIP,
        value=bytes(range(256)) * (size // 256) + bytes(size % 256),
        decided_up_to=Slot(2),
    )

    body = b"".join(MessageEncoder().encode_accept(accept))

    assert decode_message(body) == decode_message(encode_message(accept)) == accept
    assert pb.PeerMessage.FromString(body) == pb.PeerMessage(
        accept={
            "ballot": BALLOT,
            "slot": 3,
            "kind": pb.KIND_MEMBERSHIP,
            "value": accept.value,
            "decided_up_to": 2,
        }
    )


def test_a_range_without_end_stays_without_end() -> None:
    promise = Promise(
        ballot=Ballot(1, NodeId("n1"), 1),
        start=Slot(1),
        answer=1,
        part=0,
        parts=1,
        decided=Slot(0),
        first=Slot(1),
        last=Slot(0),
        entries=(),
        faulty=(range(7, sys.maxsize),),
    )

    assert pb.PeerMessage.FromString(encode_message(promise)).promise.faulty[0].stop == 0
    assert decode_message(encode_message(promise)) == promise


def test_no_slot_and_slot_zero_are_two_answers_to_a_read() -> None:
    for slot in (None, Slot(0)):
        answer = ReadAnswer(nonce=1, counter=2, slot=slot)
        assert decode_message(encode_message(answer)) == answer


def test_a_negative_number_is_our_own_mistake_and_leaves_no_frame() -> None:
    with pytest.raises(ValueError, match=r"-1|range"):
        encode_message(Prepare(ballot=Ballot(-1, NodeId("n1"), 1), start=Slot(1)))
