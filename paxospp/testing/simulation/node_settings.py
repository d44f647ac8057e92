"""Settings of the nodes of one run: half of all seeds draw ordinary ones, half draw extreme ones.

Extreme settings lie beyond the limits of ``NodeConfig``: one byte per chunk, one slot in flight, a log of which memory
holds nothing. They make a long history of a short run: with an alpha of 2, a node that missed five slots is far behind,
and with chunks of a few bytes every promise has several parts. In half of the extreme seeds the nodes also differ from
each other, like the nodes of a cluster whose configuration is being changed.

Reference: Zhou et al., "FoundationDB" (2021), section 4.2: BUGGIFY, which draws the tuning knobs as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any

from paxospp.config import NodeConfig
from paxospp.node.pacing import Pacing


@dataclass(slots=True, frozen=True, kw_only=True)
class UncheckedConfig(NodeConfig):
    """Settings without limits. Only simulated nodes take them; a user's ``NodeConfig`` is checked."""

    def __post_init__(self) -> None:
        """Accept every value: the simulator goes beyond the limits on purpose."""


def is_extreme(seed: int) -> bool:
    """Return whether the settings of ``seed`` may lie beyond the limits of the configuration."""
    return Random(f"{seed} extreme settings").random() < 0.5


def draw_configs(seed: int, nodes: int) -> tuple[NodeConfig, ...]:
    """Return the settings of each node under ``seed``."""
    random = Random(f"{seed} config")
    if not is_extreme(seed):
        return (_draw_ordinary(random),) * nodes
    base = _draw_extreme(random)
    if random.random() < 0.5:
        return (base,) * nodes
    return tuple(_vary(base, Random(f"{seed} config of node {index}")) for index in range(nodes))


def draw_pacing(seed: int) -> Pacing:
    """Return how the nodes divide their work under ``seed``."""
    random = Random(f"{seed} pacing")
    if not is_extreme(seed):
        return Pacing()
    drawn = {name: draw(random) for name, draw in _PACING.items()}
    return Pacing(**{name: value for name, value in drawn.items() if random.random() < 0.5})


def _draw_ordinary(random: Random) -> NodeConfig:
    return NodeConfig(
        heartbeat_interval_s=random.choice((0.05, 0.1)),
        election_timeout_s=random.choice((0.4, 0.6)),
        alpha=random.choice((1, 2, 4, 16, 256)),
        chunk_bytes_max=random.choice((1 << 10, 1 << 20)),
        tail_bytes_max=random.choice((1 << 10, 4 << 10, 32 << 20)),
        batch_bytes_max=random.choice((1 << 10, 4 << 20)),
        inbox_calls_max=random.choice((4, 16_384)),
        value_bytes_max=1 << 10,
        inbox_bytes_max=1 << 20,
        peer_queue_bytes_max=64 << 20,
        snapshot_log_slots_max=random.choice((4, 16, 64, 100_000)),
        snapshot_log_bytes_max=random.choice((1 << 10, 8 << 20)),
        kept_log_slots_max=random.choice((1, 8, 100_000)),
        snapshot_interval_s=random.choice((0.5, 5.0, 3600.0)),
        session_expiry_s=random.choice((1, 3, 3600, 3600)),
    )


def _draw_extreme(random: Random) -> NodeConfig:
    interval_s, timeout_s = random.choice(((0.02, 0.1), (0.02, 0.2), (0.05, 0.2), (0.05, 0.4)))
    return UncheckedConfig(
        heartbeat_interval_s=interval_s,
        election_timeout_s=timeout_s,
        value_bytes_max=1 << 10,
        inbox_bytes_max=1 << 20,
        inbox_calls_max=random.choice((4, 64, 16_384)),
        peer_queue_bytes_max=64 << 20,
        snapshot_log_bytes_max=random.choice((1, 1 << 10, 8 << 20, 8 << 20)),
        session_expiry_s=random.choice((1, 3, 3600, 3600)),
        **{name: draw(random) for name, draw in _OWN.items()},
    )


def _vary(base: NodeConfig, random: Random) -> NodeConfig:
    """Draw some settings again that each node may set for itself, and alpha, of which only the founder's counts."""
    return replace(base, **{name: draw(random) for name, draw in _OWN.items() if random.random() < 0.5})


_OWN: dict[str, Any] = {
    "alpha": lambda random: random.choice((1, 1, 2, 2, 3, 4, 8, 64)),
    "chunk_bytes_max": lambda random: random.choice((1, 32, 100, 200, 400, 1 << 10)),
    "tail_bytes_max": lambda random: random.choice((1, 200, 1 << 10, 32 << 20, 32 << 20)),
    "batch_bytes_max": lambda random: random.choice((1, 1, 200, 4 << 20)),
    "resend_interval_s": lambda random: random.choice((0.005, 0.02, 0.2)),
    "snapshot_log_slots_max": lambda random: random.choice((2, 4, 16, 100_000, 100_000)),
    "kept_log_slots_max": lambda random: random.choice((1, 4, 100_000)),
    "snapshot_interval_s": lambda random: random.choice((0.05, 0.5, 3600.0, 3600.0)),
}
"""Settings that each node draws for itself, from few values of which some lie beyond the limits."""

_PACING: dict[str, Any] = {
    "apply_slice_s": lambda random: 0.0,
    "backlog_bytes_max": lambda random: random.choice((16, 1 << 10)),
    "snapshot_piece_bytes": lambda random: random.choice((16, 200)),
    "snapshot_retry_s": lambda random: random.choice((0.01, 0.1)),
    "sending_idle_s": lambda random: random.choice((0.02, 0.2, 1.0)),
    "keep_asking_s": lambda random: random.choice((0.01, 0.1)),
    "ticket_age_max_s": lambda random: random.choice((0.05, 0.5)),
}
"""Pacing, which nodes never set for themselves; with a slice of 0 s, one entry is applied per turn."""
