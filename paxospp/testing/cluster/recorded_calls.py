"""Record calls and their outcomes in a history.

The class of an error says what it proves: refused, unavailable and overloaded calls had no effect; a cancelled call or
one that raised ``OutcomeUnknownError`` may have had one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from paxospp.calls import Calls
from paxospp.errors import CallError, CommandError, OutcomeUnknownError
from paxospp.state_machine import MachineOperation
from paxospp.testing.checkers import History, Raised


class Recorded:
    """A client or node whose calls are recorded in ``history``.

    Args:
        calls: a client or a node.
        history: where to record the calls.
        process: the name of the caller, for reports.
        key: returns the object that a call concerns, from its name and arguments, for machines with independent
            objects. The model of the ``kv`` machine knows its keys itself.
    """

    def __init__(
        self,
        calls: Calls,
        history: History,
        process: Hashable = None,
        *,
        key: Callable[[str, tuple[Any, ...]], Hashable] | None = None,
    ) -> None:
        self._calls = calls
        self._history = history
        self._process = process
        self._key = key

    async def execute(self, command: Any, /, *arguments: Any, **options: Any) -> Any:
        """Call ``execute`` of the client or node with arguments by position, and record how the call ended."""
        return await self._record(self._calls.execute, command, arguments, options, query=False)

    async def query(self, query: Any, /, *arguments: Any, **options: Any) -> Any:
        """Call ``query`` of the client or node with arguments by position, and record how the call ended."""
        return await self._record(self._calls.query, query, arguments, options, query=True)

    async def _record(
        self, verb: Callable[..., Any], call: Any, arguments: tuple[Any, ...], options: dict[str, Any], *, query: bool
    ) -> Any:
        name = call.name if isinstance(call, MachineOperation) else str(call)
        key = None if self._key is None else self._key(name, arguments)
        number = self._history.call(name, *arguments, key=key, process=self._process, query=query)
        try:
            result = await verb(call, *arguments, **options)
        except CommandError as error:
            self._history.answer(number, Raised(error.type))
            raise
        except OutcomeUnknownError:
            self._history.unknown(number)
            raise
        except CallError:
            self._history.refuse(number)
            raise
        except BaseException:  # cancelled: the outcome will never be known
            self._history.unknown(number)
            raise
        self._history.answer(number, result)
        return result
