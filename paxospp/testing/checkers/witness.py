"""The witness check: the log gives the order, so nothing is searched. It takes O(n log n) time.

A simulator sees the chosen log, and knows where every command took effect. The check runs that log on one machine.
Each answered command must be in the log once, with the result that the machine has there. Each query must have the
answer that the machine gives at the slot where it was served. And where one operation returned before another was
called, the log must have them in that order. Then the log proves that the history is linearizable.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable
from typing import Any, NamedTuple

from paxospp.testing.checkers.history import Operation
from paxospp.testing.checkers.verdict import Verdict, linearizable, violation

_AFTER_ALL = math.inf


class Logged(NamedTuple):
    """A command that took effect, with its place in the chosen log; duplicates in the log are left out."""

    id: Hashable
    """The id of its ``Operation``."""
    slot: int
    position: int
    kind: str
    arguments: tuple[Any, ...]


class _Place(NamedTuple):
    """The place in the log where an operation took effect; a query comes after every command of its slot."""

    slot: int
    position: float
    """The position among the commands of the slot; infinity for a query."""


def check_witness(
    operations: Iterable[Operation],
    log: Iterable[Logged],
    run: Callable[[str, tuple[Any, ...]], Any],
    *,
    refused: Iterable[Operation] = (),
) -> Verdict:
    """Check whether ``log`` explains ``operations``.

    Args:
        operations: the operations that were answered and those with unknown outcomes. One without ``read_at`` is
            treated as a command, so a query needs it.
        log: the commands that took effect, in the order of slots and positions.
        run: ``run(kind, arguments)`` runs a command or a query on one machine, and returns the result (``Raised`` if
            it raised). It is called in the order of the log; see ``run_on``.
        refused: operations that had no effect, and so must not be in the log.

    Returns:
        The verdict, with the operations that show a violation.
    """
    known = list(operations)
    told = {operation.id: operation for operation in known if operation.read_at is None}
    denied = {operation.id: operation for operation in refused}
    reads = sorted((o for o in known if o.read_at is not None and not o.unknown), key=lambda o: o.read_at or 0)
    places: dict[Hashable, _Place] = {}
    asked = 0
    last = _Place(0, -1)
    for logged in log:
        place = _Place(logged.slot, logged.position)
        if place <= last:
            return violation(f"the log has {place} after {last}")
        last = place
        while asked < len(reads) and (reads[asked].read_at or 0) < logged.slot:
            if (wrong := _check_read(reads[asked], run)) is not None:
                return wrong
            asked += 1
        if logged.id in places:
            return _wrong(f"applied twice, at {tuple(places[logged.id])} and {tuple(place)}", told.get(logged.id))
        if logged.id in denied:
            return violation(f"refused, but applied at {tuple(place)}", denied[logged.id])
        places[logged.id] = place
        result = run(logged.kind, logged.arguments)
        operation = told.get(logged.id)
        if operation is None:
            continue
        if (operation.kind, operation.arguments) != (logged.kind, logged.arguments):
            return violation(f"the log has {logged.kind}{logged.arguments!r} under this id", operation)
        if not operation.unknown and operation.result != result:
            return violation(f"the log has it at {tuple(place)}, where its result is {result!r}", operation)
    for read in reads[asked:]:
        if (wrong := _check_read(read, run)) is not None:
            return wrong
    for operation in told.values():
        if not operation.unknown and operation.id not in places:
            return violation("answered, but not in the log", operation)
    return check_order((o, _place_of(o, places)) for o in known if o.read_at is not None or o.id in places)


def check_order(placed: Iterable[tuple[Operation, tuple[float, float]]]) -> Verdict:
    """Check that places respect real time: an operation that returned before another was called is placed before it.

    Two queries may share a place. The check goes through all calls and returns in order, and keeps the latest place of
    an operation that has returned.
    """
    known = list(placed)
    moments = [(operation.call, True, operation, place) for operation, place in known]
    moments += [(operation.ret, False, operation, place) for operation, place in known if operation.ret is not None]
    moments.sort(key=lambda moment: moment[0])
    latest: tuple[Operation, tuple[float, float]] | None = None
    for _, begins, operation, place in moments:
        if not begins:
            if latest is None or place > latest[1]:
                latest = operation, place
        elif latest is not None and place < latest[1]:
            where = f"{tuple(latest[1])} and {tuple(place)}"
            return violation(
                f"one returned before the other was called, but their places are {where}", latest[0], operation
            )
    return linearizable()


def _check_read(read: Operation, run: Callable[[str, tuple[Any, ...]], Any]) -> Verdict | None:
    answer = run(read.kind, read.arguments)
    if answer == read.result:
        return None
    return violation(f"after slot {read.read_at} the answer is {answer!r}", read)


def _place_of(operation: Operation, places: dict[Hashable, _Place]) -> _Place:
    return places[operation.id] if operation.read_at is None else _Place(operation.read_at, _AFTER_ALL)


def _wrong(reason: str, operation: Operation | None) -> Verdict:
    return violation(reason) if operation is None else violation(reason, operation)
