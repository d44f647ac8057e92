"""Ambushes: an adversary that waits until a node is in a certain state, and acts then.

Duels and drills make a state likely and hope that something happens while it lasts. Where it lasts for milliseconds
that is rare: the machine of a leader is busy, a log is damaged and not repaired yet. Here the plan names the state
(``reach.states``). A node found in it is deposed, cut off or killed, its disk hangs, or it campaigns.

Reference: Lu et al., "CrashTuner: Detecting Crash-Recovery Bugs in Cloud Systems via Meta-Info Analysis" (2019), for
faults at the moment in which the state of a node makes them matter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import TYPE_CHECKING

from paxospp.testing.simulation.faults.adversary import Adversary, all_but
from paxospp.testing.simulation.faults.link_rules import FETCHES, HEARTBEATS, PHASE_1, PHASE_2, SNAPSHOTS, LinkRule
from paxospp.testing.simulation.faults.profiles import Profile, between, choice
from paxospp.testing.simulation.reach.states import STATES
from paxospp.testing.simulation.world.host import SimulatedHost
from paxospp.testing.simulation.world.network import Path

if TYPE_CHECKING:
    from paxospp.testing.simulation.faults.injector import FaultInjector

SHARE = 0.08
"""This share of the seeds that are no drill is an ambush."""
_AGAIN_S = 0.04
"""Mean time between two acts."""

_BASE: Mapping[str, Callable[[Random], object]] = {
    "nodes": choice(3),
    "safety_s": choice(3.0, 5.0),
    "pace_s": choice(0.02),
    "clients": choice(4, 8),
}
_LOOK = between(0.001, 0.004)

TARGETED_PROFILES: Mapping[str, Profile] = {
    "an ambush on busy machines": Profile(
        faults={
            "ambush_s": _LOOK,
            "burst_rate": choice(4.0),
            "slowness_s": choice(0.0, 0.002),
            "delay_s": choice(0.0, 0.002),
        },
        settings={"batch_bytes_max": choice(1), "inbox_calls_max": choice(16_384), "alpha": choice(8, 64)},
        pacing={"apply_slice_s": choice(0.0), "backlog_bytes_max": choice(16, 100)},
        plan={**_BASE, "ambush": choice("the machine is busy")},
    ),
    "an ambush on damaged logs": Profile(
        faults={
            "ambush_s": _LOOK,
            "rot_rate": between(2.0, 10.0),
            "tail_rot": choice(0.0, 0.6),
            "lost_write": choice(0.0, 0.01),
            "crash_rate": choice(1.0, 3.0),
            "loss": choice(0.1, 0.3),
        },
        settings={
            "alpha": choice(4, 8, 64),
            "batch_bytes_max": choice(1),
            "resend_interval_s": choice(0.05, 0.2),
            "kept_log_slots_max": choice(16, 100_000),
        },
        plan={
            **_BASE,
            "ambush": choice("the log is damaged", "the end of the log is damaged"),
            "damages_all": choice(True, False),
        },
    ),
    "an ambush on leases": Profile(
        faults={"ambush_s": _LOOK, "loss": choice(0.0, 0.1), "slow_disk": choice(1.0, 30.0)},
        plan={
            **_BASE,
            "lease_us": choice(100_000, 300_000, 1_000_000),
            "weak_reads": choice(0.6),
            "ambush": choice("its lease is held", "another replica leads too"),
        },
    ),
    "an ambush on fetches of snapshots": Profile(
        faults={"ambush_s": _LOOK, "whisper_s": between(0.05, 0.2)},
        settings={
            "snapshot_log_slots_max": choice(2, 8, 16),
            "snapshot_log_bytes_max": choice(8 << 20),
            "kept_log_slots_max": choice(1, 4),
            "chunk_bytes_max": choice(64, 400),
            "resend_interval_s": choice(0.02, 0.05),
        },
        plan={**_BASE, "ambush": choice("a snapshot is being fetched", "only a snapshot can help")},
    ),
    "an ambush on new leaders": Profile(
        faults={
            "ambush_s": _LOOK,
            "loss": choice(0.0, 0.1, 0.3),
            "delay_s": between(0.001, 0.02),
            "slow_disk": choice(1.0, 30.0),
            "burst_rate": choice(1.5),
            "depose_s": between(0.1, 0.4),  # so that there are some
            "usurp": choice(0.0, 0.3),
        },
        settings={"alpha": choice(4, 8, 64), "chunk_bytes_max": choice(32, 1 << 20), "batch_bytes_max": choice(1)},
        plan={**_BASE, "ambush": choice("recovering", "campaigning", "an answer is being put together")},
    ),
}
"""By what they wait for."""


def draw_ambush(seed: int) -> str:
    """The name of the ambush that ``seed`` is; empty where it is none."""
    random = Random(f"{seed} the ambush")
    return random.choice(sorted(TARGETED_PROFILES)) if random.random() < SHARE else ""


class TargetedFaults:
    """Polls the nodes of one run, and acts on a node that is in the state the plan names."""

    def __init__(self, troubles: FaultInjector) -> None:
        self._adversary = Adversary(troubles)
        self._troubles = troubles
        self._world = troubles.world
        self._mean_s = troubles.faults.ambush_s
        self._random = Random(f"{self._world.seed} N14 ambush")

    def begin(self) -> None:
        """Begin to look."""
        if self._mean_s and self._world.plan.ambush:
            self._world.clock.after(self._random.expovariate(1 / self._mean_s), self._look)

    def _look(self, _: object) -> None:
        if not self._troubles.is_on:
            return
        random, is_there = self._random, STATES[self._world.plan.ambush]
        found = [host for host in self._adversary.up if is_there(host)]
        if found:
            leading = [host for host in found if host in self._world.leaders]
            self._act(random.choice(leading if leading and random.random() < 0.8 else found))
        mean_s = _AGAIN_S if found else self._mean_s
        self._world.clock.after(random.expovariate(1 / mean_s), self._look)

    def _act(self, host: SimulatedHost) -> None:
        adversary, random = self._adversary, self._random
        others = [other for other in adversary.up if other is not host]
        self._world.coverage["a node was caught in a state that was waited for"] += 1
        draw = random.random()
        if draw < 0.45 and others:
            adversary.set_rules(lambda path: ())
            adversary.campaign(random.choice(others))
        elif draw < 0.65:
            adversary.set_rules(lambda path: ())
            adversary.campaign(host)
        elif draw < 0.85 and others:
            self._cut_off(host, others)
        elif draw < 0.95:
            host.stall(random.expovariate(20.0))
        else:
            host.crash()
            self._world.clock.after(0.1 * random.random(), self._troubles.restart, host)

    def _cut_off(self, host: SimulatedHost, others: list[SimulatedHost]) -> None:
        """It hears nothing of some kinds, or says nothing of them, while somebody else takes the lead."""
        random, adversary = self._random, self._adversary
        passing = frozenset().union(
            *(group for group in (PHASE_1, PHASE_2, HEARTBEATS, FETCHES, SNAPSHOTS) if random.random() < 0.3)
        )
        rule, inward, outward = all_but(passing), random.random() < 0.7, random.random() < 0.7

        def rules_of(path: Path) -> tuple[LinkRule, ...]:
            is_cut = (path.target is host and inward) or (path.source is host and outward)
            return (rule,) if is_cut else ()

        adversary.set_rules(rules_of)
        adversary.campaign(random.choice(others))
        self._world.clock.after(random.expovariate(10.0), lambda _: adversary.set_rules(lambda path: ()))
