"""The payload of a call, and its outcome."""

from __future__ import annotations

import pickle

import msgspec
import pytest

from paxospp.errors import CommandError, RejectedError
from paxospp.state_machine import (
    OUTCOME_RAISED,
    OUTCOME_REJECTED,
    OUTCOME_RESULT,
    decode_untyped,
    encode_raised,
    encode_rejected,
    encode_untyped,
    pack_call,
    pack_raw,
    read_outcome,
    unpack_call,
)


def test_a_call_is_its_name_and_its_arguments() -> None:
    assert pack_call("put", b"\x92\x01\x02") == b"\x03put\x92\x01\x02"
    assert unpack_call(b"\x03put\x92\x01\x02") == ("put", b"\x92\x01\x02")


def test_a_raw_command_has_no_name() -> None:
    assert pack_raw(b"anything") == b"\x00anything"
    assert unpack_call(b"\x00anything") == ("", b"anything")
    assert unpack_call(b"\x00") == ("", b"")


def test_the_length_of_a_name_counts_bytes() -> None:
    assert unpack_call(pack_call("größe", b"\x90")) == ("größe", b"\x90")
    assert unpack_call(pack_call("x" * 255, b"\x90")) == ("x" * 255, b"\x90")


@pytest.mark.parametrize("name", ["", "x" * 256, "\udcff"])
def test_a_name_that_cannot_be_encoded_is_rejected(name: str) -> None:
    with pytest.raises(RejectedError):
        pack_call(name, b"\x90")
    with pytest.raises(RejectedError):
        encode_untyped(name, [])


@pytest.mark.parametrize("payload", [b"", b"\x05put", b"\x01\xff"])
def test_bytes_that_are_no_call_are_rejected(payload: bytes) -> None:
    with pytest.raises(RejectedError):
        unpack_call(payload)


def test_an_outcome_holds_a_result() -> None:
    assert read_outcome(bytes([OUTCOME_RESULT]) + b"\xc0") == b"\xc0"
    assert read_outcome(bytes([OUTCOME_RESULT])) == b""


def test_an_outcome_holds_what_was_raised() -> None:
    outcome = encode_raised("ValueError", "no")

    assert outcome[0] == OUTCOME_RAISED
    with pytest.raises(CommandError) as caught:
        read_outcome(outcome)
    assert (caught.value.type, caught.value.message) == ("ValueError", "no")
    assert pickle.loads(pickle.dumps(caught.value)).type == "ValueError"


def test_an_outcome_holds_why_a_command_had_no_effect() -> None:
    outcome = encode_rejected("unknown name")

    assert outcome[0] == OUTCOME_REJECTED
    with pytest.raises(RejectedError, match="unknown name"):
        read_outcome(outcome)


@pytest.mark.parametrize("text", ["x" * 5_000, "ü" * 5_000, "\ud800" * 300, "a" * 1_023 + "ü"])
def test_a_message_is_cut_at_one_kibibyte_and_always_encodes(text: str) -> None:
    with pytest.raises(CommandError) as caught:
        read_outcome(encode_raised("ValueError", text))

    assert 1_000 < len(caught.value.message.encode()) <= 1_024


@pytest.mark.parametrize("outcome", [b"", b"\x09rest"])
def test_bytes_that_are_no_outcome_are_an_error_of_ours(outcome: bytes) -> None:
    with pytest.raises(ValueError, match="an outcome cannot begin with"):
        read_outcome(outcome)


def test_calls_by_name_take_and_give_plain_values() -> None:
    assert encode_untyped("put", ["a", {"b": (1, 2)}]) == pack_call("put", msgspec.msgpack.encode(["a", {"b": [1, 2]}]))
    assert decode_untyped(msgspec.msgpack.encode({"a": (1, 2)})) == {"a": [1, 2]}
