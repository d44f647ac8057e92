"""Keys and values that the kit writes through the methods of a ``KeyValueStorage``, beside the keys of the log.

``Pairs`` is a stream of writes, equal for equal seed. Each write deletes ranges and puts pairs; the pairs after each
are known. All keys begin with ``PREFIX``, which no key of the log does.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from paxospp.storage.key_value import KeyValueStorage
from paxospp.testing.storage_suite.store_view import ExceptionReport

PREFIX = b"~kit/"
STOP = b"~kit0"
"""The first key above all that begin with ``PREFIX``."""

PAIRS_SEED = 70
MANY = 3000
MANY_BYTES = 700


@dataclass(slots=True, frozen=True)
class PairsWrite:
    """The arguments of one ``write``."""

    delete_ranges: tuple[tuple[bytes, bytes], ...]
    puts: tuple[tuple[bytes, bytes], ...]
    sync: bool

    def after(self, pairs: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """Return ``pairs`` as they are after this write."""
        kept = {
            key: value
            for key, value in pairs.items()
            if not any(start <= key < stop for start, stop in self.delete_ranges)
        }
        return {**kept, **dict(self.puts)}


class Pairs:
    """The writes 1, 2, 3, … of ``seed``, and the pairs after each."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.writes: list[PairsWrite] = [PairsWrite((), (), True)]  # number 0 is the new store
        self.models: list[dict[bytes, bytes]] = [{}]

    def write(self, number: int) -> PairsWrite:
        self._reach(number)
        return self.writes[number]

    def model(self, number: int) -> Mapping[bytes, bytes]:
        self._reach(number)
        return self.models[number]

    def _reach(self, number: int) -> None:
        while len(self.writes) <= number:
            chance = random.Random(f"{self._seed}/{len(self.writes)}")
            model = self.models[-1]
            begin = chance.randrange(8)
            ranges = [(_key(begin), _key(begin + chance.randint(1, 5)))]
            if chance.random() < 0.4:  # a range that overlaps the first or lies in it
                ranges.append((_key(begin + 1), _key(begin + chance.randint(1, 9))))
            kept = [key for key in map(_key, range(begin + 6, 16)) if key not in model]
            keys = sorted({_key(begin), _key(begin + 2), *kept[:1]})
            puts = [(key, b"%d " % len(self.writes) + chance.randbytes(chance.choice([0, 30, 900]))) for key in keys]
            write = PairsWrite(tuple(ranges), tuple(puts), chance.random() < 0.7)
            self.writes.append(write)
            self.models.append(write.after(model))


def _key(number: int) -> bytes:
    return PREFIX + b"%02d" % number


def many_pairs() -> list[tuple[bytes, bytes]]:
    """Return two megabytes of pairs, more than a driver reads at once."""
    return [
        (PREFIX + b"%08d" % n, b"%d " % n + bytes((n * 7 + i) % 251 for i in range(MANY_BYTES))) for n in range(MANY)
    ]


def shown_pairs(storage: KeyValueStorage) -> dict[bytes, bytes] | ExceptionReport:
    """Return all pairs of the kit that a scan returns, or the exception that it raises."""
    try:
        return {bytes(key): bytes(value) for key, value in storage.scan(PREFIX, STOP)}
    except Exception as error:
        return ExceptionReport.of(error)


def judge_pairs(
    shown: Mapping[bytes, bytes] | ExceptionReport, pairs: Pairs, lowest: int, highest: int
) -> tuple[str, str, str] | None:
    """Return None if ``shown`` equals the pairs after one of the writes ``lowest`` to ``highest``.

    Otherwise return the clause, what was wanted and what was found.
    """
    if not isinstance(shown, ExceptionReport):
        shown = dict(shown)
        if any(shown == pairs.model(number) for number in range(lowest, highest + 1)):
            return None
    wanted = f"the pairs as after write {lowest}" + (f" or one up to write {highest}" if highest > lowest else "")
    if isinstance(shown, ExceptionReport):
        return "C1", wanted, f"load or scan raises {shown}"
    older = next((number for number in range(lowest - 1, -1, -1) if shown == pairs.model(number)), None)
    if older is not None:
        synced = any(pairs.write(number).sync for number in range(older + 1, lowest + 1))
        return ("C2" if synced else "C3"), wanted, f"the pairs as after write {older}"
    for number in range(highest, 0, -1):
        write = pairs.write(number)
        before, after = pairs.model(number - 1), pairs.model(number)
        if all(value in (before.get(key), after.get(key)) for key, value in shown.items()) and all(
            key in shown or key not in before or key not in after for key in {*before, *after}
        ):
            gone = sorted(key for key in before if key not in shown)
            put = [key for key, value in write.puts if shown.get(key) == value]
            return (
                "C1",
                wanted,
                (f"a part of write {number}: {len(gone)} keys are deleted, {len(put)} of {len(write.puts)} are put"),
            )
    return "C1", wanted, "pairs that are not the result of any write"
