"""States that pass through a snapshot, into a machine whose sets iterate in another order.

All replicas of a simulation share one interpreter, and so the order in which it would iterate
over a small set of texts; in a cluster each has its own. A set rebuilt in a large table holds the
same and iterates otherwise, so a machine in which that order shows differs between replicas here
as it would there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_FILLERS = range(1 << 50, (1 << 50) + 1024)


def loosen(state: Any, depth: int = 0) -> Any:
    """``state`` with every set in it, as far as it can be reached, rebuilt in a large table."""
    if depth > 8:
        return state
    if type(state) is set:
        return _loose(state)
    if type(state) is list:
        state[:] = [loosen(item, depth + 1) for item in state]
    elif isinstance(state, dict):
        for key, value in list(state.items()):
            loose = loosen(value, depth + 1)
            if loose is not value:
                state[key] = loose
    elif type(state) is tuple:
        return tuple([loosen(item, depth + 1) for item in state])
    else:
        for name, value in list(getattr(state, "__dict__", {}).items()):
            loose = loosen(value, depth + 1)
            if loose is not value:
                object.__setattr__(state, name, loose)
    return state


def _loose(items: Iterable[Any]) -> set[Any]:
    # A set's table grows with what is put in and does not shrink with what is taken out.
    loose: set[Any] = set(_FILLERS)
    loose.update(items)
    loose.difference_update(_FILLERS)
    return loose
