"""Makes the sets of a machine's state iterate in another order, after the state has passed through a snapshot.

All replicas of a simulation share one interpreter, so a small set of strings iterates in the same order on all of them;
in a real cluster it need not. A set that is rebuilt in a large table has the same content and another order. So a
machine that depends on the order of a set differs between replicas here, as it would in a cluster.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_FILLERS = range(1 << 50, (1 << 50) + 1024)


def reorder_sets(state: Any, depth: int = 0) -> Any:
    """Return ``state`` with every set that can be reached from it rebuilt in a large table, in another order."""
    if depth > 8:
        return state
    if type(state) is set:
        return _reordered(state)
    if type(state) is list:
        state[:] = [reorder_sets(item, depth + 1) for item in state]
    elif isinstance(state, dict):
        for key, value in list(state.items()):
            reordered = reorder_sets(value, depth + 1)
            if reordered is not value:
                state[key] = reordered
    elif type(state) is tuple:
        return tuple([reorder_sets(item, depth + 1) for item in state])
    else:
        for name, value in list(getattr(state, "__dict__", {}).items()):
            reordered = reorder_sets(value, depth + 1)
            if reordered is not value:
                object.__setattr__(state, name, reordered)
    return state


def _reordered(items: Iterable[Any]) -> set[Any]:
    # The table of a set grows with what is added, and does not shrink with what is removed.
    reordered: set[Any] = set(_FILLERS)
    reordered.update(items)
    reordered.difference_update(_FILLERS)
    return reordered
