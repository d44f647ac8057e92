"""A command or query is a plain method on an instance, and an operation on the class."""

from __future__ import annotations

import inspect
import pickle

import pytest

from paxospp.errors import RejectedError
from paxospp.state_machine import (
    Command,
    Context,
    NotUnderstoodError,
    Query,
    StateMachine,
    check_command,
    check_query,
    command,
    operations_of,
    pack_call,
    prepare,
    query,
)


class KeyValue(StateMachine):
    data: dict[str, str]

    def __init__(self) -> None:
        self.data = {}

    @command
    def put(self, key: str, value: str) -> None:
        """Keep it."""
        self.data[key] = value

    @command(name="remove")
    def delete(self, key: str) -> bool:
        return self.data.pop(key, None) is not None

    @query
    def get(self, key: str) -> str | None:
        return self.data.get(key)


class Audited(KeyValue):
    changes: int = 0

    @command
    def put(self, key: str, value: str) -> None:
        self.changes += 1
        super().put(key, value)

    @query
    def count(self) -> int:
        return self.changes


CONTEXT = Context(1, 0, 0.0)


def test_on_an_instance_they_are_plain_methods() -> None:
    machine = KeyValue()

    machine.put("a", value="b")

    assert machine.get("a") == "b"
    assert inspect.ismethod(machine.put)


def test_on_the_class_they_are_operations() -> None:
    assert isinstance(KeyValue.put, Command)
    assert isinstance(KeyValue.get, Query)
    assert repr(KeyValue.put) == "<command KeyValue.put>"


def test_an_operation_keeps_name_text_and_signature_of_its_method() -> None:
    assert KeyValue.put.__doc__ == "Keep it."
    assert getattr(KeyValue.put, "__name__", None) == "put"
    assert str(inspect.signature(KeyValue.put)) == "(self, key: 'str', value: 'str') -> 'None'"


def test_an_operation_is_pickled_by_its_name() -> None:
    assert pickle.loads(pickle.dumps((KeyValue.put, Audited.delete))) == (KeyValue.put, KeyValue.delete)


def test_an_operation_may_be_called_with_a_machine() -> None:
    machine = KeyValue()

    KeyValue.put(machine, "a", "b")

    assert KeyValue.get(machine, "a") == "b"


def test_apply_runs_the_command_and_answer_the_query() -> None:
    machine = KeyValue()

    result = machine.apply(KeyValue.put.encode(["a", "b"]), CONTEXT)
    answer = machine.answer(KeyValue.get.encode(["a"]))

    assert KeyValue.put.decode_result(result) is None
    assert KeyValue.get.decode_result(answer) == "b"


def test_a_renamed_method_is_stored_under_the_name_it_was_given() -> None:
    machine = KeyValue()
    machine.put("a", "b")

    payload = KeyValue.delete.encode(["a"])

    assert payload.startswith(b"\x06remove")
    assert KeyValue.delete.decode_result(machine.apply(payload, CONTEXT)) is True


def test_a_subclass_inherits_adds_and_overrides_operations() -> None:
    machine = Audited()
    prepare(machine)

    machine.apply(KeyValue.put.encode(["a", "b"]), CONTEXT)

    assert machine.data == {"a": "b"}
    assert Audited.count.decode_result(machine.answer(Audited.count.encode())) == 1
    assert machine.answer(KeyValue.get.encode(["a"])) == b"\xa1b"


def test_the_operations_of_a_class_can_be_listed() -> None:
    operations = operations_of(Audited)

    assert list(operations) == ["put", "delete", "get", "count"]
    assert operations["put"] is Audited.put
    assert [parameter.annotation for parameter in operations["put"].codec.parameters] == [str, str]


def test_a_subclass_does_not_change_its_base() -> None:
    prepare(Audited())

    with pytest.raises(RejectedError, match="KeyValue has no query 'count': it has get"):
        KeyValue().answer(Audited.count.encode())


def test_commands_and_queries_do_not_share_their_names() -> None:
    class Account(StateMachine):
        total: int = 0

        @command(name="total")
        def set_total(self, total: int) -> None:
            self.total = total

        @query(name="total")
        def get_total(self) -> int:
            return self.total

    machine = Account()

    machine.apply(Account.set_total.encode([3]), CONTEXT)

    assert machine.answer(Account.get_total.encode()) == b"\x03"


def test_an_unknown_command_is_refused_with_the_names_that_are_known() -> None:
    with pytest.raises(RejectedError, match="KeyValue has no command 'putt': it has put, remove"):
        check_command(KeyValue(), pack_call("putt", b"\x90"))


def test_a_query_is_no_command_and_a_command_no_query() -> None:
    with pytest.raises(RejectedError, match="no command 'get'"):
        check_command(KeyValue(), KeyValue.get.encode(["a"]))
    with pytest.raises(RejectedError, match="no query 'put'"):
        check_query(KeyValue(), KeyValue.put.encode(["a", "b"]))


def test_an_unknown_command_that_was_decided_stops_the_replica_and_has_no_result() -> None:
    """Another version wrote it, so the replica has to stop: code that catches Exception must not catch this."""
    with pytest.raises(NotUnderstoodError, match="no command 'putt'") as caught:
        KeyValue().apply(pack_call("putt", b"\x90"), CONTEXT)

    assert not isinstance(caught.value, Exception)


@pytest.mark.parametrize("payload", [b"", b"\x00", b"\x05put", b"\x03put", b"\x03put\x81", b"\xff"])
def test_bytes_that_are_no_call_are_refused_and_not_understood(payload: bytes) -> None:
    with pytest.raises(RejectedError):
        check_command(KeyValue(), payload)
    with pytest.raises(NotUnderstoodError):
        KeyValue().apply(payload, CONTEXT)


def test_raw_bytes_are_refused_by_a_typed_machine() -> None:
    with pytest.raises(RejectedError, match="KeyValue takes a command by name, not bytes: it has put, remove"):
        check_command(KeyValue(), b"\x00raw")


def test_an_exception_of_a_method_reaches_the_caller() -> None:
    class Refusing(StateMachine):
        @command
        def refuse(self) -> None:
            raise PermissionError("not the owner")

        @command
        def interrupt(self) -> None:
            raise KeyboardInterrupt

        @query
        def look(self) -> None:
            raise LookupError("nowhere")

    with pytest.raises(PermissionError, match="not the owner"):
        Refusing().apply(Refusing.refuse.encode(), CONTEXT)
    with pytest.raises(KeyboardInterrupt):
        Refusing().apply(Refusing.interrupt.encode(), CONTEXT)
    with pytest.raises(LookupError, match="nowhere"):
        Refusing().answer(Refusing.look.encode())
