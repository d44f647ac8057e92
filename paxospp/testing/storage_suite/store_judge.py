"""Decide whether the contract allows what a store shows after a crash or damage, and if not, which clause it breaks.

After a crash, the store must equal its state after exactly one batch: any from the last batch that had to survive up to
the batch under way. No slot may be faulty. After damage, every slot that changed must be faulty, and everything that is
not a slot must be unchanged.

A lost acknowledged batch breaks C2, a part of a batch C1, a later batch without an earlier one C3, a false alarm or a
silent loss C8, and a difference in snapshots and trimming alone C10.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from paxospp.model import Entry
from paxospp.storage.slot_set import SlotSet
from paxospp.testing.storage_suite.store_view import StoreView
from paxospp.testing.storage_suite.stream import StorageModel, Stream
from paxospp.testing.storage_suite.words import told, told_apart, told_in_full

DIFFERENCES_MAX = 4
"""How many differences after damage are reported."""


class Complaint(NamedTuple):
    """A broken clause, with what the contract wants and what was found."""

    clause: str
    wanted: str
    found: str


class CrashVerdict(NamedTuple):
    """A complaint, or None and the number of the batch whose state the store shows."""

    complaint: Complaint | None
    number: int


def after_crash(view: StoreView, stream: Stream, lowest: int, highest: int) -> CrashVerdict:
    """Compare ``view`` with the states after the batches ``lowest`` to ``highest``.

    Args:
        view: what the store showed after the crash.
        stream: the stream that was being written.
        lowest: the last batch that had to survive.
        highest: the last batch that may have survived: the one under way.
    """
    for number in range(highest, lowest - 1, -1):
        if not _differences(view, stream.model(number)):
            return CrashVerdict(None, number)
    wanted = (
        f"the state after batch {lowest}"
        if lowest == highest
        else f"the state after one of the batches {lowest} to {highest}"
    )
    clause, found = _classify(view, stream, lowest, highest)
    return CrashVerdict(Complaint(clause, wanted, found), lowest)


def after_damage(view: StoreView, models: Sequence[StorageModel]) -> Complaint | None:
    """Return None if ``view`` is what one of ``models`` may show after damage (C8), else a complaint."""
    if view.refused is not None:
        if view.refused.storage_error and not view.refused.locked:
            return None
        wanted = "CorruptedError from load, or faulty slots"
        return Complaint("C9" if view.refused.locked else "C8", wanted, str(view.refused))
    if view.wrong_kind is not None:
        return Complaint("C7", "the types that the contract names", view.wrong_kind)
    complaints = [_hidden_damage(view, model) for model in models]
    if None in complaints:
        return None
    shortest = min((found for found in complaints if found is not None), key=len)
    shown = shortest[:DIFFERENCES_MAX] + [f"{len(shortest) - DIFFERENCES_MAX} more"] * (len(shortest) > DIFFERENCES_MAX)
    wanted = "each slot right or faulty, everything else right; or CorruptedError from load"
    return Complaint("C8", wanted, "; ".join(shown))


# After damage


def _hidden_damage(view: StoreView, model: StorageModel) -> list[str] | None:
    state = view.state
    faulty = SlotSet(state.faulty)
    found = []
    for name, is_, was in (
        ("promised", state.promised, model.promised),
        ("first", state.first, model.first),
        ("snapshot", state.snapshot, model.snapshot),
        ("meta", dict(state.meta), dict(model.meta)),
    ):
        if is_ != was:
            found.append("{} is {} instead of {}".format(name, *_told_apart(is_, was)))
    if state.decided > model.decided:
        found.append(f"decided is {state.decided} instead of {model.decided}")
    found += [
        f"decided is {state.decided} instead of {model.decided}, and slot {slot} is not faulty"
        for slot in range(state.decided + 1, model.decided + 1)
        if slot not in faulty
    ][:1]
    for slots in view.unreadable:
        faulty.add(slots)
    for slot in sorted(set(model.entries) | set(view.entries)):
        shown, held = view.entries.get(slot), model.entries.get(slot)
        if shown is None and slot not in faulty:
            found.append(f"slot {slot} is missing and not faulty; it should hold {_told_entry(held)}")
        elif shown is not None and shown != held:
            found.append("slot {} holds {} instead of {}".format(slot, *_told_apart(shown, held)))
    if view.strange is not None:
        found.append(view.strange)
    if view.content_refused is not None:
        if not view.content_refused.corrupted:
            found.append(f"reading the snapshot raises {view.content_refused}")
    elif view.content != model.content:
        found.append("the snapshot holds {} instead of {}".format(*_told_apart(view.content, model.content)))
    return found or None


# After a crash


def _differences(view: StoreView, model: StorageModel) -> list[str]:
    if any(wrong is not None for wrong in (view.refused, view.strange, view.content_refused, view.wrong_kind)):
        return ["refused"]
    if view.state.faulty or view.unreadable:
        return ["faulty"]
    shown = _components(view, view.entries)
    held = _components(StoreView(state=model.state, content=model.content), model.entries)
    different = [key for key in shown.keys() | held.keys() if shown.get(key) != held.get(key)]
    return sorted(map(str, different))


def _components(view: StoreView, entries: object) -> dict[tuple[str, object], object]:
    """Split what a store shows into parts that can be compared: single values, meta keys, slots."""
    state = view.state
    parts: dict[tuple[str, object], object] = {
        ("promised", ""): state.promised,
        ("decided", ""): state.decided,
        ("first", ""): state.first,
        ("last", ""): state.last,
        ("snapshot", ""): (state.snapshot, view.content),
    }
    parts.update({("meta", key): value for key, value in state.meta.items()})
    assert isinstance(entries, dict)
    parts.update({("slot", slot): entry for slot, entry in entries.items()})
    return parts


def _classify(view: StoreView, stream: Stream, lowest: int, highest: int) -> tuple[str, str]:
    if view.wrong_kind is not None:
        return "C7", view.wrong_kind
    if view.refused is not None:
        raised = view.refused
        clause = "C9" if raised.locked else "C8" if raised.corrupted else "C1"
        return clause, f"the store cannot be opened: {raised}"
    if view.strange is not None:
        return "C6", view.strange
    if view.content_refused is not None:
        due = [stream.model(number).snapshot for number in range(lowest, highest + 1)]
        clause = "C10" if view.state.snapshot in due else "C2"  # C2: an older snapshot is back
        return clause, f"reading {told(view.state.snapshot)} raises {view.content_refused}"
    if view.state.faulty or view.unreadable:
        faulty = SlotSet([*view.state.faulty, *view.unreadable]).ranges  # many slots are in both
        clause = "C10" if _is_given_back(faulty, stream, highest) else "C8"
        return clause, f"{_told_slots(faulty)} faulty, although nothing was damaged"
    return _classify_mixture(view, stream, lowest, highest)


def _classify_mixture(view: StoreView, stream: Stream, lowest: int, highest: int) -> tuple[str, str]:
    shown = _components(view, view.entries)
    histories = [_components(StoreView(state=m.state, content=m.content), m.entries) for m in _models(stream, highest)]
    older: list[tuple[str, object]] = []
    since: dict[tuple[str, object], set[int]] = {}
    for key in sorted({*shown, *(key for held in histories for key in held)}, key=str):
        numbers = {number for number, held in enumerate(histories) if held.get(key) == shown.get(key)}
        if key[0] == "last":
            continue  # follows from the slots
        if not numbers:
            clause = "C7" if _has_other_bytes(shown.get(key), key, histories) else "C1"
            return clause, _never_written(key, shown.get(key), histories, highest)
        since[key] = numbers
        if max(numbers) < lowest:
            older.append(key)
    if older:
        key = older[0]
        text = (
            f"{_named(key)} is {_told_part(shown.get(key))}, as after batch {max(since[key])}; batch {lowest} was "
            f"acknowledged, after which it was {_told_part(histories[lowest].get(key))}"
        )
        return _clause_of_lost(older, stream, lowest, histories, since), text
    for number in range(lowest + 1, highest + 1):
        if all(numbers & {number - 1, number} for numbers in since.values()):
            there = next(key for key, numbers in since.items() if number - 1 not in numbers)
            missing = next((key for key, numbers in since.items() if number not in numbers), None)
            text = f"{_named(there)} of batch {number} is there"
            text += f", but {_named(missing)} of the same batch is not" if missing is not None else ""
            return ("C10" if _is_only_given_back(since, stream, number) else "C1"), text
    newest = max(since, key=lambda key: min(since[key]))
    oldest = min(since, key=lambda key: max(since[key]))
    return "C3", (
        f"{_named(newest)} is as after batch {min(since[newest])}, but {_named(oldest)} as after batch "
        f"{max(since[oldest])}: a later batch is there without an earlier one"
    )


def _never_written(
    key: tuple[str, object],
    shown: object,
    histories: Sequence[dict[tuple[str, object], object]],
    highest: int,
) -> str:
    """Say that no batch wrote ``shown``, and describe it in full beside what was written there last."""
    text = f"{_named(key)} is {_told_part(shown)}, which no batch ever wrote"
    number = next((n for n in range(highest, -1, -1) if histories[n].get(key) is not None), None)
    if shown is None or number is None:
        return text
    held = histories[number].get(key)
    while number and histories[number - 1].get(key) == held:
        number -= 1
    lines = text, f"it is {told_in_full(shown)}", f"batch {number} wrote {told_in_full(held)}"
    return "\n          ".join(lines)


def _has_other_bytes(
    shown: object, key: tuple[str, object], histories: Sequence[dict[tuple[str, object], object]]
) -> bool:
    """Whether ``shown`` is an entry that was written with the same slot and ballot, but with other bytes."""
    written = [held[key] for held in histories if key in held]
    return isinstance(shown, Entry) and any(isinstance(e, Entry) and e.ballot == shown.ballot for e in written)


def _clause_of_lost(
    older: Sequence[tuple[str, object]],
    stream: Stream,
    lowest: int,
    histories: Sequence[dict[tuple[str, object], object]],
    since: Mapping[tuple[str, object], set[int]],
) -> str:
    """Return the clause for ``older``, the parts that are as they were before batch ``lowest``.

    It is C3 if only unsynced batches are lost: a later synced batch, which covers them, survived.
    """
    return "C2" if any(_is_lost_synced(key, since[key], stream, lowest, histories) for key in older) else "C3"


def _is_lost_synced(
    key: tuple[str, object],
    numbers: set[int],
    stream: Stream,
    lowest: int,
    histories: Sequence[dict[tuple[str, object], object]],
) -> bool:
    """Whether a synced batch changed ``key`` after the last of ``numbers``, the batches at which it was as now."""
    return any(
        stream.step(number).synced and histories[number].get(key) != histories[number - 1].get(key)
        for number in range(max(numbers) + 1, lowest + 1)
    )


def only_unsynced_faulty(view: StoreView, stream: Stream, number: int) -> bool:
    """Whether slots are faulty after batch ``number``, and an unsynced batch was the last to write each of them."""
    faulty = SlotSet([*view.state.faulty, *view.unreadable])
    slots = [slot for slot in stream.model(number).entries if slot in faulty]
    writers = [
        next(n for n in range(number, 0, -1) if any(entry.slot == slot for entry in stream.step(n).batch.accepted))
        for slot in slots
    ]
    return bool(slots) and not any(stream.step(n).synced for n in writers)


def _is_given_back(faulty: Sequence[range], stream: Stream, highest: int) -> bool:
    """Whether the batch under way was about to trim all of the faulty slots."""
    trim = stream.step(highest).batch.trim
    return trim is not None and all(slots.stop <= trim for slots in faulty)


def _is_only_given_back(since: dict[tuple[str, object], set[int]], stream: Stream, number: int) -> bool:
    """Whether the only effects of batch ``number`` that show concern its snapshot and the slots that it trims."""
    batch = stream.step(number).batch
    if batch.trim is None and batch.snapshot is None:
        return False
    return all(
        key[0] == "snapshot" or (key[0] == "slot" and int(str(key[1])) < (batch.trim or 0))
        for key, numbers in since.items()
        if number - 1 not in numbers
    )


def _models(stream: Stream, highest: int) -> Iterator[StorageModel]:
    return map(stream.model, range(highest + 1))


def _named(key: tuple[str, object]) -> str:
    return key[0] if key[1] == "" else f"{key[0]} {key[1]!r}"


def _told_part(value: object) -> str:
    return "absent" if value is None else _told_entry(value) if isinstance(value, Entry) else told(value)


def _told_apart(one: object, other: object) -> tuple[str, str]:
    """Describe two different values, or entries of a slot that was already named."""
    short = _told_value(one), _told_value(other)
    return short if short[0] != short[1] else told_apart(one, other)


def _told_value(value: object) -> str:
    return _told_entry(value) if isinstance(value, Entry) else told(value)


def _told_entry(entry: Entry | None) -> str:
    """Describe an entry whose slot was already named."""
    return "nothing" if entry is None else f"{told(entry.value)} of round {entry.ballot.round}"


def _told_slots(faulty: Sequence[range]) -> str:
    """Return ``the slot 2 is`` or ``the slots 2, 6 are``."""
    one = len(faulty) == 1 and faulty[0].stop - faulty[0].start == 1
    return f"the {'slot' if one else 'slots'} {', '.join(map(_told_range, faulty))} {'is' if one else 'are'}"


def _told_range(slots: range) -> str:
    if len(range(slots.start, min(slots.stop, slots.start + 2))) == 1:
        return str(slots.start)
    return f"{slots.start} and up" if slots.stop > 1 << 60 else f"{slots.start} to {slots.stop - 1}"
