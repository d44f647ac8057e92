"""What was called and what came back: operations, and the history that records them.

A history knows nothing of clusters or machines. It gives each call and each return the next
number of one counter, so that "a returned before b was called" is ``a.ret < b.call`` and no
clock is trusted. How an operation ended decides what may be concluded from it:

* *answered*, an error raised by the machine included: it took effect once, between call and return;
* *unknown* (time-out, lost connection, cancelled): it took effect once after its call, or never;
* *refused* (never proposed): it had no effect, and is left out of ``operations``;
* *not answered*, for a query: it says nothing, and is dropped.

A call that is re-sent with the same session and number is one operation: first call, last return.

Reference: Herlihy, Wing, "Linearizability: A Correctness Condition for Concurrent Objects" (1990).
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True, frozen=True)
class Raised:
    """The result of an operation whose method raised: an answer like any other. Texts are not compared."""

    type: str


@dataclass(slots=True, frozen=True, kw_only=True)
class Operation:
    """One call as its caller saw it."""

    id: Hashable
    """Equal for the same operation in a history and in a log; in a recorded history its number."""
    call: int
    ret: int | None
    """None: the outcome is unknown; it may have taken effect at any time after its call, or never."""
    kind: str
    """The name of the command or query."""
    arguments: tuple[Any, ...] = ()
    result: Any = None
    """What came back, or ``Raised``; means nothing where ``ret`` is None."""
    key: Hashable = None
    """Of which of several objects that do not touch each other, where the model does not see it itself."""
    process: Hashable = None
    """Who called, for reports only."""
    read_at: int | None = None
    """For a query of which it is known: the slot up to which the answering replica had applied."""

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
    """Records operations while they happen; may be shared by the clients of one process."""

    def __init__(self) -> None:
        self._clock = itertools.count(1)
        self._open: dict[int, _Open] = {}
        self._ended: list[Operation] = []
        self._answered = 0
        self.refused: list[Operation] = []
        """Operations that had no effect, by the word of whoever refused them."""

    @property
    def operations(self) -> tuple[Operation, ...]:
        """Everything that may have had an effect or was seen, those still under way as unknown."""
        under_way = [self._operation(id, opened, None, None) for id, opened in self._open.items() if not opened.query]
        return tuple(sorted([*self._ended, *under_way], key=lambda operation: operation.call))

    @property
    def answered(self) -> int:
        """How many operations came back with an answer."""
        return self._answered

    def __len__(self) -> int:
        return len(self._ended) + len(self._open)

    def __iter__(self) -> Iterator[Operation]:
        return iter(self.operations)

    def call(
        self, kind: str, *arguments: Any, key: Hashable = None, process: Hashable = None, query: bool = False
    ) -> int:
        """An operation begins; the number to end it by."""
        number = next(self._clock)
        self._open[number] = _Open(number, kind, arguments, key, process, query)
        return number

    def answer(self, number: int, result: Any, *, read_at: int | None = None) -> Operation:
        """It was answered; an exception of the machine is the answer ``Raised(type)``."""
        operation = self._operation(number, self._open.pop(number), next(self._clock), result, read_at)
        self._ended.append(operation)
        self._answered += 1
        return operation

    def unknown(self, number: int) -> None:
        """Nobody will say what became of it. A query says nothing then."""
        opened = self._open.pop(number)
        if not opened.query:
            self._ended.append(self._operation(number, opened, None, None))

    def refuse(self, number: int) -> None:
        """It had no effect and never will: it was refused before it was proposed."""
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
