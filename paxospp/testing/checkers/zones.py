"""The zone check, for one register to which each value is written once. It is exact and takes O(n log n) time.

The operations on one value, its write and its reads, are a *cluster*. In any order that explains the history they are
adjacent, so only the *zone* of a cluster matters: from ``f``, the first return in it, to ``s``, the last call. If
``f < s``, the register had the value from f to s (a forward zone); otherwise it had the value at some moment between s
and f (a backward zone).

A register is linearizable if and only if each read has a write that was called before the read returned, no two forward
zones overlap, and no backward zone lies inside a forward zone.

A write with an unknown outcome that was never read need not have happened, and is left out. If it was read, it happened
before the first return of such a read.

Reference: Gibbons, Korach, "Testing Shared Memories" (1997), section 4.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from paxospp.testing.checkers.history import Operation
from paxospp.testing.checkers.verdict import Verdict, linearizable, violation

WRITE, READ = "put", "get"


@dataclass(slots=True)
class _Cluster:
    """The operations on one value. The initial value was written before everything else."""

    value: Any
    write: Operation | None = None
    reads: list[Operation] = field(default_factory=list)
    initial: bool = False

    @property
    def operations(self) -> tuple[Operation, ...]:
        return (*((self.write,) if self.write is not None else ()), *self.reads)

    @property
    def first_return(self) -> float:
        """The first return of the write, or of a read that proves that the write had happened."""
        returns = (math.inf if operation.ret is None else operation.ret for operation in self.operations)
        return -1 if self.initial else min(returns)

    @property
    def last_call(self) -> float:
        return max((operation.call for operation in self.operations), default=-1)


def fits_zones(operations: Sequence[Operation], initial: Hashable = None) -> bool:
    """Whether the zone check can judge these operations: only puts and gets, and no value written twice.

    The initial value counts as written once.
    """
    written = {initial}
    for operation in operations:
        if operation.kind == WRITE and len(operation.arguments) == 2:
            value = operation.arguments[1]
            if not isinstance(value, Hashable) or value in written or operation.result not in (None,):
                return False
            written.add(value)
        elif operation.kind != READ or len(operation.arguments) != 1 or not isinstance(operation.result, Hashable):
            return False
    return True


def check_zones(operations: Sequence[Operation], initial: Hashable = None) -> Verdict:
    """Return the verdict on the operations on one key, for which ``fits_zones`` must be true."""
    clusters: dict[Any, _Cluster] = {initial: _Cluster(initial, initial=True)}
    for operation in operations:
        if operation.kind == WRITE:
            clusters[operation.arguments[1]] = _Cluster(operation.arguments[1], operation)
    for operation in operations:
        if operation.kind != READ or operation.ret is None:
            continue
        cluster = clusters.get(operation.result)
        if cluster is None:
            return violation("it read a value that was never written", operation)
        if cluster.write is not None and cluster.write.call > operation.ret:
            return violation("it read a value before it was written", cluster.write, operation)
        cluster.reads.append(operation)
    happened = [c for c in clusters.values() if c.initial or c.reads or (c.write is not None and not c.write.unknown)]
    return _check_overlaps(happened)


def _check_overlaps(clusters: Sequence[_Cluster]) -> Verdict:
    zones = sorted(((c.first_return, c.last_call, c) for c in clusters), key=lambda zone: min(zone[0], zone[1]))
    holder: tuple[float, float, _Cluster] | None = None  # the forward zone that reaches furthest so far
    for zone in zones:
        first_return, last_call, cluster = zone
        is_forward = first_return < last_call
        if holder is not None:
            if is_forward and first_return < holder[1]:
                return _both("the register had two values at the same time", holder[2], cluster)
            if not is_forward and first_return < holder[1]:
                return _both("a value was read before and after another was written", holder[2], cluster)
        if is_forward and (holder is None or last_call > holder[1]):
            holder = zone
    return linearizable()


def _both(reason: str, one: _Cluster, other: _Cluster) -> Verdict:
    return violation(f"{reason}: {one.value!r} and {other.value!r}", *one.operations, *other.operations)
