"""The errors that defining the class of a state machine can raise: each is one line that names the place."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from paxospp.errors import ConfigError
from paxospp.state_machine import Context, MachineError, StateMachine, command, prepare, query


def refusal(make: Callable[[], object]) -> str:
    with pytest.raises(MachineError) as caught:
        make()
    text = str(caught.value)
    assert "\n" not in text
    assert "<locals>" not in text
    return text


def test_a_refusal_is_a_type_error_and_a_config_error() -> None:
    assert issubclass(MachineError, TypeError)
    assert issubclass(MachineError, ConfigError)


def test_an_async_method_is_refused() -> None:
    def make() -> object:
        class Waiting(StateMachine):
            @command
            async def put(self, key: str) -> None: ...

        return Waiting

    assert "Waiting.put: a command cannot be async" in refusal(make)


def test_an_async_generator_is_refused() -> None:
    def make() -> object:
        class Waiting(StateMachine):
            @query
            async def all(self) -> AsyncIterator[str]:
                yield ""

        return Waiting

    assert "Waiting.all: a query cannot be async" in refusal(make)


def test_a_generator_is_refused() -> None:
    def make() -> object:
        class Yielding(StateMachine):
            @query
            def all(self) -> Iterator[str]:
                yield ""

        return Yielding

    assert "Yielding.all: a query cannot be a generator: return a list" in refusal(make)


def test_star_arguments_are_refused() -> None:
    def make() -> object:
        class Machine(StateMachine):
            @command
            def put(self, *keys: str) -> None: ...

        return Machine

    assert "`*keys`" in refusal(make)


def test_double_star_arguments_are_refused() -> None:
    def make() -> object:
        class Machine(StateMachine):
            @command
            def put(self, /, **values: str) -> None: ...

        return Machine

    assert "`**values`" in refusal(make)


def test_a_parameter_without_annotation_is_refused() -> None:
    def make() -> object:
        class Machine(StateMachine):
            @command
            def put(self, key: str, value) -> None: ...  # type: ignore[no-untyped-def]

        return Machine

    assert "Machine.put: `value` has no annotation; write `value: <type>`" in refusal(make)


def test_a_result_without_annotation_is_refused() -> None:
    def make() -> object:
        class Machine(StateMachine):
            @command
            def put(self, key: str):  # type: ignore[no-untyped-def]
                ...

        return Machine

    assert "write `-> None`" in refusal(make)


@pytest.mark.parametrize("name", ["timeout", "consistency"])
def test_a_parameter_named_like_an_option_of_the_call_is_refused(name: str) -> None:
    namespace: dict[str, Any] = {}
    exec(f"def put(self, {name}: float) -> None: ...", namespace)

    assert f"`{name}` is an option of every call" in refusal(lambda: command(namespace["put"]))


@pytest.mark.parametrize("shared", [{}, [], set(), deque(), Counter(), bytearray()])
def test_a_mutable_default_in_the_class_body_is_refused(shared: object) -> None:
    text = refusal(lambda: type("Machine", (StateMachine,), {"data": shared, "__annotations__": {"data": dict}}))

    assert f"Machine.data: all instances would share this {type(shared).__name__}" in text


def test_a_class_variable_may_be_mutable() -> None:
    class Machine(StateMachine):
        table: ClassVar[dict[str, int]] = {"a": 1}

    prepare(Machine())


@pytest.mark.parametrize("text", ["ClassVar", "typing.ClassVar[dict]", "t.ClassVar[dict]", " 'ClassVar[dict]'"])
def test_a_class_variable_is_recognised_in_a_string_annotation_too(text: str) -> None:
    type("Machine", (StateMachine,), {"table": {}, "__annotations__": {"table": text}})


def test_snapshot_without_restore_is_refused_and_so_is_restore_without_snapshot() -> None:
    def snapshot_alone() -> object:
        class Half(StateMachine):
            def snapshot(self) -> Iterable[bytes]:
                return []

        return Half

    def restore_alone() -> object:
        class Half(StateMachine):
            def restore(self, chunks: Iterable[bytes]) -> None: ...

        return Half

    assert "Half overrides snapshot alone: snapshot and restore go together" in refusal(snapshot_alone)
    assert "Half overrides restore alone: snapshot and restore go together" in refusal(restore_alone)


def test_apply_without_the_other_three_is_refused() -> None:
    def make() -> object:
        class Partly(StateMachine):
            def apply(self, command: bytes, context: Context) -> bytes:
                return b""

        return Partly

    assert "Partly overrides apply but not answer, snapshot, restore" in refusal(make)


def test_commands_of_a_machine_in_full_control_are_refused_because_nobody_could_call_them() -> None:
    def make() -> object:
        class Both(StateMachine):
            def apply(self, command: bytes, context: Context) -> bytes:
                return b""

            def answer(self, request: bytes) -> bytes:
                return b""

            def snapshot(self) -> Iterable[bytes]:
                return []

            def restore(self, chunks: Iterable[bytes]) -> None: ...

            @command
            def put(self) -> None: ...

        return Both

    assert "`put` could never be called" in refusal(make)


def test_a_name_that_begins_with_paxospp_is_refused() -> None:
    def make() -> object:
        class Machine(StateMachine):
            @command(name="paxospp.decide")
            def decide(self) -> None: ...

        return Machine

    assert "names that begin with 'paxospp.' are reserved for paxospp" in refusal(make)


@pytest.mark.parametrize("name", ["", "x" * 256, "é" * 128, "\ud800"])
def test_a_name_that_cannot_be_encoded_is_refused(name: str) -> None:
    def put(self: object) -> None: ...

    refusal(lambda: command(name=name)(put))


def test_a_name_that_is_not_a_str_is_refused() -> None:
    def put(self: object) -> None: ...

    assert 'takes a str, not 3; write @paxospp.command(name="put")' in refusal(
        lambda: command(name=3)(put)  # type: ignore[call-overload]
    )


def test_the_longest_name_is_accepted() -> None:
    def put(self: object) -> None: ...

    assert command(name="x" * 255)(put).name == "x" * 255


@pytest.mark.parametrize("name", ["apply", "answer", "snapshot", "restore", "context", "full_control"])
def test_an_operation_named_like_a_method_of_the_base_is_refused_with_the_way_out(name: str) -> None:
    namespace: dict[str, Any] = {}
    exec(f"def {name}(self) -> None: ...", namespace)

    text = refusal(lambda: type("Machine", (StateMachine,), {name: command(namespace[name])}))

    assert f'@paxospp.command(name="{name}")' in text


def test_a_state_attribute_named_context_is_refused() -> None:
    def make() -> object:
        class Machine(StateMachine):
            context: str  # type: ignore[assignment]

        return Machine

    assert "Machine.context: StateMachine has an attribute of that name; rename yours" in refusal(make)


def test_two_commands_of_one_name_are_refused() -> None:
    def make() -> object:
        class Machine(StateMachine):
            @command
            def put(self) -> None: ...

            @command(name="put")
            def store(self) -> None: ...

        return Machine

    assert "`put` and `store` are both the command named 'put'" in refusal(make)


def test_a_plain_method_over_an_inherited_command_is_refused() -> None:
    class Base(StateMachine):
        @command
        def put(self) -> None: ...

    def make() -> object:
        class Sub(Base):
            def put(self) -> None: ...

        return Sub

    assert "Sub.put overrides a command of " in refusal(make)


def test_decorating_something_else_than_a_method_is_refused() -> None:
    assert "decorates a method" in refusal(lambda: command(staticmethod(print)))
    assert "a first parameter, `self`" in refusal(lambda: command(lambda: None))  # type: ignore[misc, arg-type]


def test_a_method_may_have_the_name_of_a_helper_of_paxospp() -> None:
    class Guarded(StateMachine):
        total: int = 0

        @command
        def check(self, least: int) -> bool:
            return self.total >= least

        @command
        def prepare(self) -> None: ...

        def describe(self) -> str:
            return "mine"

    prepare(Guarded())


def test_a_dataclass_may_be_a_machine() -> None:
    @dataclass
    class Counting(StateMachine):
        total: int = 0
        seen: dict[str, int] = field(default_factory=dict)

        @command
        def add(self, name: str) -> int:
            self.total += 1
            self.seen[name] = self.total
            return self.total

    machine = Counting()
    machine.add("a")

    prepare(machine)
    copy = Counting()
    copy.restore(machine.snapshot())
    assert copy == machine == Counting(total=1, seen={"a": 1})


def test_a_dataclass_with_slots_may_be_a_machine() -> None:
    @dataclass(slots=True)
    class Counting(StateMachine):
        total: int = 0
        last: Last | None = None

        @command
        def add(self, last: Last) -> int:
            self.total += 1
            self.last = last
            return self.total

    machine = Counting()
    machine.apply(Counting.add.encode([Last("a")]), Context(1, 0, 0.0))

    prepare(machine)
    copy = Counting()
    copy.restore(machine.snapshot())
    assert copy == machine == Counting(total=1, last=Last("a"))


@dataclass
class Last:
    name: str


def test_an_abstract_or_generic_machine_keeps_the_names_around_its_class() -> None:
    from abc import ABC, abstractmethod

    @dataclass
    class Item:
        name: str

    class Shelf(StateMachine, ABC):
        items: list[Item]

        def __init__(self) -> None:
            self.items = []

        @command
        def add(self, item: Item) -> int:
            self.items.append(item)
            return self.size()

        @abstractmethod
        def size(self) -> int: ...

    class Counted(Shelf):
        def size(self) -> int:
            return len(self.items)

    machine = Counted()
    prepare(machine)
    machine.apply(Counted.add.encode([Item("a")]), Context(1, 0, 0.0))
    assert machine.items == [Item("a")]
