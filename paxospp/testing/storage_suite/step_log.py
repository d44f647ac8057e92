"""The log of a case: every call of the store under test and its result, shown when the case fails.

``Witness`` wraps the store under test, passes every call on and logs it. The log is put into words only when a case
fails, so that a thousand calls cost next to nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from paxospp.model import Entry, Slot, SnapshotMeta
from paxospp.storage.contract import DurableState, SnapshotReader, SnapshotWriter, Storage, WriteBatch
from paxospp.testing.storage_suite.checks import BrokenClause, ClausesBroken
from paxospp.testing.storage_suite.kinds import wrong_kind_of_entries, wrong_kind_of_piece, wrong_kind_of_state
from paxospp.testing.storage_suite.standstill import PROGRESS
from paxospp.testing.storage_suite.words import told, told_call_of_read

R = TypeVar("R")

STEPS_MAX = 16
"""How many of the last steps are kept, unless all are asked for."""


class Steps:
    """The last steps of a case; a step that begins with two spaces adds a detail to the one before."""

    def __init__(self, limit: int | None = STEPS_MAX) -> None:
        self._steps: deque[tuple[str, tuple[object, ...]]] = deque(maxlen=limit)
        self._count = 0

    def add(self, text: str, *values: object) -> None:
        """Log a step: ``text`` with ``{}`` for each of ``values``, which are put into words later."""
        PROGRESS.note()
        if text.startswith("  ") and not self._steps:
            return  # the step that it belongs to is left out
        if len(self._steps) == self._steps.maxlen:
            self._steps.popleft()
            while self._steps and self._steps[0][0].startswith("  "):
                self._steps.popleft()
        self._steps.append((text, values))
        self._count += not text.startswith("  ")

    def clear(self) -> None:
        self._steps.clear()
        self._count = 0

    def told(self) -> list[str]:
        """Return the steps that were kept, in words."""
        return [text.format(*map(told, values)) for text, values in self._steps]

    @property
    def left_out(self) -> int:
        """The number of steps that were not kept."""
        return self._count - sum(not text.startswith("  ") for text, _ in self._steps)


class Witness(Storage):
    """A store under test with a log of its calls. It reports results of a wrong type as C7."""

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
            self._steps.add(text + " returns {}", *values, result)
        else:
            self._steps.add(text, *values)
        return result

    def load(self) -> DurableState:
        state = self._call("load()", (), self.inner.load)
        self.durable = self.inner.durable
        self._require_kind(wrong_kind_of_state(state))
        return state

    def persist(self, batch: WriteBatch) -> None:
        self._call("persist({})", (batch,), lambda: self.inner.persist(batch), tell=False)

    def read(self, start: Slot, stop: Slot, max_bytes: int) -> Sequence[Entry]:
        found = self._call(
            "{}",
            (told_call_of_read(start, stop, max_bytes),),
            lambda: self.inner.read(start, stop, max_bytes),
        )
        self._require_kind(wrong_kind_of_entries(found))
        return found

    def create_snapshot(self, meta: SnapshotMeta) -> SnapshotWriter:
        return _WriterWitness(
            self, self._call("create_snapshot({})", (meta,), lambda: self.inner.create_snapshot(meta), tell=False)
        )

    def open_snapshot(self) -> SnapshotReader | None:
        reader = self._call("open_snapshot()", (), self.inner.open_snapshot, tell=False)
        return None if reader is None else _ReaderWitness(self, reader)

    def _require_kind(self, wrong: str | None) -> None:
        """Report C7 for a value of a wrong type, whatever clause the case checks."""
        if wrong is not None:
            found, _, wanted = wrong.partition("; wanted ")
            raise ClausesBroken([BrokenClause("C7", tuple(self._steps.told()), wanted, found, self._steps.left_out)])

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


class _ReaderWitness(SnapshotReader):
    def __init__(self, witness: Witness, inner: SnapshotReader) -> None:
        self._require_kind = witness._require_kind
        self._inner = inner

    @property
    def meta(self) -> SnapshotMeta:
        return self._inner.meta

    def read(self, size: int) -> bytes:
        piece = self._inner.read(size)
        self._require_kind(wrong_kind_of_piece(piece))
        return piece

    def close(self) -> None:
        self._inner.close()
