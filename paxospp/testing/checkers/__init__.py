"""Checkers for histories: was what callers saw possible if calls had been made one at a time?

Three layers, cheapest first:

* ``check_witness``: the order is known (a simulator sees the log); nothing is searched;
* zones: black box, ``put`` and ``get`` with values written once; no search either;
* search: black box, any model; exact, within a budget.

``check_linearizable`` takes a history apart by key, since a history is linearizable just if each
object's part of it is (Herlihy and Wing's locality), and gives each part to the cheapest of the
last two that can judge it::

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
from paxospp.testing.checkers.models import KeyValueModel, MachineModel, Model, run_on
from paxospp.testing.checkers.search import search
from paxospp.testing.checkers.verdict import Judgement, NotLinearizableError, Verdict, linearizable
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
"""Placements that one part of a history may cost: some seconds with a model that is written out."""


def check_linearizable(
    history: Iterable[Operation],
    model: Model | Callable[[], StateMachine] | None = None,
    *,
    budget: int = BUDGET,
) -> Verdict:
    """Whether some order of ``history`` explains every answer and keeps what returned before a call before it.

    Args:
        history: a ``History``, or operations from elsewhere.
        model: what the object does; without one, that of the ``kv`` machine, key by key. A state
            machine's class stands for ``MachineModel``, where ``key`` takes the history apart:
            operations of different keys must not touch each other there, None is a key like any.
        budget: placements to try per key; a history that is not settled by then is neither
            linearizable nor a violation.
    """
    used: Model = KeyValueModel() if model is None else _as_model(model)
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


def _as_model(model: Model | Callable[[], StateMachine]) -> Model:
    return MachineModel(model) if callable(model) else model


def _parts(history: Iterable[Operation], model: Model) -> dict[Hashable, list[Operation]]:
    parts: dict[Hashable, list[Operation]] = {}
    for operation in history:
        parts.setdefault(model.part(operation), []).append(operation)
    return parts


def _check_part(operations: Sequence[Operation], model: Model, budget: int) -> Verdict:
    if isinstance(model, KeyValueModel) and fits_zones(operations):
        return check_zones(operations)
    return search(operations, model, budget)
