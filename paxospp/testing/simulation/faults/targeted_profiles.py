"""The profiles of targeted faults: each names a state, and makes it likely."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

from paxospp.testing.simulation.faults.profiles import Profile, ProfileSet, between, choice

_BASE: Mapping[str, Callable[[Random], object]] = {
    "nodes": choice(3),
    "safety_s": choice(3.0, 5.0),
    "pace_s": choice(0.02),
    "clients": choice(4, 8),
}
_LOOK = between(0.001, 0.004)

TARGETED_PROFILES = ProfileSet(
    "the ambush",
    0.08,
    {
        "faults aimed at busy machines": Profile(
            faults={
                "targeted_s": _LOOK,
                "burst_rate": choice(4.0),
                "slowness_s": choice(0.0, 0.002),
                "delay_s": choice(0.0, 0.002),
            },
            settings={"batch_bytes_max": choice(1), "inbox_calls_max": choice(16_384), "alpha": choice(8, 64)},
            pacing={"apply_slice_s": choice(0.0), "backlog_bytes_max": choice(16, 100)},
            plan={**_BASE, "targeted_state": choice("the machine is busy")},
        ),
        "faults aimed at damaged logs": Profile(
            faults={
                "targeted_s": _LOOK,
                "damage_rate": between(2.0, 10.0),
                "tail_damage": choice(0.0, 0.6),
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
                "targeted_state": choice("the log is damaged", "the end of the log is damaged"),
                "damages_all": choice(True, False),
            },
        ),
        "faults aimed at leases": Profile(
            faults={"targeted_s": _LOOK, "loss": choice(0.0, 0.1), "slow_disk": choice(1.0, 30.0)},
            plan={
                **_BASE,
                "lease_us": choice(100_000, 300_000, 1_000_000),
                "weak_reads": choice(0.6),
                "targeted_state": choice("its lease is held", "another replica leads too"),
            },
        ),
        "faults aimed at fetches of snapshots": Profile(
            faults={"targeted_s": _LOOK, "fetch_only_s": between(0.05, 0.2)},
            settings={
                "snapshot_log_slots_max": choice(2, 8, 16),
                "snapshot_log_bytes_max": choice(8 << 20),
                "kept_log_slots_max": choice(1, 4),
                "chunk_bytes_max": choice(64, 400),
                "resend_interval_s": choice(0.02, 0.05),
            },
            plan={**_BASE, "targeted_state": choice("a snapshot is being fetched", "only a snapshot can help")},
        ),
        "faults aimed at new leaders": Profile(
            faults={
                "targeted_s": _LOOK,
                "loss": choice(0.0, 0.1, 0.3),
                "delay_s": between(0.001, 0.02),
                "slow_disk": choice(1.0, 30.0),
                "burst_rate": choice(1.5),
                "depose_s": between(0.1, 0.4),  # so that there are some
                "forced_campaign": choice(0.0, 0.3),
            },
            settings={"alpha": choice(4, 8, 64), "chunk_bytes_max": choice(32, 1 << 20), "batch_bytes_max": choice(1)},
            plan={**_BASE, "targeted_state": choice("recovering", "campaigning", "an answer is being put together")},
        ),
    },
)
"""Drawn for seeds that have none of ``profiles.PROFILES``; each is named after its states."""
