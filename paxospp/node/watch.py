"""The change feed: every command that took effect, from any slot the log still holds, and new ones as they are applied.

A watcher *pulls*: it asks for the next changes when its caller has taken the previous ones. So a slow watcher costs
nothing but the log that it reads, and no entry is missed or delivered twice. Old entries come from the engine's memory
or, in chunks, from the storage. A slot is delivered only after it was applied here, because only then is it known which
of its commands took effect (``execution.effects``).

A watcher that starts below the first slot of the log gets ``TrimmedError``, which names that slot; ``machine_chunks``
is the state to start from instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Any, NamedTuple

from paxospp.engine.replica import Replica
from paxospp.engine.rules.storage_reads import ReadRange
from paxospp.errors import TrimmedError, UnavailableError
from paxospp.execution.executor import Executor
from paxospp.markers import NO_MARKERS, Markers
from paxospp.model import Change, Entry, Slot
from paxospp.node.writer import Writer

CHUNK_BYTES_MAX = 1 << 20
"""How many bytes of values are read at a time."""

Waiting = tuple[int, asyncio.Future[None]]
"""A slot, and the future of a watcher that waits for it to be applied."""


class ChangeBatch(NamedTuple):
    """The changes of consecutive slots; ``next`` is the slot after them."""

    changes: Sequence[Change]
    next: Slot


class Watches:
    """All watchers of a node."""

    def __init__(
        self,
        replica: Replica,
        executor: Executor,
        writer: Writer,
        *,
        loop: asyncio.AbstractEventLoop,
        on_damage: Callable[[Slot, Exception], None],
        observer: Markers = NO_MARKERS,
    ) -> None:
        """``on_damage`` is called when the log cannot be read at a slot."""
        self._observer = observer
        self._on_damage = on_damage
        self._replica = replica
        self._executor = executor
        self._writer = writer
        self._loop = loop
        self._for_slot: list[Waiting] = []
        self._reading: set[asyncio.Future[Sequence[Entry]]] = set()
        self._ended: Callable[[], UnavailableError] | None = None

    def begin(self, start: int | None) -> Watch:
        """Return a watcher that begins with slot ``start``; by default with the slot applied next."""
        if start is not None and start < 0:
            raise ValueError(f"watch({start}): start must not be negative; the first slot is 1")
        return Watch(self, Slot(self._executor.applied + 1 if start is None else max(start, 1)))

    def machine_chunks(self) -> tuple[Slot, AsyncGenerator[bytes, None]]:
        """Return the slot applied last and the state of the user's machine as of it, in chunks."""
        self._check()
        return self._executor.applied, _in_a_thread(self._executor.machine_snapshot())

    def advance(self) -> None:
        """Wake the watchers whose slot was applied."""
        if self._for_slot:
            applied = self._executor.applied
            self._for_slot = [waiting for waiting in self._for_slot if not _wake(waiting, applied)]

    def end(self, error: Callable[[], UnavailableError]) -> None:
        """Fail all waiting watchers, and every later call."""
        self._ended = error
        waiting: list[asyncio.Future[Any]] = [future for _, future in self._for_slot]
        for future in (*waiting, *self._reading):
            if not future.done():
                future.set_exception(error())
        self._for_slot.clear()

    # For watchers.

    async def batch(self, start: Slot) -> ChangeBatch:
        """Wait until slot ``start`` is applied, and return the changes from there on."""
        while True:
            self._check()
            first = max(self._replica.first, self._executor.changes_from)
            if start < first:
                self._observer.reached("watch: the log begins later")
                raise TrimmedError(first)
            applied = self._executor.applied
            if start > applied:
                self._observer.reached("watch: one waits for a slot to be applied")
                await self._applied(start)
                continue
            entries = self._replica.held(start, Slot(applied + 1), CHUNK_BYTES_MAX)
            if not entries:
                self._observer.reached("watch: entries are read from the storage")
                entries = _consecutive(start, await self._read(start, Slot(applied + 1)))
                if not entries:
                    self._observer.reached("watch: what was to be read is gone")
            if entries and start >= self._executor.changes_from:
                changes = [change for entry in entries for change in self._executor.changes(entry)]
                return ChangeBatch(changes, Slot(entries[-1].slot + 1))

    async def _read(self, start: Slot, stop: Slot) -> Sequence[Entry]:
        """Read entries from the storage; return none if the slots were trimmed meanwhile."""
        future: asyncio.Future[Sequence[Entry]] = self._loop.create_future()

        def on_read(_: ReadRange, entries: Sequence[Entry], problem: Exception | None) -> None:
            if future.done():
                return
            if problem is None or isinstance(problem, TrimmedError):
                future.set_result(entries)
            else:
                self._observer.reached("watch: what was to be read is damaged")
                future.set_exception(problem)
                self._on_damage(start, problem)

        self._reading.add(future)
        self._writer.read(ReadRange(token=0, start=start, stop=stop, max_bytes=CHUNK_BYTES_MAX), on_read)
        try:
            return await future
        finally:
            self._reading.discard(future)

    async def _applied(self, slot: Slot) -> None:
        """Return when ``slot`` is applied."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._for_slot.append((slot, future))
        await future

    def _check(self) -> None:
        if self._ended is not None:
            raise self._ended()


class Watch:
    """One watcher; ``next`` is the first slot that it has not delivered."""

    def __init__(self, watches: Watches, start: Slot) -> None:
        self._watches = watches
        self.next = start

    async def batch(self) -> ChangeBatch:
        """Wait for the next changes; if this is cancelled, no change is lost."""
        batch = await self._watches.batch(self.next)
        self.next = batch.next
        return batch

    async def changes(self) -> AsyncGenerator[Change, None]:
        """Iterate over the changes, without end."""
        while True:
            for change in (await self.batch()).changes:
                yield change


def _wake(waiting: Waiting, applied: Slot) -> bool:
    """Wake the watcher if its slot is applied; return whether it waits no more."""
    slot, future = waiting
    if slot <= applied and not future.done():
        future.set_result(None)
    return future.done()


def _consecutive(start: Slot, entries: Sequence[Entry]) -> Sequence[Entry]:
    """Return the entries from ``start`` up to the first missing slot."""
    count = 0
    while count < len(entries) and entries[count].slot == start + count:
        count += 1
    return entries[:count]


async def _in_a_thread(chunks: Iterable[bytes]) -> AsyncGenerator[bytes, None]:
    """Make each chunk in a thread, because encoding a large state must not hold up heartbeats."""
    iterator = iter(chunks)
    while (chunk := await asyncio.to_thread(next, iterator, None)) is not None:
        yield chunk
