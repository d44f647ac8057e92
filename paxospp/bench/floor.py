"""The floor: the least time that one call can take on this machine, measured before and after the load.

A write needs one ``fdatasync`` of its record, because leader and followers sync at the same time, and its round trips:
caller to leader (if the caller is another process) and leader to follower. A linearizable read needs the same round
trips and no sync.
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

from paxospp.bench.echo import EchoClient

_RECORD_HEAD_BYTES = 128
"""About how many bytes the command name, key, run, value and log record add to a value."""
_ZEROS = bytes(256 << 10)
_AHEAD_RECORD_BYTES_MAX = 16 << 10
"""Records up to this size are written over zeros and larger ones are appended, as the file storage does it."""
_SYNCS = 200
_SYNCS_S = 0.5
_ROUND_TRIPS = 400
_WARM_UP = 100


class Floor:
    """Samples of disk and network; the figures are medians of all samples."""

    def __init__(self, directory: Path, value_bytes: int, *, round_trips: int, syncs: int) -> None:
        self._path = directory / "floor"
        self._size = value_bytes + _RECORD_HEAD_BYTES
        self._round_trips = round_trips
        self._syncs = syncs
        self._sync_samples: list[float] = []
        self._round_trip_samples: list[float] = []
        self.alone_per_s = 0.0
        """Calls per second of a state machine that is not replicated."""

    async def sample(self, echo: EchoClient) -> None:
        """Add samples of ``fdatasync`` and of round trips."""
        self._sync_samples += self._sync()
        self._round_trip_samples += (await echo.round_trips(self._size, _WARM_UP + _ROUND_TRIPS))[_WARM_UP:]

    def _sync(self) -> list[float]:
        """Return the seconds of up to 200 syncs. Blocks the event loop for up to half a second."""
        samples: list[float] = []
        record = os.urandom(self._size)
        ahead = self._size <= _AHEAD_RECORD_BYTES_MAX
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            place = zeroed = 0
            deadline = time.perf_counter() + _SYNCS_S
            while len(samples) < _SYNCS and time.perf_counter() < deadline:
                if ahead and place + self._size > zeroed:
                    os.pwrite(file, _ZEROS, zeroed)
                    os.fsync(file)
                    zeroed += len(_ZEROS)
                begun = time.perf_counter()
                os.pwrite(file, record, place)
                os.fdatasync(file)
                samples.append(time.perf_counter() - begun)
                place += self._size
        finally:
            os.close(file)
            self._path.unlink()
        return samples

    @property
    def fdatasync_ms(self) -> float:
        return statistics.median(self._sync_samples) * 1000

    @property
    def round_trip_ms(self) -> float:
        return statistics.median(self._round_trip_samples) * 1000

    @property
    def total_ms(self) -> float:
        return self._syncs * self.fdatasync_ms + self._round_trips * self.round_trip_ms

    def __str__(self) -> str:
        trips = f"{self._round_trips} × {self.round_trip_ms:.3f} ms round trip"
        return (f"{self.fdatasync_ms:.3f} ms fdatasync + " if self._syncs else "") + trips

    def to_json(self) -> dict[str, float]:
        return {
            "fdatasync_ms": round(self.fdatasync_ms, 4),
            "round_trip_ms": round(self.round_trip_ms, 4),
            "total_ms": round(self.total_ms, 4),
            "alone_per_s": round(self.alone_per_s, 1),
        }
