"""The state machine of the key-value store: a plain Python class.

Commands change the state and go through the replicated log; queries only read it. Both are ordinary
methods, so a unit test can call `KeyValueStore().put("a", "b")` without a cluster.
"""

from __future__ import annotations

import paxospp


class KeyValueStore(paxospp.StateMachine):
    data: dict[str, str]

    def __init__(self) -> None:
        self.data = {}

    @paxospp.command
    def put(self, key: str, value: str) -> None:
        self.data[key] = value

    @paxospp.command
    def delete(self, key: str) -> bool:
        return self.data.pop(key, None) is not None

    @paxospp.query
    def get(self, key: str) -> str | None:
        return self.data.get(key)
