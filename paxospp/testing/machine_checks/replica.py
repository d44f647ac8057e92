"""One replica of the machine under check: the real executor, and what can be seen of the state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from paxospp.errors import CommandError, RejectedError
from paxospp.execution.executor import Executor
from paxospp.state_machine import (
    OUTCOME_RAISED,
    MachineError,
    MachineOperation,
    StateMachine,
    operations_of,
    prepare,
)
from paxospp.state_machine.annotated_state import StateField, decode_fields, encode_fields, fields_of
from paxospp.state_machine.definition import overridden
from paxospp.testing.machine_checks.log import SetCall, Step

_MISSING: Any = type("Missing", (), {"__repr__": lambda self: "not set"})()


@dataclass(slots=True)
class Subject:
    """What is checked: how to make one, and what its class says of itself."""

    make: Callable[[], StateMachine]
    cls: type[StateMachine]
    operations: Mapping[str, MachineOperation[..., Any]]
    fields: Mapping[str, StateField] | None
    """The annotated state; None for a machine that annotates none that can be stored."""
    writes_snapshots: bool
    """Whether snapshots are its own, so that what it derives from its state may differ after one."""

    @classmethod
    def of(cls, make: Callable[[], StateMachine]) -> Subject:
        """ConfigError, saying what to write, for what no node would start with."""
        machine = prepare(make())
        own = type(machine)
        writes_snapshots = bool(overridden(own, StateMachine) & {"snapshot", "restore"})
        fields: Mapping[str, StateField] | None = None
        if not own.full_control:
            try:
                fields = fields_of(own)
            except MachineError:
                if not writes_snapshots:
                    raise
        operations = {each.function.__name__: each for each in operations_of(own).values()}
        return cls(make, own, operations, fields, writes_snapshots)

    def operation_of(self, call: SetCall) -> MachineOperation[..., Any] | None:
        """The operation that ``call`` names, by its method's name or its stored one."""
        return self.operations.get(call.name) or next(
            (each for each in self.operations.values() if each.name == call.name), None
        )

    def method_of(self, call: SetCall) -> str:
        """The name of the method that ``call`` runs."""
        operation = self.operation_of(call)
        return call.name if operation is None else operation.function.__name__


class Result(NamedTuple):
    """What came of a call, as replicas compare it: without an exception's text, which may hold an address."""

    encoded: bytes
    raised: str

    def show(self) -> str:
        """For a message."""
        if self.raised:
            return f"raised {self.raised}"
        try:
            return repr(msgspec.msgpack.decode(self.encoded))
        except (msgspec.DecodeError, ValueError):
            return repr(self.encoded)


class Replica:
    """A machine, and the executor that applies the log to it."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.machine = subject.make()
        self.executor = Executor(self.machine)

    def apply(self, step: Step) -> list[Result]:
        """The results of the commands of ``step``; ReplicaStoppedError when no replica could go on."""
        return [_result(outcome) for answer in self.executor.apply(step.entry) for outcome in answer.outcomes]

    def answer(self, query: SetCall) -> Result:
        """The answer to a query."""
        try:
            return Result(self.executor.answer(query.payload), "")
        except CommandError as error:
            return Result(b"", error.type)
        except RejectedError as error:
            return Result(b"", f"RejectedError: {error}")

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.executor.restore(chunks)

    def state(self) -> dict[str, Any]:
        """The attributes that make the state, as they are; all attributes of a machine that annotates none."""
        fields = self.subject.fields
        names = getattr(self.machine, "__dict__", {}) if fields is None else fields
        found = {name: getattr(self.machine, name, _MISSING) for name in names if name != "_paxospp_context"}
        return {name: value for name, value in found.items() if value is not _MISSING}

    def encoded_state(self) -> bytes | None:
        """The annotated state in bytes, None where there is none or it cannot be encoded."""
        if self.subject.fields is None:
            return None
        try:
            return b"".join(encode_fields(self.machine, self.subject.fields))
        except TypeError:
            return None

    def decode_state(self, data: bytes) -> dict[str, Any]:
        """The attributes as they come back from ``encoded_state``."""
        return decode_fields(self.subject.cls, [data], self.subject.fields or {})


def _result(outcome: bytes) -> Result:
    if outcome[:1] == bytes([OUTCOME_RAISED]):
        type, _ = msgspec.msgpack.decode(outcome[1:], type=tuple[str, str])
        return Result(b"", type)
    return Result(outcome[1:], "")


def first_unlike(one: Sequence[Any], other: Sequence[Any]) -> int | None:
    """The index of the first item in which two rows differ."""
    for index, (mine, theirs) in enumerate(zip(one, other, strict=False)):
        if mine != theirs:
            return index
    return None if len(one) == len(other) else min(len(one), len(other))
