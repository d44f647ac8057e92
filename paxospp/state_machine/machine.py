"""StateMachine: a plain class whose annotated attributes are replicated.

It finds the operation for a payload by the payload's first bytes and runs it, and it takes and
restores snapshots of the attributes that the class bodies annotate. It performs no I/O and knows
neither log nor sessions. ``execution.executor`` decides which commands run, and when.

Idea: Schneider, "Implementing Fault-Tolerant Services Using the State Machine Approach" (1990).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from paxospp.errors import ConfigError, RejectedError
from paxospp.state_machine.annotated_state import StateField, decode_fields, encode_fields, fields_of
from paxospp.state_machine.annotations import MachineError, Namespace, namespace_of_class, short_name
from paxospp.state_machine.context import Context
from paxospp.state_machine.definition import FULL_CONTROL, check_class, operations_of, overridden
from paxospp.state_machine.operation_codec import OperationCodec
from paxospp.state_machine.operations import Command, MachineBase, MachineOperation, Query
from paxospp.state_machine.payload import NotUnderstoodError


class _Table(dict[bytes, OperationCodec]):
    """The codecs of a class's commands or queries, by the first bytes of a payload; filled at first use."""

    def __init__(self, cls: type, kind: type[MachineOperation[..., Any]]) -> None:
        super().__init__()
        self._cls = cls
        self._kind = kind
        self._filled = False

    def __missing__(self, prefix: bytes) -> OperationCodec:
        if self.fill():
            codec = self.get(prefix)
            if codec is not None:
                return codec
        raise NotUnderstoodError(self._unknown(prefix))

    def fill(self) -> bool:
        """Build the codec of every operation, or of none if one raises; return False if they were built before."""
        if self._filled:
            return False
        codecs = [
            operation.codec for operation in operations_of(self._cls).values() if isinstance(operation, self._kind)
        ]
        self.update({codec.prefix: codec for codec in codecs})
        self._filled = True
        return True

    def _unknown(self, prefix: bytes) -> str:
        name = prefix[1:].decode("utf-8", "replace")
        kind = self._kind.kind
        known = sorted(codec.name for codec in self.values())
        has = f"it has {', '.join(known)}" if known else "it has none"
        if not name:
            return f"{short_name(self._cls)} takes a {kind} by name, not bytes: {has}"
        return f"{short_name(self._cls)} has no {kind} {name!r}: {has}"


class StateMachine(MachineBase):
    """The base class of replicated state machines.

    Subclass it, annotate the state in the class body, and mark methods with ``command`` or ``query``.

    Methods run on the node's event loop, one after another, so they need no locks and must not
    block. Two replicas that run the same commands must end in the same state: take time and random
    numbers from ``self.context``, and do not depend on the order of a set.

    Override ``snapshot`` and ``restore`` for a large state. Override ``apply`` and ``answer`` as well
    for a machine in *full control*, which receives and returns raw bytes.
    """

    __slots__ = ("_paxospp_context",)

    full_control: ClassVar[bool] = False
    """Whether the class overrides all of apply, answer, snapshot and restore."""

    _paxospp_context: Context
    _paxospp_commands: ClassVar[_Table]
    _paxospp_queries: ClassVar[_Table]
    _paxospp_fields: ClassVar[Mapping[str, StateField] | None] = None
    _paxospp_namespace: ClassVar[Namespace]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # @dataclass(slots=True) makes the class a second time, in the module dataclasses: keep the first namespace.
        if "_paxospp_namespace" not in vars(cls):
            cls._paxospp_namespace = namespace_of_class(cls)
            check_class(cls, StateMachine)
        cls.full_control = len(overridden(cls, StateMachine)) == len(FULL_CONTROL)
        cls._paxospp_commands = _Table(cls, Command)
        cls._paxospp_queries = _Table(cls, Query)
        cls._paxospp_fields = None

    @property
    def context(self) -> Context:
        """The place of the running command in the log. Raises RuntimeError unless a command or query is running."""
        try:
            return self._paxospp_context
        except AttributeError:
            raise RuntimeError(
                "self.context exists only while a command or query runs; in a unit test, make the call inside "
                "`with paxospp.testing.context(machine):`"
            ) from None

    def apply(self, command: bytes, context: Context) -> bytes:
        """Run one decided command and return its encoded result.

        Args:
            command: the whole payload; for a machine in full control, the raw command.

        Raises:
            NotUnderstoodError: this code does not know the name or the arguments. The replica must stop.
            TypeError: the result of the method cannot be encoded.
            Exception: whatever the method raises.
        """
        self._paxospp_context = context
        try:
            end = command[0] + 1
        except IndexError:
            raise NotUnderstoodError("an empty payload is not a call") from None
        return self._paxospp_commands[command[:end]].call(self, command[end:])

    def answer(self, request: bytes) -> bytes:
        """Run one query and return its encoded answer.

        Raises:
            RejectedError: the machine has no such query, or the arguments are wrong.
            Exception: whatever the method raises.
        """
        try:
            end = request[0] + 1 if request else 0
            return self._paxospp_queries[request[:end]].call(self, request[end:])
        except NotUnderstoodError as error:
            raise RejectedError(str(error)) from error

    def snapshot(self) -> Iterable[bytes]:
        """Return the state as chunks of bytes. Called between two commands; must return at once.

        The chunks are read in another thread while later commands run, which must not change them.
        This method encodes every annotated attribute before it returns.
        """
        fields = _fields(type(self))
        _check_annotated(self, fields)  # a command may have set an attribute since the start
        return encode_fields(self, fields)

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Set the state from the chunks of a snapshot. An attribute that they lack keeps its initial value."""
        for name, value in decode_fields(type(self), chunks, _fields(type(self))).items():
            object.__setattr__(self, name, value)


def _fields(cls: type[StateMachine]) -> Mapping[str, StateField]:
    fields = cls._paxospp_fields
    if fields is None:
        fields = cls._paxospp_fields = fields_of(cls)
    return fields


def set_context(machine: StateMachine, context: Context | None) -> None:
    """Set ``machine.context``; None removes it. For the executor before a query, and for unit tests."""
    if context is not None:
        machine._paxospp_context = context
    elif hasattr(machine, "_paxospp_context"):
        del machine._paxospp_context


def check_command(machine: StateMachine, payload: bytes) -> None:
    """Raise RejectedError, with one line, unless ``machine`` has this command and the arguments are right."""
    _check(machine, payload, machine._paxospp_commands)


def refused_commands(machine: StateMachine, payloads: Sequence[bytes]) -> list[tuple[int, str]]:
    """Check many commands at once; return the index of each one that is refused, with the reason.

    An empty payload is skipped: it stands in for a call that was refused before.
    """
    refused: list[tuple[int, str]] = []
    typed, table = not machine.full_control, machine._paxospp_commands
    for place, payload in enumerate(payloads):
        try:
            if typed and payload:
                end = payload[0] + 1
                table[payload[:end]].check(payload[end:])
            elif payload:
                check_command(machine, payload)
        except (RejectedError, NotUnderstoodError) as error:
            refused.append((place, str(error)))
    return refused


def check_query(machine: StateMachine, request: bytes) -> None:
    """Raise RejectedError, with one line, unless ``machine`` has this query and the arguments are right."""
    _check(machine, request, machine._paxospp_queries)


def _check(machine: StateMachine, payload: bytes, table: _Table) -> None:
    if machine.full_control:
        if payload[:1] != b"\x00":
            kind = table._kind.kind
            raise RejectedError(f"{short_name(type(machine))} takes raw bytes, not a {kind} by name")
        return
    end = payload[0] + 1 if payload else 0
    try:
        codec = table[payload[:end]]
    except NotUnderstoodError as error:
        raise RejectedError(str(error)) from None
    codec.check(payload[end:])


def complete_call(machine: StateMachine, payload: bytes) -> bytes:
    """Return a command's payload with missing defaults filled in; the same object if none is missing."""
    if machine.full_control or not payload:
        return payload
    end = payload[0] + 1
    try:
        codec = machine._paxospp_commands[payload[:end]]
    except NotUnderstoodError:
        return payload
    arguments = payload[end:]
    complete = codec.complete(arguments)
    return payload if complete is arguments else payload[:end] + complete


def prepare(machine: object) -> StateMachine:
    """Check, when a node starts, what would otherwise fail later; return ``machine``.

    Raises:
        ConfigError: an annotation cannot be resolved or stored, an attribute has no annotation, or a
            value would not come back from a snapshot. The text says what to write.
    """
    if not isinstance(machine, StateMachine):
        raise ConfigError(f"{machine!r} is not a state machine: subclass paxospp.StateMachine and pass an instance")
    cls = type(machine)
    if cls is StateMachine:
        raise ConfigError("StateMachine itself holds no state: pass an instance of a subclass")
    cls._paxospp_commands.fill()
    cls._paxospp_queries.fill()
    if overridden(cls, StateMachine) & {"snapshot", "restore"}:
        return machine
    fields = _fields(cls)
    try:
        restored = decode_fields(cls, machine.snapshot(), fields)
    except TypeError as error:
        raise MachineError(str(error)) from error
    for name, value in restored.items():
        held = type(getattr(machine, name))
        if held is not type(value) and issubclass(held, type(value)):
            # For example a defaultdict: replicas that restored a snapshot would lack its factory.
            raise MachineError(
                f"{short_name(cls)}.{name} holds a {held.__qualname__}, and would come back from a snapshot as "
                f"{type(value).__qualname__}: store one of those, or annotate the type that it holds"
            )
    return machine


def _check_annotated(machine: StateMachine, fields: Mapping[str, StateField]) -> None:
    for name, value in getattr(machine, "__dict__", {}).items():
        if name not in fields:
            raise MachineError(
                f"{short_name(type(machine))}.{name} is part of the state but has no annotation in the class body; "
                f"write `{name}: {_guess(value)}` there"
            )


def _guess(value: object) -> str:
    """Return an annotation to suggest for an attribute with this value."""
    if value is None:
        return "<type> | None"
    name = type(value).__name__
    match value:
        case dict():
            return f"{name}[<type>, <type>]"
        case list() | set() | frozenset():
            return f"{name}[<type>]"
        case tuple():
            return "tuple[<type>, ...]"
        case _:
            return name


def describe(machine: StateMachine) -> dict[str, dict[str, list[tuple[str, bool, bool]]]]:
    """Return commands and queries by name, each parameter as (name, is annotated ``str``, has a default)."""

    def table(codecs: _Table) -> dict[str, list[tuple[str, bool, bool]]]:
        codecs.fill()
        return {
            codec.name: [(p.name, p.is_text, p.has_default) for p in codec.parameters]
            for codec in sorted(codecs.values(), key=lambda codec: codec.name)
        }

    return {"commands": table(machine._paxospp_commands), "queries": table(machine._paxospp_queries)}


@dataclass(frozen=True, slots=True)
class MachineType:
    """A state machine that a plug-in offers under a name, for ``paxospp serve --machine NAME``."""

    name: str
    factory: Callable[[], StateMachine]
    summary: str = ""
