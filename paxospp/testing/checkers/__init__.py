"""Checkers for histories: could calls made one at a time have had the results that callers saw?

There are three checkers, cheapest first:

* ``check_witness`` needs the order of the log, which a simulator knows; it searches nothing;
* ``zones`` needs only the history, of ``put`` and ``get`` with values written once; it searches nothing either;
* ``wing_gong`` needs only the history, of any model; it searches all orders within a budget, and is exact.

``check_linearizable`` splits a history by key, because a history is linearizable if and only if the part of each object
is (the locality of Herlihy and Wing), and gives each part to the cheaper of the last two that can judge it::

    history = History()
    number = history.call("put", "k", 1)
    await client.execute(KeyValue.put, "k", 1)
    history.answer(number, None)
    ...
    check_linearizable(history).expect()
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

from paxospp.state_machine import StateMachine
from paxospp.testing.checkers.history import History, Operation, Raised
from paxospp.testing.checkers.models import KeyValueModel, MachineModel, SequentialModel, run_on
from paxospp.testing.checkers.verdict import Judgement, NotLinearizableError, Verdict, linearizable
from paxospp.testing.checkers.wing_gong import search
from paxospp.testing.checkers.witness import Logged, check_order, check_witness
from paxospp.testing.checkers.zones import check_zones, fits_zones

__all__ = [
    "BUDGET",
    "History",
    "Judgement",
    "KeyValueModel",
    "Logged",
    "MachineModel",
    "Model",
    "NotLinearizableError",
    "Operation",
    "Raised",
    "Verdict",
    "check_linearizable",
    "check_order",
    "check_witness",
    "run_on",
]

BUDGET = 1_000_000
"""How many times the search places an operation for one part of a history: some seconds with ``KeyValueModel``."""


def check_linearizable(
    history: Iterable[Operation],
    model: SequentialModel | Callable[[], StateMachine] | None = None,
    *,
    budget: int = BUDGET,
) -> Verdict:
    """Check whether ``history`` is linearizable: some order of its operations explains every answer.

    In that order, an operation that returned before another was called comes before it.

    Args:
        history: a ``History``, or other operations.
        model: what the object does; None: the ``kv`` machine, key by key. The class of a state machine stands for
            ``MachineModel``, which splits the history by ``Operation.key``: operations of different keys must not
            affect each other, and those with the key None are one part.
        budget: how many times the search places an operation, per key. A history that is not settled by then is neither
            linearizable nor a violation.

    Returns:
        The verdict, with the operations that show a violation.
    """
    used: SequentialModel = KeyValueModel() if model is None else _as_model(model)
    steps = 0
    undecided: Verdict | None = None
    for part in _parts(history, used).values():
        verdict = _check_part(part, used, budget)
        steps += verdict.steps
        if verdict.violated:
            return verdict
        if not verdict.ok:
            undecided = verdict
    return linearizable(steps) if undecided is None else undecided


def _as_model(model: SequentialModel | Callable[[], StateMachine]) -> SequentialModel:
    return MachineModel(model) if callable(model) else model


def _parts(history: Iterable[Operation], model: SequentialModel) -> dict[Hashable, list[Operation]]:
    parts: dict[Hashable, list[Operation]] = {}
    for operation in history:
        parts.setdefault(model.part(operation), []).append(operation)
    return parts


def _check_part(operations: Sequence[Operation], model: SequentialModel, budget: int) -> Verdict:
    if isinstance(model, KeyValueModel) and fits_zones(operations):
        return check_zones(operations)
    return search(operations, model, budget)
