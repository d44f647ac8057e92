"""Effects: which commands of the log took effect, and at what time, for readers of old entries.

A run may be in the log twice, or after its session expired; only the replica that applied it saw the outcome. A reader
of old entries (``changes``) needs the outcome and has neither the sessions of that time nor the clock. Nearly every
command takes effect, at the time of its value, so only the exceptions are kept: runs with commands that had no effect,
and slots where a leader's wall clock was behind an earlier one's.

The exceptions follow from the log alone and are part of every snapshot. Their number is bounded: the oldest are
dropped, and the slots up to them are then unknown (``known_from``).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from paxospp.errors import CorruptedError
from paxospp.execution.built_in_machine import is_built_in
from paxospp.model import Change, Entry, Kind, Slot
from paxospp.sessions.runs import decode_commands
from paxospp.state_machine import unpack_call

PASSED_OVER_MAX = 16_384
"""How many slots with commands without effect are remembered. Equal on every replica, so it is not a setting."""
PEAKS_MAX = 1_024
"""How many slots whose leader's clock was behind are remembered. Equal on every replica, so it is not a setting."""


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
        """The first slot from which on it is known which commands took effect."""
        self._passed_over: OrderedDict[int, dict[int, int]] = OrderedDict()
        self._peaks: deque[tuple[int, int]] = deque()

    def pass_over(self, slot: Slot, index: int, count: int) -> None:
        """Note that the first ``count`` commands of the run at ``index`` in the value of ``slot`` had no effect."""
        self._passed_over.setdefault(slot, {})[index] = count
        if len(self._passed_over) > PASSED_OVER_MAX:
            oldest, _ = self._passed_over.popitem(last=False)
            self.known_from = max(self.known_from, Slot(oldest + 1))

    def hold_time(self, slot: Slot, unix_time: int) -> None:
        """Note that the wall clock in ``slot`` is behind ``unix_time``, the time of an earlier slot."""
        if not self._peaks or self._peaks[-1][1] < unix_time:
            self._peaks.append((slot, unix_time))
            if len(self._peaks) > PEAKS_MAX:
                self._peaks.popleft()
                self.known_from = max(self.known_from, Slot(self._peaks[0][0]))

    def changes(self, entry: Entry) -> Iterator[Change]:
        """Yield the commands of an applied entry that took effect on the user's machine, in order."""
        if entry.kind is not Kind.COMMANDS:
            return
        commands = decode_commands(entry.value)
        time = max(commands.unix_time, self._time_held(entry.slot)) / 1_000_000
        passed_over: Mapping[int, int] = self._passed_over.get(entry.slot, {})
        position = 0
        for index, run in enumerate(commands.runs):
            skip = passed_over.get(index, 0)
            for place, payload in enumerate(run.payloads[skip:] if skip else run.payloads, position + skip):
                if payload and not is_built_in(payload):
                    name, arguments = unpack_call(payload)
                    yield Change(entry.slot, place, time, name, arguments)
            position += len(run.payloads)

    def _time_held(self, slot: Slot) -> int:
        for since, time in reversed(self._peaks):
            if since <= slot:
                return time
        return 0

    def encode(self) -> bytes:
        """Encode the effects for a snapshot."""
        return _encode(_Stored(self.known_from, list(self._passed_over.items()), list(self._peaks)))

    def restore(self, data: bytes, applied: Slot) -> None:
        """Replace the content with ``data`` of a snapshot of slot ``applied``; if empty, no earlier slot is known."""
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
