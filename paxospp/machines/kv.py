"""``kv``: values under string keys, and the shortest useful state machine to learn from.

A value is anything MessagePack can hold; the machine never looks into it but to compare.
"""

from __future__ import annotations

from typing import Any

from paxospp.state_machine import StateMachine, command, query


class KeyValue(StateMachine):
    """What ``paxospp serve --machine kv`` replicates."""

    data: dict[str, Any]

    def __init__(self) -> None:
        self.data = {}

    @command
    def put(self, key: str, value: Any) -> None:
        """Keep ``value`` under ``key``, whatever was there."""
        self.data[key] = value

    @command
    def delete(self, key: str) -> bool:
        """Forget ``key``; False if there was none."""
        if key not in self.data:
            return False
        del self.data[key]
        return True

    @command
    def cas(self, key: str, expected: Any, new: Any) -> bool:
        """Compare and set: keep ``new`` under ``key`` if ``get(key)`` is ``expected``; whether it was.

        As ``get`` has it, an absent key is None.
        """
        if self.data.get(key) != expected:
            return False
        self.data[key] = new
        return True

    @query
    def get(self, key: str) -> Any:
        """The value under ``key``, None if there is none."""
        return self.data.get(key)

    @query
    def keys(self, prefix: str = "") -> list[str]:
        """All keys that begin with ``prefix``, sorted."""
        return sorted(key for key in self.data if key.startswith(prefix))
