"""Read everything that a store shows through its six methods into one value that can be sent and compared."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from paxospp.errors import CorruptedError, LockedError, StorageError, TrimmedError
from paxospp.model import Entry, Slot
from paxospp.storage.contract import DurableState, Storage
from paxospp.testing.storage_suite.kinds import named, wrong_kind_of_entries, wrong_kind_of_piece, wrong_kind_of_state
from paxospp.testing.storage_suite.source_line import authors_line

_READ_BYTES = 1 << 40
_READS_MAX = 100_000


class WrongKindError(Exception):
    """A store returned a value of another type than the contract names."""


@dataclass(slots=True, frozen=True)
class ExceptionReport:
    """An exception as text and flags, so that it can be sent between processes."""

    kind: str
    text: str
    corrupted: bool = False
    locked: bool = False
    storage_error: bool = False
    staging: bool = False
    """Raised while a snapshot was staged; the handle stays usable then."""
    where: str | None = None
    """The line of the store's own code that it came through."""

    @classmethod
    def of(cls, error: BaseException, *, staging: bool = False) -> ExceptionReport:
        return cls(
            named(type(error)),
            " ".join(str(error).split())[:400],
            isinstance(error, CorruptedError),
            isinstance(error, LockedError),
            isinstance(error, StorageError),
            staging,
            authors_line(error),
        )

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}" + (f" (at {self.where})" if self.where is not None else "")


@dataclass(slots=True, frozen=True)
class Unexpected:
    """An exception that the kit did not expect, sent in place of an answer."""

    raised: ExceptionReport


@dataclass(slots=True, frozen=True)
class StoreView:
    """Everything that a store showed after it was loaded."""

    refused: ExceptionReport | None = None
    """Why the store could not be opened or loaded; all other fields are empty then."""
    state: DurableState = field(default_factory=DurableState)
    entries: Mapping[int, Entry] = field(default_factory=dict)
    unreadable: Sequence[range] = ()
    """Slots for which ``read`` raised CorruptedError."""
    strange: str | None = None
    """A result of ``read`` that the contract never allows, in words."""
    content: bytes | None = None
    """The bytes of the current snapshot."""
    content_refused: ExceptionReport | None = None
    wrong_kind: str | None = None
    """A value of another type than the contract names; ignore all other fields then."""


def view_of(storage: Storage, state: DurableState) -> StoreView:
    """Read all entries and the snapshot of a loaded store; ``state`` is what ``load`` returned."""
    if (wrong := wrong_kind_of_state(state)) is not None:
        return StoreView(wrong_kind=wrong)
    entries: dict[int, Entry] = {}
    unreadable: list[range] = []
    strange = None
    try:
        strange = _read(storage, state.first, entries, unreadable)
        if strange is None and state.first > 1:
            strange = _read_below(storage, state)
    except WrongKindError as error:
        return StoreView(wrong_kind=str(error))
    except Exception as error:
        strange = f"read raises {ExceptionReport.of(error)}"
    content, content_refused = None, None
    try:
        content = _read_snapshot(storage, state)
    except WrongKindError as error:
        return StoreView(wrong_kind=str(error))
    except Exception as error:
        content_refused = ExceptionReport.of(error)
    return StoreView(None, state, entries, unreadable, strange, content, content_refused)


def open_and_view(open_storage: Callable[[], Storage]) -> StoreView:
    """Open a store, load it, view it and close it."""
    try:
        storage = open_storage()
    except Exception as error:
        return StoreView(ExceptionReport.of(error))
    try:
        state = storage.load()
    except Exception as error:
        return StoreView(ExceptionReport.of(error))
    else:
        return view_of(storage, state)
    finally:
        storage.close()


def _read(storage: Storage, first: int, entries: dict[int, Entry], unreadable: list[range]) -> str | None:
    at = first
    for _ in range(_READS_MAX):
        try:
            found = storage.read(Slot(at), Slot(sys.maxsize), _READ_BYTES)
        except CorruptedError as error:
            faulty = next((slots for slots in error.slots if at in slots), None)
            if faulty is None:  # nothing is stored at ``at``: the next slot that holds something is the faulty one
                faulty = min(
                    (slots for slots in error.slots if slots.start > at), key=_start, default=range(at, at + 1)
                )
            unreadable.append(faulty)
            at = faulty.stop
            if at >= sys.maxsize:
                return None
            continue
        if (wrong := wrong_kind_of_entries(found)) is not None:
            raise WrongKindError(wrong)
        if not found:
            return None
        for entry in found:
            if entry.slot < at:
                return (
                    f"read returns slot {entry.slot}, which is below {at}, where the call began or the last entry ended"
                )
            entries[entry.slot] = entry
            at = entry.slot + 1
    return f"reading the log has not come to an end after {_READS_MAX} calls of read"


def _start(slots: range) -> int:
    return slots.start


def _read_below(storage: Storage, state: DurableState) -> str | None:
    try:
        found = storage.read(Slot(state.first - 1), Slot(state.first + 1), _READ_BYTES)
    except TrimmedError:
        return None
    return f"read below first={state.first} returns {len(found)} entries instead of raising TrimmedError"


def _read_snapshot(storage: Storage, state: DurableState) -> bytes | None:
    reader = storage.open_snapshot()
    if reader is None:
        return None
    with reader:
        pieces = list(iter(lambda: reader.read(1 << 20), b""))
        for wrong in map(wrong_kind_of_piece, pieces):
            if wrong is not None:
                raise WrongKindError(wrong)
        content = b"".join(pieces)
        if reader.meta != state.snapshot:
            raise ValueError(f"open_snapshot opens {reader.meta}, but load named {state.snapshot}")
        return content
