"""Looking at a store: all it shows through the six methods, as one value that can be sent and compared."""

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
    """A store returned something else than the contract names."""


@dataclass(slots=True, frozen=True)
class ExceptionReport:
    """An exception, without its object, so that it can be sent."""

    kind: str
    text: str
    corrupted: bool = False
    locked: bool = False
    storage_error: bool = False
    staging: bool = False
    """Raised while a snapshot was staged, which ends no handle."""
    where: str | None = None
    """The line of the store that it came through."""

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
    """An exception where the kit expects none, sent in place of an answer."""

    raised: ExceptionReport


@dataclass(slots=True, frozen=True)
class Look:
    """What a store showed. ``refused`` alone: it could not be opened or loaded."""

    refused: ExceptionReport | None = None
    state: DurableState = field(default_factory=DurableState)
    entries: Mapping[int, Entry] = field(default_factory=dict)
    unreadable: Sequence[range] = ()
    """Slots for which ``read`` raised CorruptedError."""
    strange: str | None = None
    """What a read did that no read may do."""
    content: bytes | None = None
    """The bytes of the current snapshot."""
    content_refused: ExceptionReport | None = None
    wrong_kind: str | None = None
    """What came back as something else than the contract names; the rest of the look is not to be trusted."""


def look_at(storage: Storage, state: DurableState) -> Look:
    """All that a loaded store shows; ``state`` is what ``load`` returned."""
    if (wrong := wrong_kind_of_state(state)) is not None:
        return Look(wrong_kind=wrong)
    entries: dict[int, Entry] = {}
    unreadable: list[range] = []
    strange = None
    try:
        strange = _read(storage, state.first, entries, unreadable)
        if strange is None and state.first > 1:
            strange = _read_below(storage, state)
    except WrongKindError as error:
        return Look(wrong_kind=str(error))
    except Exception as error:
        strange = f"read raises {ExceptionReport.of(error)}"
    content, content_refused = None, None
    try:
        content = _read_snapshot(storage, state)
    except WrongKindError as error:
        return Look(wrong_kind=str(error))
    except Exception as error:
        content_refused = ExceptionReport.of(error)
    return Look(None, state, entries, unreadable, strange, content, content_refused)


def open_and_look(open_storage: Callable[[], Storage]) -> Look:
    """Open, load, look and close."""
    try:
        storage = open_storage()
    except Exception as error:
        return Look(ExceptionReport.of(error))
    try:
        state = storage.load()
    except Exception as error:
        return Look(ExceptionReport.of(error))
    else:
        return look_at(storage, state)
    finally:
        storage.close()


def _read(storage: Storage, first: int, entries: dict[int, Entry], unreadable: list[range]) -> str | None:
    at = first
    for _ in range(_READS_MAX):
        try:
            found = storage.read(Slot(at), Slot(sys.maxsize), _READ_BYTES)
        except CorruptedError as error:
            faulty = next((slots for slots in error.slots if at in slots), None)
            if faulty is None:  # the first entry there is stands further on, and it is that one which is faulty
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
                return f"read gives slot {entry.slot} where {at} or more was due"
            entries[entry.slot] = entry
            at = entry.slot + 1
    return f"read has not come to an end after {_READS_MAX} calls"


def _start(slots: range) -> int:
    return slots.start


def _read_below(storage: Storage, state: DurableState) -> str | None:
    try:
        found = storage.read(Slot(state.first - 1), Slot(state.first + 1), _READ_BYTES)
    except TrimmedError:
        return None
    return f"read below first={state.first} gives {len(found)} entries instead of TrimmedError"


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
            raise ValueError(f"the reader's snapshot is {reader.meta}, and load said {state.snapshot}")
        return content
