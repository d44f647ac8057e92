"""What an object does when it is called by one caller at a time: what histories are held against.

``KeyValueModel`` is written out for speed, one key at a time; ``MachineModel`` makes a model of
any typed state machine, with its snapshots as states.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Protocol

from paxospp.errors import RejectedError
from paxospp.state_machine import Context, StateMachine, operations_of, set_context
from paxospp.testing.checkers.history import Operation, Raised


class Model(Protocol):
    """A sequential object; a state is a value, and is never changed in place."""

    def part(self, operation: Operation) -> Hashable:
        """Of which object it is: operations of different parts do not touch each other."""
        ...

    def initial(self) -> Hashable:
        """The state before anything was called."""
        ...

    def apply(self, state: Any, operation: Operation) -> tuple[Hashable, Any]:
        """The state after the operation, and what it answers; ``operation.result`` is not looked at."""
        ...


class KeyValueModel:
    """One key of the ``kv`` machine: ``put``, ``get``, ``cas`` and ``delete``; None is an absent key.

    Each key is an object of its own, so a history falls apart into small ones.
    """

    def part(self, operation: Operation) -> Hashable:
        return operation.arguments[0] if operation.arguments else operation.key

    def initial(self) -> Hashable:
        return None

    def apply(self, state: Any, operation: Operation) -> tuple[Hashable, Any]:
        match operation.kind, operation.arguments:
            case "put", (_, value):
                return value, None
            case "get", (_,):
                return state, state
            case "cas", (_, expected, new):
                return (new, True) if state == expected else (state, False)
            case "delete", (_,):
                return None, state is not None
        raise ValueError(f"{operation}: the model of one key has put, get, cas and delete; use MachineModel")


class MachineModel:
    """Any typed state machine; a state is its snapshot. Slower than a model that is written out.

    ``self.context`` says slot 1 and time 0 throughout: what the real one said, a history does not tell.
    """

    def __init__(self, machine: Callable[[], StateMachine]) -> None:
        self._make = machine

    def part(self, operation: Operation) -> Hashable:
        return operation.key

    def initial(self) -> Hashable:
        return b"".join(self._make().snapshot())

    def apply(self, state: Any, operation: Operation) -> tuple[Hashable, Any]:
        machine = self._make()
        machine.restore([state])
        result = run_on(machine)(operation.kind, operation.arguments)
        return b"".join(machine.snapshot()), result


def run_on(machine: StateMachine) -> Callable[[str, tuple[Any, ...]], Any]:
    """``run(kind, arguments)`` on this one machine, for ``check_witness``; what the method raises is ``Raised``."""
    operations = {operation.name: operation for operation in operations_of(type(machine)).values()}

    def run(kind: str, arguments: tuple[Any, ...]) -> Any:
        operation = operations.get(kind)
        if operation is None:
            raise RejectedError(f"{type(machine).__name__} has no {kind!r}: it has {', '.join(sorted(operations))}")
        set_context(machine, Context(1, 0, 0.0))
        try:
            return operation.function(machine, *arguments)
        except Exception as error:
            return Raised(type(error).__name__)
        finally:
            set_context(machine, None)

    return run
