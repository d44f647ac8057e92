"""A machine in full control overrides all four methods, and receives and returns raw bytes."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from paxospp.errors import RejectedError
from paxospp.state_machine import (
    Context,
    StateMachine,
    check_command,
    check_query,
    complete_call,
    describe,
    encode_untyped,
    pack_raw,
    prepare,
)


class Appending(StateMachine):
    def __init__(self) -> None:
        self.content = b""

    def apply(self, command: bytes, context: Context) -> bytes:
        self.content += command
        return len(self.content).to_bytes(2, "big")

    def answer(self, request: bytes) -> bytes:
        return self.content[: int(request)]

    def snapshot(self) -> Iterable[bytes]:
        return [self.content]

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.content = b"".join(chunks)


class Counting(Appending):
    count = 0

    def apply(self, command: bytes, context: Context) -> bytes:
        self.count += 1
        return super().apply(command, context)


@pytest.mark.parametrize("kind", [Appending, Counting])
def test_it_is_known_to_be_in_full_control_and_needs_no_annotations(kind: type[Appending]) -> None:
    machine = kind()

    assert machine.full_control
    assert prepare(machine) is machine
    assert machine.apply(b"abc", Context(1, 0, 0.0)) == b"\0\3"
    assert machine.answer(b"2") == b"ab"


def test_a_typed_machine_is_not_in_full_control() -> None:
    class Typed(StateMachine):
        pass

    assert not Typed.full_control


def test_any_raw_command_may_be_proposed_and_no_named_one() -> None:
    check_command(Appending(), pack_raw(b""))
    check_command(Appending(), pack_raw(b"\xff\x00"))
    check_query(Appending(), pack_raw(b"1"))
    with pytest.raises(RejectedError, match="Appending takes raw bytes, not a command by name"):
        check_command(Appending(), encode_untyped("put", ["a"]))
    with pytest.raises(RejectedError, match="Appending takes raw bytes, not a query by name"):
        check_query(Appending(), encode_untyped("get", ["a"]))


def test_raw_commands_need_no_completion_and_are_not_described() -> None:
    payload = pack_raw(b"abc")

    assert complete_call(Appending(), payload) is payload
    assert describe(Appending()) == {"commands": {}, "queries": {}}
