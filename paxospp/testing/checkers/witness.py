"""The witness check: the order is known, so nothing is searched. O(n) once the reads are sorted.

Whoever sees the chosen log, such as a simulator, knows where every command took effect. It is
enough to run that log on one machine and to look at three things: each answered command stands
in the log once and was answered what the machine says there; each query was answered what the
machine says at the slot it was served at; and where one operation returned before another was
called, the log has them in that order. A log that passes is a proof of linearizability.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable
from typing import Any, NamedTuple

from paxospp.testing.checkers.history import Operation
from paxospp.testing.checkers.verdict import Verdict, linearizable, violation

_AFTER_ALL = math.inf


class Logged(NamedTuple):
    """A command where the chosen log has it; one that was a duplicate there is not in the list."""

    id: Hashable
    """That of the ``Operation`` that asked for it."""
    slot: int
    position: int
    kind: str
    arguments: tuple[Any, ...]


class _Place(NamedTuple):
    """Where an operation took effect; a query comes after every command of its slot."""

    slot: int
    position: float
    """Infinite for a query."""


def check_witness(
    operations: Iterable[Operation],
    log: Iterable[Logged],
    run: Callable[[str, tuple[Any, ...]], Any],
    *,
    refused: Iterable[Operation] = (),
) -> Verdict:
    """Whether ``log`` explains ``operations``.

    Args:
        operations: those answered and those unknown. A query needs ``read_at``, or is taken for a command.
        log: the commands that took effect, in the order of slots and positions.
        run: one machine: ``run(kind, arguments)`` changes it by a command or asks it a query, and
            gives the result (``Raised`` where it raised). Called in the order of the log.
        refused: what had no effect by somebody's word, and so may not stand in the log.
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
            return violation(f"refused, and yet applied at {tuple(place)}", denied[logged.id])
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
            return violation("answered, and not in the log", operation)
    return check_order((o, _place_of(o, places)) for o in known if o.read_at is not None or o.id in places)


def check_order(placed: Iterable[tuple[Operation, tuple[float, float]]]) -> Verdict:
    """Whether the places respect real time: what returned before another was called stands before it.

    Two queries may share a place. A sweep over all calls and returns, with the latest place so far.
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
                f"one returned before the other was called, and they stand at {where}", latest[0], operation
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
