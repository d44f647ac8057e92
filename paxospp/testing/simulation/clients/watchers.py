"""Watchers: each follows the change feed of one node, which must give every effect once, in order, and nothing else.

The feed is the node's own (``node.watch``), a coroutine that ``VirtualTask`` drives on the virtual loop of the node.
The changes are compared with those of the reference. When its node dies, a watcher continues on another node from the
slot that it had reached, as a client does. If the log of that node begins later, the watcher continues at its first
slot, as a client does after it has loaded a snapshot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

from paxospp.errors import CorruptedError, StorageError, TrimmedError, UnavailableError
from paxospp.model import Slot
from paxospp.node.watch import ChangeBatch, Watch
from paxospp.testing.simulation.rule_broken import RuleBroken
from paxospp.testing.simulation.world.host import SimulatedHost
from paxospp.testing.simulation.world.world import SimulatedWorld

_REST_S = 0.1


class VirtualTask:
    """Runs one coroutine of a node: each time the future that it awaits is done, one step further."""

    def __init__(
        self, function: Callable[[], Coroutine[Any, Any, ChangeBatch]], done: Callable[[ChangeBatch | Exception], None]
    ) -> None:
        self._function = function
        self._coroutine: Coroutine[Any, Any, ChangeBatch] | None = None
        """Made with the first step, because its node may die before that."""
        self._done = done

    def step(self, _: object = None) -> None:
        """Run the coroutine until it awaits the next future."""
        if self._coroutine is None:
            self._coroutine = self._function()
        try:
            future: asyncio.Future[Any] = self._coroutine.send(None)
        except StopIteration as end:
            self._done(end.value)
        except (TrimmedError, CorruptedError, StorageError, UnavailableError) as error:
            self._done(error)
        else:
            future._asyncio_future_blocking = False
            future.add_done_callback(self.step)


class Watcher:
    """Follows changes, from one node after another."""

    def __init__(self, world: SimulatedWorld, random: Random) -> None:
        self._world = world
        self._random = random
        self.next: Slot | None = None
        """The first slot that it has not been told of; None: any slot will do."""
        self._watch: Watch | None = None
        self._host: SimulatedHost | None = None

    def begin(self) -> None:
        """Watch any node that is up, and choose another one whenever it is not."""
        self._world.clock.after(_REST_S * (1 + self._random.random()), self._attend)

    def _attend(self, _: object) -> None:
        if self._watch is None:
            up = [host for host in self._world.hosts if host.runtime is not None]
            if up:
                self._start(self._random.choice(up))
        elif self._random.random() < 0.05:
            self._watch = None  # it leaves this node, and continues on another one
        self.begin()

    def _start(self, host: SimulatedHost) -> None:
        runtime = host.runtime
        assert runtime is not None
        start: int | None = self.next
        if start is None and self._random.random() < 0.7:
            start = self._random.randint(0, runtime.executor.applied + 1)
        watch = self._watch = runtime.watches.begin(start)
        self._host, self.next = host, watch.next
        host.take(host.loop, self._read, (host, watch))

    def _read(self, host: SimulatedHost, watch: Watch) -> None:
        def done(told: ChangeBatch | Exception) -> None:
            if self._watch is not watch:
                return
            if isinstance(told, Exception):
                self._watch = None
                self._on_error(told)
            else:
                self._check(host, told)
                self._read(host, watch)

        assert host.loop is not None
        host.loop.call_soon(VirtualTask(watch.batch, done).step)

    def on_down(self, host: SimulatedHost) -> None:
        """Forget the watch on a node that is gone."""
        if host is self._host:
            self._watch = None

    def has_been_told(self, top: Slot) -> bool:
        """Return whether it was told everything up to slot ``top``."""
        return self.next is None or self.next > top

    def _check(self, host: SimulatedHost, told: ChangeBatch) -> None:
        assert self.next is not None
        expected = self._world.applied_log.changes(self.next, told.next)
        if told.next <= self.next or list(told.changes) != expected:
            raise RuleBroken(
                "watch",
                f"{host.name} gives {list(told.changes)} for the slots from {self.next} to {told.next - 1}; "
                f"what took effect there was {expected}",
            )
        self._world.coverage["a watcher was told of changes"] += 1
        self.next = told.next

    def _on_error(self, error: Exception) -> None:
        if isinstance(error, TrimmedError):
            assert self.next is not None
            if error.first <= self.next:
                raise RuleBroken("watch", f"a watcher at slot {self.next} is told that the log begins at {error.first}")
            self._world.coverage["a watcher came too late"] += 1
            self.next = Slot(error.first)
