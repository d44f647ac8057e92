"""A client that a test need neither start nor close."""

from __future__ import annotations

from paxospp.calls import Consistency
from paxospp.client import Client


class ClusterClient(Client):
    """A client that starts with its first call, and that its cluster closes."""

    _began = False

    async def start(self) -> None:
        if not self._began:
            self._began = True
            await super().start()

    async def _execute(self, payload: bytes, timeout_s: float | None) -> bytes:
        await self.start()
        return await self._result(super()._execute(payload, timeout_s))

    async def _query(self, request: bytes, consistency: Consistency, timeout_s: float | None) -> bytes:
        await self.start()
        return await self._result(super()._query(request, consistency, timeout_s))
