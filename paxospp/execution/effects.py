"""Which commands of the log took effect, and when: what the log alone does not say.

A run may stand in the log twice, too late, or after its session expired; what came of it was seen
where it was applied. Whoever reads old entries again (``changes``) has to know it, and has neither
the sessions of that time nor the clock. Nearly every command takes effect at its value's own
time, so only the exceptions are kept: the runs of which something was passed over, and the slots
where the wall clock of a leader lay behind an earlier one's.

They follow from the log alone, stand in every snapshot, and are bounded: of exceptions too many
the oldest go, and the slots up to them are then not told any more (``known_from``).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from paxospp.errors import CorruptedError
from paxospp.execution.instances import is_own
from paxospp.model import Change, Entry, Kind, Slot
from paxospp.sessions.runs import decode_commands
from paxospp.state_machine import unpack_call

PASSED_OVER_MAX = 16_384
"""Slots with passed over commands that are remembered; equal on every replica, hence no setting."""
PEAKS_MAX = 1_024
"""The same for times at which the clock of a new leader lay behind."""


class _Stored(NamedTuple):
    known_from: int
    passed_over: list[tuple[int, dict[int, int]]]
    peaks: list[tuple[int, int]]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Stored).decode


class Effects:
    """The exceptions of the slots applied so far."""

    __slots__ = ("_passed_over", "_peaks", "known_from")

    def __init__(self) -> None:
        self.known_from = Slot(1)
        """From this slot on it is known which commands took effect."""
        self._passed_over: OrderedDict[int, dict[int, int]] = OrderedDict()
        self._peaks: deque[tuple[int, int]] = deque()

    def pass_over(self, slot: Slot, run: int, count: int) -> None:
        """In ``slot``, the first ``count`` commands of that run took no effect."""
        self._passed_over.setdefault(slot, {})[run] = count
        if len(self._passed_over) > PASSED_OVER_MAX:
            oldest, _ = self._passed_over.popitem(last=False)
            self.known_from = max(self.known_from, Slot(oldest + 1))

    def hold_time(self, slot: Slot, unix_time: int) -> None:
        """The stamp of ``slot`` lies before ``unix_time``, which an earlier slot had."""
        if not self._peaks or self._peaks[-1][1] < unix_time:
            self._peaks.append((slot, unix_time))
            if len(self._peaks) > PEAKS_MAX:
                self._peaks.popleft()
                self.known_from = max(self.known_from, Slot(self._peaks[0][0]))

    def changes(self, entry: Entry) -> Iterator[Change]:
        """What the commands of an entry applied before did to the user's machine, in their order."""
        if entry.kind is not Kind.COMMANDS:
            return
        commands = decode_commands(entry.value)
        time = max(commands.unix_time, self._time_held(entry.slot)) / 1_000_000
        passed_over: Mapping[int, int] = self._passed_over.get(entry.slot, {})
        position = 0
        for number, run in enumerate(commands.runs):
            skip = passed_over.get(number, 0)
            for place, payload in enumerate(run.payloads[skip:] if skip else run.payloads, position + skip):
                if payload and not is_own(payload):
                    name, arguments = unpack_call(payload)
                    yield Change(entry.slot, place, time, name, arguments)
            position += len(run.payloads)

    def _time_held(self, slot: Slot) -> int:
        for since, time in reversed(self._peaks):
            if since <= slot:
                return time
        return 0

    def encode(self) -> bytes:
        """All of it, for a snapshot."""
        return _encode(_Stored(self.known_from, list(self._passed_over.items()), list(self._peaks)))

    def restore(self, data: bytes, applied: Slot) -> None:
        """Become those of a snapshot as of ``applied``; one that has none tells of nothing before it."""
        if not data:
            stored = _Stored(applied + 1, [], [])
        else:
            try:
                stored = _decode(data)
            except (msgspec.DecodeError, RecursionError) as error:
                raise CorruptedError(f"snapshot's effects: {error}") from error
        self.known_from = Slot(stored.known_from)
        self._passed_over = OrderedDict(stored.passed_over)
        self._peaks = deque(stored.peaks)
