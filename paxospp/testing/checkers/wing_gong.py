"""The search of Wing and Gong for an order that explains a history of any sequential model.

It takes exponential time in the worst case, so it has a budget.

Calls and returns are in one doubly linked list, in the order in which they happened. An operation whose call comes
before the first remaining return may be placed next. If the model gives the same answer as the history, the call and
the return are *lifted* out of the list, and the search continues from the front. If it meets a return first, it puts
the last placed operation back (*unlifts* it) and tries the next one. It never tries the same set of placed operations
with the same state twice.

An operation with an unknown outcome has no return: it may be placed anywhere after its call, with any answer, or not at
all.

References: Wing, Gong, "Testing and Verifying Concurrent Objects" (1993); Lowe, "Testing for
linearizability" (2017), whose memoization makes it practical; Athalye, Porcupine, for the data structure.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from paxospp.testing.checkers.history import Operation
from paxospp.testing.checkers.models import SequentialModel
from paxospp.testing.checkers.verdict import Judgement, Verdict, linearizable, violation

SHOWN_MAX = 20


class _Entry:
    """A call or a return in the list. A call has its return as ``partner``; the ``number`` of a return is negative."""

    __slots__ = ("after", "before", "number", "partner")

    def __init__(self, number: int) -> None:
        self.number = number
        self.partner: _Entry | None = None
        self.before: _Entry = self
        self.after: _Entry | None = None

    @property
    def is_return(self) -> bool:
        return self.number < 0

    def lift(self) -> None:
        self.before.after = self.after
        if self.after is not None:
            self.after.before = self.before

    def unlift(self) -> None:
        self.before.after = self
        if self.after is not None:
            self.after.before = self


def search(operations: Sequence[Operation], model: SequentialModel, budget: int) -> Verdict:
    """Search for an order of ``operations`` that ``model`` explains, with at most ``budget`` placements."""
    head = _linked(operations)
    answered = sum(not operation.unknown for operation in operations)
    state: Hashable = model.initial()
    placed_mask = 0
    seen: set[tuple[int, Hashable]] = {(0, state)}
    placed: list[tuple[_Entry, Hashable]] = []
    furthest: tuple[int, list[int], _Entry | None] = (-1, [], None)
    steps = 0
    entry = head.after
    while answered:
        if entry is not None and not entry.is_return:
            steps += 1
            if steps > budget:
                return Verdict(Judgement.BUDGET_SPENT, f"{budget} placements were tried", steps=steps)
            operation = operations[entry.number]
            next_state, result = model.apply(state, operation)
            mask = placed_mask | 1 << entry.number
            fits = operation.unknown or result == operation.result
            if fits and (mask, next_state) not in seen:
                seen.add((mask, next_state))
                placed.append((entry, state))
                state, placed_mask = next_state, mask
                _lift(entry)
                answered -= not operation.unknown
                entry = head.after
            else:
                entry = entry.after
            continue
        if len(placed) > furthest[0]:
            furthest = (len(placed), [call.number for call, _ in placed], entry)
        if not placed:
            return _violation(operations, furthest[1], furthest[2], steps)
        call, state = placed.pop()
        placed_mask &= ~(1 << call.number)
        _unlift(call)
        answered += not operations[call.number].unknown
        entry = call.after
    return linearizable(steps)


def _linked(operations: Sequence[Operation]) -> _Entry:
    """Return the head of the list, an entry that stands for no call or return."""
    moments: list[tuple[int, _Entry]] = []
    for number, operation in enumerate(operations):
        call = _Entry(number)
        moments.append((operation.call, call))
        if operation.ret is not None:
            call.partner = _Entry(-1 - number)
            moments.append((operation.ret, call.partner))
    moments.sort(key=lambda moment: moment[0])
    head = last = _Entry(0)
    for _, entry in moments:
        last.after, entry.before = entry, last
        last = entry
    return head


def _lift(call: _Entry) -> None:
    call.lift()
    if call.partner is not None:
        call.partner.lift()


def _unlift(call: _Entry) -> None:
    if call.partner is not None:
        call.partner.unlift()
    call.unlift()


def _violation(operations: Sequence[Operation], order: Sequence[int], stuck: _Entry | None, steps: int) -> Verdict:
    """Return a violation that shows the end of the longest order found, and the operation that fits nowhere."""
    last = [operations[number] for number in order[-SHOWN_MAX:]]
    if stuck is None:
        return violation("no order explains the history", *last, steps=steps)
    culprit = operations[-1 - stuck.number]
    reason = (
        f"an order that ends as below explains {len(order)} of {len(operations)} operations; "
        "the last line below fits nowhere"
    )
    return violation(reason, *last, culprit, steps=steps)
