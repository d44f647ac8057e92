"""``kv``: a key-value store, and the shortest useful state machine to learn from.

A value is anything that MessagePack can hold. The machine compares values and does nothing else with them.
"""

from __future__ import annotations

from typing import Any

from paxospp.state_machine import StateMachine, command, query


class KeyValue(StateMachine):
    """The state machine of ``paxospp serve --machine kv``."""

    data: dict[str, Any]

    def __init__(self) -> None:
        self.data = {}

    @command
    def put(self, key: str, value: Any) -> None:
        """Store ``value`` under ``key``, and replace any former value."""
        self.data[key] = value

    @command
    def delete(self, key: str) -> bool:
        """Remove ``key``; return False if it does not exist."""
        if key not in self.data:
            return False
        del self.data[key]
        return True

    @command
    def cas(self, key: str, expected: Any, new: Any) -> bool:
        """Compare and set: store ``new`` under ``key`` if ``get(key)`` equals ``expected``; return whether it did.

        As in ``get``, a missing key counts as None.
        """
        if self.data.get(key) != expected:
            return False
        self.data[key] = new
        return True

    @query
    def get(self, key: str) -> Any:
        """Return the value under ``key``, None if the key does not exist."""
        return self.data.get(key)

    @query
    def keys(self, prefix: str = "") -> list[str]:
        """Return all keys that begin with ``prefix``, sorted."""
        return sorted(key for key in self.data if key.startswith(prefix))
