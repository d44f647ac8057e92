"""Stores that change values (C7)."""

from __future__ import annotations

from collections.abc import Sequence

from paxospp import Entry
from tests.kit.broken_stores.sound import SoundStorage, State


class EmptyAsAbsent(SoundStorage):
    """Treats an empty value like none: ``if value:``."""

    def order(self, state: State) -> Sequence[int]:
        return [slot for slot in super().order(state) if state.entries[slot].value]

    def merged(self, old: dict[str, bytes], new: object) -> dict[str, bytes]:
        return {key: value for key, value in super().merged(old, new).items() if value}


class MetaReplaced(SoundStorage):
    """Replaces the whole meta by that of the batch instead of merging it."""

    def merged(self, old: dict[str, bytes], new: object) -> dict[str, bytes]:
        assert isinstance(new, dict)
        return new or old


class PaddingStripped(SoundStorage):
    """Strips zeros at the end of values, like a fixed-width field."""

    def encode_entry(self, entry: Entry) -> bytes:
        return super().encode_entry(Entry(entry.slot, entry.ballot, entry.kind, entry.value.rstrip(b"\0")))
