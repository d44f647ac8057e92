"""Disks that are rolled back: a run of its own, which checks only that a peer notices.

An older image of a disk has no record of what was written later, so neither the storage nor the replica can tell. A
peer that remembers more can tell, and must report it. Nothing else is checked in such a run, because one copy of
acknowledged state is gone.

References: family D13; bugs B17 and B18; rule 8 of ``paxospp/engine/README.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from paxospp.testing.simulation.rule_broken import RuleBroken
from paxospp.testing.simulation.world.host import SimulatedHost
from paxospp.testing.simulation.world.world import SimulatedWorld

NOTICED = "a clone or an older disk was noticed"
_WORK_S = 2.0
_NOTICE_S = 5.0


def roll_back(world: SimulatedWorld, begin_calls: Callable[[], None]) -> None:
    """Let a follower work, put an older image of its disk back, and check that a peer refuses it."""
    random = Random(f"{world.seed} rollback")
    begin_calls()
    clock = world.clock
    clock.run_until(clock.now + _WORK_S * random.random())
    followers = [host for host in world.hosts if host.runtime is not None and not host.runtime.replica.leading]
    host = random.choice(followers)
    image = host.disk.image.copy()
    before = host.disk.image.boot_record
    if random.random() < 0.5:
        # Started from this image once already: the second start is a clone of that boot.
        host.crash()
        host.start()
    remembered = _accepted(host)
    clock.run_until(clock.now + _WORK_S)
    if _accepted(host) == remembered and host.disk.image.boot_record == before:
        return  # nothing was acknowledged since, so it does not show that the image is older
    host.crash()
    host.disk.image = image
    world.invariants.forgive(host)
    host.start()
    clock.run_until(clock.now + _NOTICE_S)
    if not any(
        reason.startswith(("rolled back", "a clone"))
        for other in world.hosts
        if other.runtime is not None
        for reason in other.runtime.replica.dropped
    ):
        raise RuleBroken("D13", f"{host.name} came back with an older disk and no peer noticed")
    world.coverage[NOTICED] += 1


def _accepted(host: SimulatedHost) -> int:
    return max(host.disk.image.entries, default=0)
