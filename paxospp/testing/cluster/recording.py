"""Calls that write their own history: what was asked, when, and what became of it.

The class of the error tells what may be concluded, as the contract says: refused, unavailable and
overloaded calls had no effect; a cancelled call and an ``OutcomeUnknownError`` may have had one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from paxospp.calls import Calls
from paxospp.errors import CallError, CommandError, OutcomeUnknownError
from paxospp.state_machine import MachineOperation
from paxospp.testing.checkers import History, Raised


class Recorded:
    """The two verbs of ``calls``, each call an operation of ``history``.

    Args:
        calls: a client or a node.
        process: who calls, for reports.
        key: of which object a call is, from its name and arguments; for machines whose parts do
            not touch each other. The model of ``kv`` sees its keys itself.
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
        """As ``Calls.execute``, with arguments by position."""
        return await self._record(self._calls.execute, command, arguments, options, query=False)

    async def query(self, query: Any, /, *arguments: Any, **options: Any) -> Any:
        """As ``Calls.query``, with arguments by position."""
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
        except BaseException:  # cancelled: from now on nobody knows
            self._history.unknown(number)
            raise
        self._history.answer(number, result)
        return result
