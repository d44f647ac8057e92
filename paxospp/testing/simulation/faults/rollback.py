"""Disks that come back older than they were: a run of its own, that asks only whether it is noticed.

A whole image put back takes with it every record that it ever was newer; no storage can tell, and no
replica that loads it. A peer that remembers more can, and must say so. What else happens in such a
run proves nothing, because one copy of acknowledged state is gone.

References: FAULTS D13, B17, B18; DESIGN section 5, rule 8.
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
    """Let a follower work, put an older image of its disk back, and see that a peer refuses it."""
    random = Random(f"{world.seed} rollback")
    begin_calls()
    clock = world.clock
    clock.run_until(clock.now + _WORK_S * random.random())
    followers = [host for host in world.hosts if host.parts is not None and not host.parts.replica.leading]
    host = random.choice(followers)
    image = host.disk.image.copy()
    before = host.disk.image.boot_record
    if random.random() < 0.5:
        # Started once from this image already: the second time it is a clone of that boot.
        host.crash()
        host.start()
    remembered = _accepted(host)
    clock.run_until(clock.now + _WORK_S)
    if _accepted(host) == remembered and host.disk.image.boot_record == before:
        return  # nothing was acknowledged since: the image is not older in any way that shows
    host.crash()
    host.disk.image = image
    world.invariants.forgive(host)
    host.start()
    clock.run_until(clock.now + _NOTICE_S)
    if not any(
        reason.startswith(("rolled back", "a clone"))
        for other in world.hosts
        if other.parts is not None
        for reason in other.parts.replica.dropped
    ):
        raise RuleBroken("D13", f"{host.name} came back with an older disk and nobody noticed")
    world.coverage[NOTICED] += 1


def _accepted(host: SimulatedHost) -> int:
    return max(host.disk.image.entries, default=0)
