"""Sequential models: what an object does if it is called by one caller at a time.

``KeyValueModel`` is one key of the ``kv`` machine, written out for speed. ``MachineModel`` makes a model of any typed
state machine, with its snapshots as states.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Protocol

from paxospp.errors import RejectedError
from paxospp.state_machine import Context, StateMachine, operations_of, set_context
from paxospp.testing.checkers.history import Operation, Raised


class SequentialModel(Protocol):
    """A sequential object. Its states are values that are never changed in place."""

    def part(self, operation: Operation) -> Hashable:
        """Return which part of a history the operation belongs to; operations of different parts are independent."""
        ...

    def initial(self) -> Hashable:
        """Return the state before the first operation."""
        ...

    def apply(self, state: Any, operation: Operation) -> tuple[Hashable, Any]:
        """Return the state after the operation and its result; ``operation.result`` is ignored."""
        ...


class KeyValueModel:
    """One key of the ``kv`` machine: ``put``, ``get``, ``cas`` and ``delete``; the state None is an absent key.

    Each key is an object of its own, so that a history splits into short parts.
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
        raise ValueError(f"{operation}: KeyValueModel knows only put, get, cas and delete; use MachineModel")


class MachineModel:
    """Any typed state machine, with its snapshots as states; slower than a model written for the purpose.

    ``self.context`` always has slot 1 and time 0, because a history does not contain the real ones.
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
    """Return a function ``run(kind, arguments)`` that calls ``machine``, for ``check_witness``.

    If the method raises, the result is ``Raised``. An unknown ``kind`` raises RejectedError.
    """
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
