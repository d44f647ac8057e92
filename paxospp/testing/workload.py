"""Workloads: random calls of a state machine, drawn from the annotations of its methods.

The domain is small on purpose: calls with the same few keys and amounts affect each other, and that is where machines
go wrong. Every drawn call was encoded and decoded once, so it is valid. The calls depend only on the ``random.Random``
that is passed in, and are the same in every interpreter. If the domain does not fit a machine, write a workload: a
function of ``Random`` that returns a call.

Idea: Claessen and Hughes, "QuickCheck" (2000), generators from types; Jackson, "Software
Abstractions" (2006), the small-scope hypothesis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from paxospp.errors import ConfigError, RejectedError
from paxospp.state_machine import Command, MachineOperation, Query, StateMachine, operations_of, pack_raw
from paxospp.state_machine.annotations import short_name
from paxospp.testing.domains import Draw, NothingToDrawError, draws_of

Call = tuple[Any, ...]
"""An operation and its arguments by position: ``(Bank.transfer, "a", "b", 5)``.

The operation may be given by name (``("transfer", "a", "b", 5)``): a command of that name, or else a query. For a
machine in full control a call is ``("execute", b"…")`` or ``("query", b"…")``.
"""

Workload = Callable[[Random], Call]
"""Draws the next call."""

_QUERIES = 0.25
_DEFAULTS = 0.25
_ATTEMPTS = 200


class EncodedCall(NamedTuple):
    """A call as it is sent."""

    payload: bytes
    is_query: bool


def draw_call(machine_class: type[StateMachine], random: Random) -> Call:
    """Draw a call of a command or query of ``machine_class``, with arguments that fit.

    Raises:
        ConfigError: the machine has no commands or queries, or no value of an argument's type can be drawn.
    """
    return workload_of(machine_class)(random)


def workload_of(machine_class: type[StateMachine]) -> Workload:
    """Return the workload that ``check_machine`` and ``Simulation`` use by default.

    One call in four is a query, if the machine has queries.

    Raises:
        ConfigError: as for ``draw_call``.
    """
    drawn = _drawn.get(machine_class)
    if drawn is None:
        drawn = _drawn[machine_class] = _Drawn(machine_class)
    return drawn


def encode_call(machine_class: type[StateMachine], call: Call) -> EncodedCall:
    """Return ``call`` in encoded form, and whether it is a query.

    Raises:
        RejectedError: its arguments do not fit.
        ConfigError: it is not a call of this machine.
    """
    if not isinstance(call, tuple) or not call:
        raise ConfigError(f"the workload returned {call!r}: return a call such as (Bank.transfer, 'a', 'b', 5)")
    operation, *arguments = call
    if machine_class.full_control:
        if operation in ("execute", "query") and [type(argument) for argument in arguments] == [bytes]:
            return EncodedCall(pack_raw(arguments[0]), operation == "query")
        raise ConfigError(f"{short_name(machine_class)} takes ('execute', b'…') and ('query', b'…'), not {call!r}")
    if isinstance(operation, str):
        operation = _named(machine_class, operation)
    if not isinstance(operation, MachineOperation):
        raise ConfigError(f"the workload returned {call!r}: a call begins with a command or a query")
    payload = operation.encode(arguments)
    operation.codec.check(payload[len(operation.codec.prefix) :])
    return EncodedCall(payload, isinstance(operation, Query))


def _named(machine_class: type[StateMachine], name: str) -> MachineOperation[..., Any]:
    found = [operation for operation in operations_of(machine_class).values() if operation.name == name]
    if not found:
        raise ConfigError(
            f"the workload calls {name!r}, but {short_name(machine_class)} has no command or query of that name"
        )
    return min(found, key=lambda operation: isinstance(operation, Query))


class _Drawn:
    """Draws calls of one class."""

    def __init__(self, machine_class: type[StateMachine]) -> None:
        if machine_class.full_control:
            raise ConfigError(f"{short_name(machine_class)} takes raw bytes: pass a workload that draws them")
        operations = list(operations_of(machine_class).values())
        self._commands = [_Calls(machine_class, each) for each in operations if isinstance(each, Command)]
        self._queries = [_Calls(machine_class, each) for each in operations if isinstance(each, Query)]
        if not operations:
            raise ConfigError(f"{short_name(machine_class)} has no commands and no queries to call")

    def __call__(self, random: Random) -> Call:
        queries = bool(self._queries) and (not self._commands or random.random() < _QUERIES)
        return random.choice(self._queries if queries else self._commands).draw(random)


class _Calls:
    """Draws calls of one operation."""

    def __init__(self, machine_class: type[StateMachine], operation: MachineOperation[..., Any]) -> None:
        self._operation = operation
        self._where = f"{short_name(machine_class)}.{operation.function.__name__}"
        self._draws: Sequence[Draw] = []
        try:
            self._draws = draws_of([parameter.annotation for parameter in operation.codec.parameters])
        except NothingToDrawError as error:
            raise ConfigError(f"{self._where}: {error}; pass a workload") from error

    def draw(self, random: Random) -> Call:
        reason: Exception | None = None
        for _ in range(_ATTEMPTS):
            try:
                arguments = [
                    parameter.default if parameter.has_default and random.random() < _DEFAULTS else draw(random, 0)
                    for parameter, draw in zip(self._operation.codec.parameters, self._draws, strict=True)
                ]
                # A node would refuse what a constraint or a __post_init__ refuses; draw again instead.
                self._operation.codec.check(self._operation.encode(arguments)[len(self._operation.codec.prefix) :])
            except NothingToDrawError as error:
                raise ConfigError(f"{self._where}: {error}; pass a workload") from error
            except (RejectedError, ValueError, TypeError) as error:
                reason = error
            else:
                return (self._operation, *arguments)
        raise ConfigError(
            f"{self._where}: none of {_ATTEMPTS} drawn calls has arguments that fit: {reason}; pass a workload"
        ) from reason


_drawn: WeakKeyDictionary[type[StateMachine], _Drawn] = WeakKeyDictionary()
