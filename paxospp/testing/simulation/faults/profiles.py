"""Profiles: some seeds make one rare situation likely.

A profile replaces some of the faults, settings and sizes that its seed drew: snapshots every two slots on disks that
fail, damage to a log of which memory holds nothing, a bootstrap in which nodes lose their disks. Everything else is as
random as in other runs. A profile makes its situation likely and asserts nothing.

Reference: Zhou et al., "FoundationDB" (2021), section 4.2: tests that are biased towards rare behaviour.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from paxospp.testing.simulation.faults.families import Faults

Draw = Callable[[Random], Any]

ROLLED_BACK = "a disk is rolled back"
"""The profile name of runs of ``rollback``, which is not one of ``PROFILES``."""
KEPT = 0.3
"""Chance that a profile keeps a family of faults that its seed drew: too many at once would hide its situation."""

_STREAMS = {
    "contest_s": "duel_s",
    "fetch_only_s": "whisper_s",
    "targeted_s": "ambush_s",
    "script_s": "rehearsal_s",
    "local_fault": "trouble",
    "damage_rate": "rot_rate",
    "tail_damage": "tail_rot",
    "snapshot_damage": "snapshot_rot",
    "forced_campaign": "usurp",
    "targeted_state": "ambush",
}
"""Fields whose random streams keep an older name of the field, so that every seed keeps its meaning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Draws that replace those of the seed, by names of fields."""

    faults: Mapping[str, Draw] = field(default_factory=dict)
    settings: Mapping[str, Draw] = field(default_factory=dict)
    """Settings that all nodes share."""
    each: Mapping[str, Draw] = field(default_factory=dict)
    """Settings that each node draws for itself."""
    pacing: Mapping[str, Draw] = field(default_factory=dict)
    plan: Mapping[str, Draw] = field(default_factory=dict)

    def faults_of(self, seed: int, drawn: Faults) -> Faults:
        """Return the faults under ``seed``, which has drawn ``drawn``."""
        kept = [family for family in drawn.families if Random(f"{seed} drill keeps {family}").random() < KEPT]
        return replace(drawn.only(kept), **_drawn(self.faults, f"{seed} drill"))

    def pacing_of(self, seed: int) -> dict[str, Any]:
        """Return the fields of the pacing to replace under ``seed``."""
        return _drawn(self.pacing, f"{seed} drill")

    def plan_of(self, seed: int) -> dict[str, Any]:
        """Return the other fields of the plan to replace under ``seed``."""
        return _drawn(self.plan, f"{seed} drill")

    def settings_of(self, seed: int, index: int) -> dict[str, Any]:
        """Return the settings of node ``index`` to replace under ``seed``."""
        return {**_drawn(self.settings, f"{seed} drill"), **_drawn(self.each, f"{seed} drill of node {index}")}


def _drawn(draws: Mapping[str, Draw], stream: str) -> dict[str, Any]:
    return {name: draw(Random(f"{stream} {_STREAMS.get(name, name)}")) for name, draw in draws.items()}


@dataclass(frozen=True, slots=True)
class ProfileSet:
    """Profiles by name, and how often a seed has one of them."""

    stream: str
    """The name of the random stream that draws one."""
    share: float
    """The share of the seeds that have one of these profiles."""
    profiles: Mapping[str, Profile]

    def draw(self, seed: int) -> str:
        """Return the name of the profile that ``seed`` has; empty if it has none."""
        random = Random(f"{seed} {self.stream}")
        return random.choice(sorted(self.profiles)) if random.random() < self.share else ""


def choice(*values: Any) -> Draw:
    """Return a draw of one of ``values``."""
    return lambda random: random.choice(values)


def between(low: float, high: float) -> Draw:
    """Return a draw between the two, uniform in the exponent: small values are as likely as large ones."""
    return lambda random: low * (high / low) ** random.random()


_SNAPSHOTS: Mapping[str, Draw] = {
    "snapshot_log_slots_max": choice(2, 2, 4),
    "snapshot_log_bytes_max": choice(8 << 20),  # or a snapshot that is larger than this puts off the next one
    "kept_log_slots_max": choice(1, 4),
    "chunk_bytes_max": choice(32, 100, 400, 1 << 10),
    "resend_interval_s": choice(0.02, 0.05),
    "alpha": choice(2, 8),
}
_QUICK: Mapping[str, Draw] = {
    "snapshot_retry_s": choice(0.005, 0.05),
    "sending_idle_s": choice(0.02, 0.1, 1.0),
    "keep_asking_s": choice(0.01, 0.1),
    "snapshot_piece_bytes": choice(16, 200),
}
_THREE: Mapping[str, Draw] = {
    "nodes": choice(3),
    "safety_s": choice(2.0, 4.0),
    "pace_s": choice(0.02),
    "clients": choice(3, 6),
}

PROFILES = ProfileSet(
    "drill",
    0.3,
    {
        "snapshots go wrong": Profile(
            faults={
                "snapshot_error": between(0.02, 0.3),
                "snapshot_damage": choice(0.5),
                "crash_rate": between(0.5, 2.0),
                "fetch_only_s": between(0.03, 0.1),
            },
            settings={
                **_SNAPSHOTS,
                "snapshot_log_slots_max": choice(2, 4, 16, 64),
                "kept_log_slots_max": choice(1, 4, 100_000),
                "chunk_bytes_max": choice(200, 1 << 10, 1 << 20),
            },
            pacing=_QUICK,
            plan={**_THREE, "pace_s": choice(0.02, 0.1, 0.3)},
        ),
        "snapshots come late": Profile(
            faults={"contest_s": between(0.05, 0.2), "interference_rate": choice(3.0), "delay_s": between(0.001, 0.05)},
            settings={**_SNAPSHOTS, "chunk_bytes_max": choice(16, 32, 100)},
            pacing={**_QUICK, "sending_idle_s": choice(0.02, 0.05)},
            plan=_THREE,
        ),
        "a log rots on disk": Profile(
            faults={
                "damage_rate": between(5.0, 30.0),
                "read_error": choice(0.0, 0.05),
                "contest_s": between(0.05, 0.2),
                "chosen_loss": choice(0.0, 0.15),
                "crash_rate": choice(1.0, 3.0),
            },
            settings={
                "tail_bytes_max": choice(1, 200),
                "snapshot_log_slots_max": choice(16, 100_000),
                "kept_log_slots_max": choice(4, 100_000),
                "snapshot_log_bytes_max": choice(8 << 20),
                "snapshot_interval_s": choice(0.5, 3600.0),
                "alpha": choice(2, 4, 16),
            },
            plan={**_THREE, "damages_all": choice(True, False)},
        ),
        "founders lose their disks": Profile(
            faults={
                "wipe_rate": choice(0.2, 3.0, 10.0),
                "founder_wipe": choice(0.6, 0.9),
                "delay_s": choice(0.0, 0.003, 0.02),  # so that a campaign lasts
                "tail_damage": choice(0.0, 0.6),
                "crash_rate": choice(0.0, 2.0),
                "contest_s": choice(0.0, 0.1),
            },
            settings={"resend_interval_s": choice(0.005, 0.02)},
            each={"alpha": choice(1, 2, 8, 64)},
            plan={"nodes": choice(3, 3, 5), "safety_s": choice(2.0, 4.0), "founds_first": choice(False)},
        ),
        "members lose their disks": Profile(
            faults={"wipe_rate": between(0.5, 2.0), "contest_s": between(0.05, 0.2), "swap_rate": choice(0.0, 0.3)},
            plan={"nodes": choice(3, 5, 5), "safety_s": choice(2.0, 4.0), "founds_first": choice(True)},
        ),
        "sessions expire": Profile(
            faults={
                "pause_rate": between(0.1, 0.5),
                "clog_rate": choice(2.0),
                "interference_rate": choice(3.0),
                "burst_rate": choice(1.0),
                "client_crash_rate": choice(2.0),
            },
            settings={"session_expiry_s": choice(1), "resend_interval_s": choice(0.2)},
            plan={"nodes": choice(2, 3), "safety_s": choice(8.0), "pace_s": choice(0.1)},
        ),
        "promises in many parts": Profile(
            faults={
                "delay_s": between(0.003, 0.03),
                "tail": choice(0.02),
                "duplicate": choice(0.3),
                "contest_s": between(0.05, 0.2),
                "burst_rate": choice(1.5),
                "chosen_loss": choice(0.0, 0.15),
            },
            settings={
                "chunk_bytes_max": choice(1, 32, 100),
                "resend_interval_s": choice(0.005),
                "alpha": choice(4, 8, 64),
                "batch_bytes_max": choice(1),
                "tail_bytes_max": choice(32 << 20),
            },
            plan=_THREE,
        ),
        "disks hang": Profile(
            faults={"stall_rate": between(0.5, 2.0), "stall_s": between(0.3, 1.5), "clog_rate": choice(0.0, 1.0)},
            settings={"election_timeout_s": choice(0.2), "heartbeat_interval_s": choice(0.02, 0.05)},
            pacing={"ticket_age_max_s": choice(0.05, 0.5)},
            plan={**_THREE, "clients": choice(8), "weak_reads": choice(0.0, 0.3)},
        ),
        "leases change hands": Profile(
            faults={
                "contest_s": between(0.1, 0.4),
                "interference_rate": choice(1.0, 3.0),
                "partition_rate": choice(0.0, 0.6),
                "stall_rate": choice(0.0, 0.3),
                "slow_disk": choice(1.0, 30.0, 100.0),
            },
            plan={
                **_THREE,
                "lease_us": choice(100_000, 300_000, 1_000_000),
                "weak_reads": choice(0.6),
                "clients": choice(8),
            },
        ),
        "strangers speak": Profile(
            faults={"forge_rate": between(10.0, 40.0), "contest_s": between(0.05, 0.2)},
            plan=_THREE,
        ),
        "machines fall behind": Profile(
            faults={
                "pause_rate": choice(0.0, 0.2),
                "slowness_s": choice(0.0, 0.002),
                "local_fault": choice(0.0, 0.005),
                "burst_rate": choice(4.0),
                "contest_s": between(0.03, 0.1),
            },
            settings={
                **_SNAPSHOTS,
                "chunk_bytes_max": choice(1 << 10, 1 << 20),
                "batch_bytes_max": choice(1),
                "inbox_calls_max": choice(16_384),
                "alpha": choice(64),
            },
            each={"kept_log_slots_max": choice(1, 100_000)},
            pacing={**_QUICK, "apply_slice_s": choice(0.0), "backlog_bytes_max": choice(16, 200, 16 << 20)},
            plan=_THREE,
        ),
        "watchers lag": Profile(
            faults={"slow_disk": choice(100.0), "damage_rate": choice(0.0, 5.0), "burst_rate": choice(1.0)},
            settings={**_SNAPSHOTS, "tail_bytes_max": choice(1), "kept_log_slots_max": choice(1, 4, 16)},
            plan={**_THREE, "watchers": choice(6)},
        ),
        "one hears of snapshots only": Profile(
            faults={"fetch_only_s": between(0.05, 0.2)},
            settings={
                **_SNAPSHOTS,
                "snapshot_log_slots_max": choice(2, 4, 16, 32),
                "kept_log_slots_max": choice(1, 4),
                "chunk_bytes_max": choice(64, 1 << 10, 1 << 20),
            },
            plan=_THREE,
        ),
        "what only one node holds is lost": Profile(
            faults={"sole_loss_s": between(0.1, 0.3), "fetch_only_s": between(0.1, 0.3)},
            settings={
                **_SNAPSHOTS,
                "snapshot_log_slots_max": choice(2, 4, 16),
                "kept_log_slots_max": choice(1, 1, 4),
                "chunk_bytes_max": choice(64, 64, 1 << 10, 1 << 20),
                "alpha": choice(4, 8),
                "batch_bytes_max": choice(1),
            },
            pacing=_QUICK,
            plan={**_THREE, "damages_all": choice(True, False)},
        ),
        "what was chosen is damaged": Profile(
            faults={
                "contest_s": between(0.02, 0.1),
                "chosen_loss": between(0.4, 0.8),
                "interference_rate": choice(0.0, 3.0),
                "loss": choice(0.0, 0.1, 0.3),  # so that a log has gaps
            },
            settings={
                "alpha": choice(4, 8, 64),
                "batch_bytes_max": choice(1),
                "kept_log_slots_max": choice(1, 100_000),
                "resend_interval_s": choice(0.02, 0.2, 1.0),
            },
            plan={**_THREE, "damages_all": choice(True, False)},
        ),
    },
)
"""Each is named after its situation."""
