"""A histogram of latencies from microseconds to a day, with an error of at most one per cent.

Up to 128 µs a bucket is one microsecond wide; above, there are 64 buckets for each doubling. Adding a latency is a
shift and an increment, because it happens once per call. Histograms of several processes can be merged exactly;
percentiles of several processes could not.

Reference: Gil Tene's HdrHistogram.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

_BITS = 6
_LINEAR = 1 << (_BITS + 1)
_BUCKETS = 2048
"""Enough for 2 ** 37 µs, which is a day."""

_BAR = 50
_PARTIAL = " ▏▎▍▌▋▊▉"


class Histogram:
    """Counts of latencies, which are given in seconds."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts = [0] * _BUCKETS

    def add(self, seconds: float) -> None:
        us = int(seconds * 1e6)
        shift = us.bit_length() - 1 - _BITS
        self.counts[us if shift <= 0 else (shift << _BITS) + (us >> shift)] += 1

    @property
    def total(self) -> int:
        return sum(self.counts)

    def percentile(self, fraction: float) -> float:
        """Return the latency in seconds that the given fraction of all stays below; 0 if the histogram is empty."""
        left = fraction * self.total
        last = 0
        for bucket, count in enumerate(self.counts):
            if count:
                last = bucket
                left -= count
                if left <= 0:
                    break
        return sum(_bounds(last)) / 2e6 if last else 0.0

    def merge(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Add the counts of another histogram, given as its ``pairs``."""
        for bucket, count in pairs:
            self.counts[bucket] += count

    def pairs(self) -> list[tuple[int, int]]:
        """Return the buckets that are not empty and their counts, to send them to another process."""
        return [(bucket, count) for bucket, count in enumerate(self.counts) if count]

    def draw(self, width: int = _BAR) -> Iterator[str]:
        """Draw a line per step of the scale, from the fastest call to the slowest: upper bound in ms, bar, count."""
        total = self.total
        if not total:
            return
        shares = list(self._steps())
        most = max(count for _, count in shares)
        labels = [_ms(upper_us) for upper_us, _ in shares]
        wide = max(len("ms up to"), *map(len, labels))
        yield f"{'ms up to':>{wide}} │ {'calls':<{width}}"
        for label, (_, count) in zip(labels, shares, strict=True):
            yield f"{label:>{wide}} │ {_bar(count / most, width)} {count:,} ({count / total:.1%})"

    def _steps(self) -> Iterator[tuple[int, int]]:
        """Return ascending upper bounds in µs, and the number of calls between each bound and the previous one."""
        pairs = self.pairs()
        lowest, highest = _bounds(pairs[0][0])[0], _bounds(pairs[-1][0])[1]
        place = 0
        for upper in _scale():
            if upper <= lowest:
                continue
            count = 0
            while place < len(pairs) and sum(_bounds(pairs[place][0])) / 2 <= upper:
                count += pairs[place][1]
                place += 1
            yield upper, count
            if place == len(pairs) or upper >= highest:
                return


def _bounds(bucket: int) -> tuple[int, int]:
    """Return the latencies of a bucket in microseconds: from the first, below the second."""
    if bucket < _LINEAR:
        return bucket, bucket + 1
    shift = (bucket >> _BITS) - 1
    base = (bucket - (shift << _BITS)) << shift
    return base, base + (1 << shift)


def _scale() -> Iterator[int]:
    """Return the bounds 10, 15, 20, 30, 50, 70, 100 and so on, in µs."""
    decade = 10
    while True:
        for step in (10, 15, 20, 30, 50, 70):
            yield step * decade // 10
        decade *= 10


def _ms(us: int) -> str:
    return f"{us / 1000:g}"


def _bar(share: float, width: int) -> str:
    eighths = round(share * width * 8)
    if share > 0:
        eighths = max(1, eighths)
    bar = "█" * (eighths // 8) + _PARTIAL[eighths % 8].strip()
    return f"{bar:<{width}}"
