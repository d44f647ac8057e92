"""The engine's settings, derived from a node's configuration."""

from __future__ import annotations

from paxospp.config import NodeConfig
from paxospp.engine.settings import Settings

ANNOUNCE_AFTER_S = 0.002
"""How long a leader waits for the next Accept to carry a decision before it sends a separate announcement.

A caller that has its answer usually makes its next call sooner. A caller that waits at a follower is told at once.
"""


def settings_of(config: NodeConfig) -> Settings:
    """Return the settings of a replica in a node with this configuration."""
    return Settings(
        heartbeat_interval_s=config.heartbeat_interval_s,
        election_timeout_s=config.election_timeout_s,
        resend_interval_s=config.resend_interval_s,
        alpha=config.alpha,
        session_expiry_s=config.session_expiry_s,
        chunk_bytes_max=config.chunk_bytes_max,
        tail_bytes_max=config.tail_bytes_max,
        announce_after_s=ANNOUNCE_AFTER_S,
    )
