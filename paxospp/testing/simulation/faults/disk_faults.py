"""Faults of single disk operations: writes, reads, steps on snapshots, and crashes between operations.

Each is drawn when the operation begins or returns. Faults that strike a disk at some time, whether it is used or not
(damaged slots and copies, a full, hanging, wiped or swapped disk), are scheduled in ``injector``; so is the damage that
a crash leaves, and a load that fails.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Protocol

from paxospp.errors import StorageError
from paxospp.testing.simulation.faults.families import Faults
from paxospp.testing.simulation.world.disk import SimulatedDisk
from paxospp.testing.simulation.world.virtual_time import Clock


class DiskWorld(Protocol):
    """The part of the world that disk faults need."""

    @property
    def clock(self) -> Clock: ...

    @property
    def coverage(self) -> Counter[str]: ...


class DiskHost(Protocol):
    """The part of a host that disk faults need."""

    @property
    def world(self) -> DiskWorld: ...

    @property
    def disk(self) -> SimulatedDisk: ...

    @property
    def faults(self) -> Faults: ...

    @property
    def may_be_damaged(self) -> bool: ...

    @property
    def full_until(self) -> float: ...

    @property
    def slow_disk(self) -> float: ...


class InjectedError(StorageError):
    """An error of a disk that the simulation injects."""


class DiskFaults:
    """Draws what goes wrong with each operation, from one random stream per family."""

    def __init__(self, seed: str, write_s: float) -> None:
        self._write_s = write_s
        self.write_returns_at = 0.0
        """When the latest write returns, unless the node dies before."""
        self._speed = Random(f"{seed} disk speed")
        self._random = {
            family: Random(f"{seed} {family} operations")
            for family in ("D3", "D4", "D5", "D8", "D9", "D14", "D17", "P2")
        }

    def write_s(self, host: DiskHost) -> float:
        """Draw the duration of a write."""
        slower = host.slow_disk
        return self._speed.expovariate(1 / self._write_s) * slower

    def read_s(self, host: DiskHost) -> float:
        return 0.0002 + 0.001 * self._speed.random() * host.slow_disk

    def on_write(self, host: DiskHost) -> Exception | None:
        """Draw what goes wrong with the write that just began; return the error it ends in, if any."""
        faults, disk, draw = host.faults, host.disk, self._random
        if faults.sync_error and draw["D3"].random() < faults.sync_error:
            disk.fail(draw["D3"], survives=False)
            host.world.coverage["fsync failed"] += 1
            return InjectedError("fsync: EIO")
        if host.full_until > host.world.clock.now or (faults.write_error and draw["D4"].random() < faults.write_error):
            disk.fail(draw["D4"], survives=draw["D4"].random() < 0.5)
            host.world.coverage["write failed"] += 1
            return InjectedError("write: ENOSPC or EIO")
        pending = disk.pending[-1]
        batch = pending.batch
        if host.may_be_damaged and batch.accepted and not batch.meta and batch.snapshot is None and batch.trim is None:
            if faults.lost_write and draw["D9"].random() < faults.lost_write:
                pending.lost = True
                host.world.coverage["lost write"] += 1
            elif faults.misdirect and draw["D8"].random() < faults.misdirect:
                pending.misdirected = True
                host.world.coverage["misdirected write"] += 1
        return None

    def on_read(self, host: DiskHost) -> Exception | None:
        """Draw the error that a read ends in, if any."""
        faults, random = host.faults, self._random["D5"]
        if faults.read_error and host.may_be_damaged and random.random() < faults.read_error:
            host.world.coverage["read failed"] += 1
            return InjectedError("read: EIO")
        return None

    def on_snapshot(self, host: DiskHost) -> None:
        """Perhaps fail a step on a snapshot, which does not stop the node."""
        chance = host.faults.snapshot_error
        if chance and self._random["D14"].random() < chance:
            host.world.coverage["a step on a snapshot failed"] += 1
            raise InjectedError("snapshot: EIO")

    def dies_at_snapshot(self, host: DiskHost) -> bool:
        """Return whether the node is killed between two steps of a snapshot (D17)."""
        chance = host.faults.crash_at_snapshot
        return chance > 0.0 and self._random["D17"].random() < chance

    def dies_here(self, host: DiskHost) -> bool:
        """Return whether the node is killed exactly between two operations of its storage (P2)."""
        chance = host.faults.crash_at_write
        return chance > 0.0 and self._random["P2"].random() < chance
