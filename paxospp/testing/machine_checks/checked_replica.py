"""One replica of the machine under check: the machine inside the real executor, with access to its state."""

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
from paxospp.testing.machine_checks.drawn_log import DrawnCall, LogStep

_MISSING: Any = type("Missing", (), {"__repr__": lambda self: "not set"})()


@dataclass(slots=True)
class CheckedMachine:
    """The machine to check: how to make one, and what its class declares."""

    make: Callable[[], StateMachine]
    cls: type[StateMachine]
    operations: Mapping[str, MachineOperation[..., Any]]
    fields: Mapping[str, StateField] | None
    """The annotated state; None for a machine without annotations that can be stored."""
    writes_snapshots: bool
    """Whether it writes its own snapshots, so that derived attributes may differ after a restore."""

    @classmethod
    def of(cls, make: Callable[[], StateMachine]) -> CheckedMachine:
        """Inspect a machine that ``make`` makes.

        Raises:
            ConfigError: no node would start with it; the text says what to change.
        """
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

    def operation_of(self, call: DrawnCall) -> MachineOperation[..., Any] | None:
        """Return the operation that ``call`` names, by the name of its method or its stored name; None: unknown."""
        return self.operations.get(call.name) or next(
            (each for each in self.operations.values() if each.name == call.name), None
        )

    def method_of(self, call: DrawnCall) -> str:
        """Return the name of the method that ``call`` runs."""
        operation = self.operation_of(call)
        return call.name if operation is None else operation.function.__name__


class CallResult(NamedTuple):
    """The result of a call, as replicas compare it: without the text of an exception, which may contain an address."""

    encoded: bytes
    raised: str

    def show(self) -> str:
        """Return the result as text for a message."""
        if self.raised:
            return f"raised {self.raised}"
        try:
            return repr(msgspec.msgpack.decode(self.encoded))
        except (msgspec.DecodeError, ValueError):
            return repr(self.encoded)


class CheckedReplica:
    """A machine, and the executor that applies the log to it."""

    def __init__(self, subject: CheckedMachine) -> None:
        self.subject = subject
        self.machine = subject.make()
        self.executor = Executor(self.machine)

    def apply(self, step: LogStep) -> list[CallResult]:
        """Apply ``step``, and return the results of its commands.

        Raises:
            ReplicaStoppedError: a command raised something that stops a replica.
        """
        return [_result(outcome) for answer in self.executor.apply(step.entry) for outcome in answer.outcomes]

    def answer(self, query: DrawnCall) -> CallResult:
        """Return the answer to ``query``."""
        try:
            return CallResult(self.executor.answer(query.payload), "")
        except CommandError as error:
            return CallResult(b"", error.type)
        except RejectedError as error:
            return CallResult(b"", f"RejectedError: {error}")

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.executor.restore(chunks)

    def state(self) -> dict[str, Any]:
        """Return the annotated attributes with their values; all attributes of a machine without annotations."""
        fields = self.subject.fields
        names = getattr(self.machine, "__dict__", {}) if fields is None else fields
        found = {name: getattr(self.machine, name, _MISSING) for name in names if name != "_paxospp_context"}
        return {name: value for name, value in found.items() if value is not _MISSING}

    def encoded_state(self) -> bytes | None:
        """Return the annotated state in bytes; None if the machine has none, or if it cannot be encoded."""
        if self.subject.fields is None:
            return None
        try:
            return b"".join(encode_fields(self.machine, self.subject.fields))
        except TypeError:
            return None

    def decode_state(self, data: bytes) -> dict[str, Any]:
        """Return the attributes that ``encoded_state`` encoded as ``data``."""
        return decode_fields(self.subject.cls, [data], self.subject.fields or {})


def _result(outcome: bytes) -> CallResult:
    if outcome[:1] == bytes([OUTCOME_RAISED]):
        type, _ = msgspec.msgpack.decode(outcome[1:], type=tuple[str, str])
        return CallResult(b"", type)
    return CallResult(outcome[1:], "")


def first_unlike(one: Sequence[Any], other: Sequence[Any]) -> int | None:
    """Return the index of the first item in which two sequences differ; None if they are equal."""
    for index, (mine, theirs) in enumerate(zip(one, other, strict=False)):
        if mine != theirs:
            return index
    return None if len(one) == len(other) else min(len(one), len(other))
