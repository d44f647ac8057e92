"""The steps of a case, as they are told when it fails: every call of the storage, and what came back.

``Witness`` stands between a case and the store it tries. It changes nothing; it remembers. What
it remembers is put into words only when somebody asks, so that a thousand calls cost next to nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from paxospp.model import Entry, Slot, SnapshotMeta
from paxospp.storage.contract import DurableState, SnapshotReader, SnapshotWriter, Storage, WriteBatch
from paxospp.testing.storage_suite.words import told

R = TypeVar("R")

STEPS_MAX = 16
"""How many of the last steps are told."""


class Steps:
    """What was done so far."""

    def __init__(self) -> None:
        self._steps: deque[tuple[str, tuple[object, ...]]] = deque(maxlen=STEPS_MAX)
        self._count = 0

    def add(self, text: str, *values: object) -> None:
        """``text`` with ``{}`` for each of ``values``, which are put into words later."""
        self._steps.append((text, values))
        self._count += 1

    def clear(self) -> None:
        self._steps.clear()
        self._count = 0

    def told(self) -> list[str]:
        """Every step in words, the oldest of many left out."""
        left_out = self._count - len(self._steps)
        lines = [text.format(*map(told, values)) for text, values in self._steps]
        return [f"({left_out} steps before)", *lines] if left_out else lines


class Witness(Storage):
    """A store under test, each call remembered."""

    def __init__(self, inner: Storage, steps: Steps) -> None:
        self.inner = inner
        self.durable = inner.durable
        self._steps = steps

    def _call(self, text: str, values: Sequence[object], call: Callable[[], R], *, tell: bool = True) -> R:
        try:
            result = call()
        except BaseException as error:
            self._steps.add(text + " raises {}", *values, error)
            raise
        if tell:
            self._steps.add(text + " → {}", *values, result)
        else:
            self._steps.add(text, *values)
        return result

    def load(self) -> DurableState:
        state = self._call("load()", (), self.inner.load)
        self.durable = self.inner.durable
        return state

    def persist(self, batch: WriteBatch) -> None:
        self._call("persist({})", (batch,), lambda: self.inner.persist(batch), tell=False)

    def read(self, start: Slot, stop: Slot, max_bytes: int) -> Sequence[Entry]:
        return self._call(
            "read({}, {}, {})",
            (start, stop, max_bytes),
            lambda: self.inner.read(start, stop, max_bytes),
        )

    def create_snapshot(self, meta: SnapshotMeta) -> SnapshotWriter:
        return _WriterWitness(
            self, self._call("create_snapshot({})", (meta,), lambda: self.inner.create_snapshot(meta), tell=False)
        )

    def open_snapshot(self) -> SnapshotReader | None:
        return self._call("open_snapshot()", (), self.inner.open_snapshot, tell=False)

    def close(self) -> None:
        self._call("close()", (), self.inner.close, tell=False)


class _WriterWitness(SnapshotWriter):
    def __init__(self, witness: Witness, inner: SnapshotWriter) -> None:
        self._call: Callable[..., Any] = witness._call
        self._inner = inner

    def write(self, data: bytes) -> None:
        self._call("  … write({})", (data,), lambda: self._inner.write(data), tell=False)

    def commit(self) -> None:
        self._call("  … commit()", (), self._inner.commit, tell=False)

    def abort(self) -> None:
        self._call("  … abort()", (), self._inner.abort, tell=False)
