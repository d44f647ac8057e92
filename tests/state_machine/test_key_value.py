"""The built-in state machine ``kv``."""

from __future__ import annotations

from typing import Any

import pytest

from paxospp.machines import KeyValue, paxospp_state_machines
from paxospp.state_machine import Context, MachineType, StateMachine, check_command, encode_untyped, prepare


def filled(**items: Any) -> KeyValue:
    machine = KeyValue()
    for key, value in items.items():
        machine.put(key, value)
    return machine


def test_it_is_offered_under_the_name_kv() -> None:
    (offered,) = paxospp_state_machines()

    assert isinstance(offered, MachineType)
    assert (offered.name, offered.factory) == ("kv", KeyValue)
    assert isinstance(offered.factory(), StateMachine)
    assert offered.summary


def test_put_get_and_delete() -> None:
    machine = filled(a=1)

    assert machine.get("a") == 1
    assert machine.get("b") is None
    assert machine.delete("a") is True
    assert machine.delete("a") is False
    assert machine.get("a") is None


def test_cas_sets_only_where_get_is_as_expected() -> None:
    machine = filled(a=[1, 2])

    assert machine.cas("a", [1], 3) is False
    assert machine.get("a") == [1, 2]
    assert machine.cas("a", [1, 2], 3) is True
    assert machine.get("a") == 3
    assert machine.cas("new", None, 1) is True
    assert machine.cas("new", None, 2) is False
    assert machine.get("new") == 1


def test_keys_are_sorted_and_may_be_asked_for_by_prefix() -> None:
    machine = filled(b=1, a=1, ab=1)

    assert machine.keys() == ["a", "ab", "b"]
    assert machine.keys("a") == ["a", "ab"]


@pytest.mark.parametrize("value", [None, True, 2**64 - 1, -1.5, "", "ü", b"\xff", [], {"a": [None, {}]}, {1: 2}])
def test_a_value_is_anything_messagepack_can_hold(value: Any) -> None:
    machine = KeyValue()
    payload = encode_untyped("put", ["k", value])

    check_command(machine, payload)
    machine.apply(payload, Context(1, 0, 0.0))
    copy = KeyValue()
    copy.restore(machine.snapshot())

    assert machine.get("k") == value
    assert copy.get("k") == value
    assert KeyValue.get.decode_result(machine.answer(KeyValue.get.encode(["k"]))) == value


def test_a_node_accepts_it() -> None:
    machine = KeyValue()

    assert prepare(machine) is machine
