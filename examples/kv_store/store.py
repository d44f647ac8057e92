"""The state machine: a plain class, here the store of the C++ library's tutorial.

Commands change it and go through the log; queries only look. Both are ordinary methods, and
`KeyValueStore().put("a", "b")` in a unit test is all it takes to try them.
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
