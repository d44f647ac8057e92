"""Operations, and the history that records what was called and what was returned.

A history does not depend on clusters or machines. It numbers calls and returns with one counter, so "a returned before
b was called" is ``a.ret < b.call``, and no clock is trusted. The end of an operation decides what it proves:

* *answered*, which includes an error raised by the machine: it took effect once, between call and return;
* *unknown* (time-out, lost connection, cancelled): it took effect once after its call, or never;
* *refused* (never proposed): it had no effect, and is left out of ``operations``;
* a query that was *not answered* proves nothing, and is dropped.

A call that is sent again with the same session and number is one operation: from its first call to its last return.

Reference: Herlihy, Wing, "Linearizability: A Correctness Condition for Concurrent Objects" (1990).
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True, frozen=True)
class Raised:
    """The result of an operation whose method raised. Only the type of the exception is compared, not its text."""

    type: str


@dataclass(slots=True, frozen=True, kw_only=True)
class Operation:
    """One call as its caller saw it."""

    id: Hashable
    """Identifies the operation in a history and in a log; in a recorded history, its number."""
    call: int
    """When it was called, by the history's counter."""
    ret: int | None
    """When it returned; None: its outcome is unknown, so it took effect at any time after its call, or never."""
    kind: str
    """The name of the command or query."""
    arguments: tuple[Any, ...] = ()
    result: Any = None
    """The result, or ``Raised``; meaningless if ``ret`` is None."""
    key: Hashable = None
    """The object that it concerns, if the machine has several independent ones and the model cannot tell."""
    process: Hashable = None
    """The caller, for reports only."""
    read_at: int | None = None
    """For a query, the slot up to which the answering replica had applied; None: unknown."""

    @property
    def unknown(self) -> bool:
        return self.ret is None

    def __str__(self) -> str:
        who = "" if self.process is None else f"{self.process}: "
        arguments = ", ".join(map(repr, self.arguments))
        end = "?" if self.ret is None else f"{self.result!r}"
        return f"{who}{self.kind}({arguments}) -> {end}  [{self.call}, {'∞' if self.ret is None else self.ret}]"


@dataclass(slots=True)
class _Open:
    call: int
    kind: str
    arguments: tuple[Any, ...]
    key: Hashable
    process: Hashable
    query: bool


class History:
    """Records operations while they happen. All clients in one process may share a history."""

    def __init__(self) -> None:
        self._clock = itertools.count(1)
        self._open: dict[int, _Open] = {}
        self._ended: list[Operation] = []
        self._answered = 0
        self.refused: list[Operation] = []
        """Operations that had no effect, because they were refused."""

    @property
    def operations(self) -> tuple[Operation, ...]:
        """All operations that may have had an effect or were answered; those still under way are unknown."""
        under_way = [self._operation(id, opened, None, None) for id, opened in self._open.items() if not opened.query]
        return tuple(sorted([*self._ended, *under_way], key=lambda operation: operation.call))

    @property
    def answered(self) -> int:
        """How many operations were answered."""
        return self._answered

    def __len__(self) -> int:
        return len(self._ended) + len(self._open)

    def __iter__(self) -> Iterator[Operation]:
        return iter(self.operations)

    def call(
        self, kind: str, *arguments: Any, key: Hashable = None, process: Hashable = None, query: bool = False
    ) -> int:
        """Record that an operation begins, and return its number for ``answer``, ``unknown`` or ``refuse``."""
        number = next(self._clock)
        self._open[number] = _Open(number, kind, arguments, key, process, query)
        return number

    def answer(self, number: int, result: Any, *, read_at: int | None = None) -> Operation:
        """Record the answer to an operation; if the machine raised an exception, ``result`` is ``Raised(type)``."""
        operation = self._operation(number, self._open.pop(number), next(self._clock), result, read_at)
        self._ended.append(operation)
        self._answered += 1
        return operation

    def unknown(self, number: int) -> None:
        """Record that the outcome of an operation will never be known; a query is dropped."""
        opened = self._open.pop(number)
        if not opened.query:
            self._ended.append(self._operation(number, opened, None, None))

    def refuse(self, number: int) -> None:
        """Record that an operation had no effect and never will: it was refused before it was proposed."""
        opened = self._open.pop(number)
        if not opened.query:
            self.refused.append(self._operation(number, opened, next(self._clock), None))

    @staticmethod
    def _operation(number: int, opened: _Open, ret: int | None, result: Any, read_at: int | None = None) -> Operation:
        return Operation(
            id=number,
            call=opened.call,
            ret=ret,
            kind=opened.kind,
            arguments=opened.arguments,
            result=result,
            key=opened.key,
            process=opened.process,
            read_at=read_at,
        )
