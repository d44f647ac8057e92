"""How the texts of a command line become arguments."""

from __future__ import annotations

from typing import Annotated, Any, NewType

import pytest

from paxospp.errors import RejectedError
from paxospp.machines import KeyValue
from paxospp.state_machine import StateMachine, arguments_from_texts, command, describe

Name = NewType("Name", str)


class Typed(StateMachine):
    @command
    def text(self, text: str, name: Name, note: Annotated[str, "a note"] = "") -> None: ...

    @command
    def other(self, count: int, maybe: str | None, anything: Any) -> None: ...


def test_a_machine_describes_its_commands_and_queries() -> None:
    assert describe(KeyValue()) == {
        "commands": {
            "cas": [("key", True, False), ("expected", False, False), ("new", False, False)],
            "delete": [("key", True, False)],
            "put": [("key", True, False), ("value", False, False)],
        },
        "queries": {"get": [("key", True, False)], "keys": [("prefix", True, True)]},
    }


def test_annotated_and_new_types_of_str_are_text_and_unions_are_not() -> None:
    commands = describe(Typed())["commands"]

    assert commands["text"] == [("text", True, False), ("name", True, False), ("note", True, True)]
    assert [is_text for _, is_text, _ in commands["other"]] == [False, False, False]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("boo", "boo"),
        ("12", 12),
        ("1.5", 1.5),
        ("true", True),
        ("null", None),
        ('"12"', "12"),
        ("[1, 2]", [1, 2]),
        ('{"a": null}', {"a": None}),
        ("", ""),
        ("[1", "[1"),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("[NaN]", "[NaN]"),
        ('"open', '"open'),
    ],
)
def test_an_argument_is_json_and_other_text_a_string(text: str, value: Any) -> None:
    assert arguments_from_texts({}, "put", [text]) == [value]
    assert arguments_from_texts(describe(KeyValue())["commands"], "put", ["k", text]) == ["k", value]


@pytest.mark.parametrize("text", ["boo", "12", "true", "null", "[1, 2]", "", "NaN", " x ", "'quoted'"])
def test_a_parameter_annotated_str_takes_text_as_written(text: str) -> None:
    assert arguments_from_texts(describe(KeyValue())["commands"], "delete", [text]) == [text]


@pytest.mark.parametrize(("text", "value"), [('"12"', "12"), ('"a\\nb"', "a\nb"), ('  "x"', "x"), ('"open', '"open')])
def test_a_quoted_json_string_is_read_as_json_for_any_parameter(text: str, value: str) -> None:
    assert arguments_from_texts(describe(KeyValue())["commands"], "delete", [text]) == [value]


def test_surplus_arguments_are_read_as_json_and_left_to_the_call_to_refuse() -> None:
    assert arguments_from_texts(describe(KeyValue())["commands"], "delete", ["1", "2"]) == ["1", 2]


def test_an_argument_that_nests_too_deep_is_rejected() -> None:
    with pytest.raises(RejectedError, match="nests too deeply"):
        arguments_from_texts({}, "put", ["[" * 100_000])
