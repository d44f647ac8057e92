"""Who a replica is, and the numbers it lives by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from paxospp.model import NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One boot of one life of a named storage, and the addresses its node was started with."""

    name: NodeId
    group: int
    incarnation: int
    """Drawn when the storage was created, at most 63 bits."""
    boot: int
    """Raised and synced at each start."""
    nonce: int
    """Drawn at each start, at most 63 bits."""
    cluster: Mapping[NodeId, str]
    """Names and addresses as configured; the founding membership is made of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a node may set for itself, and what founding writes down for all (alpha, expiry)."""

    heartbeat_interval_s: float = 0.1
    election_timeout_s: float = 0.4
    """One window: how long silence of a served leader is borne; jitter comes on top."""
    resend_interval_s: float = 0.2
    """First pause before an unanswered Accept, Prepare or CatchUp is sent again; it doubles."""
    resend_interval_max_s: float = 2.0
    alpha: int = 256
    session_expiry_s: int = 3600
    chunk_bytes_max: int = 1 << 20
    """Values in one part of a promise, one answer to a catch-up, one read from storage."""
    tail_bytes_max: int = 32 << 20
    """Values of the log held in memory; what is decided and older is read from storage."""
    announce_after_s: float = 0.0
    """How long a leader leaves it to the next Accept to say what is decided, if nobody at a follower waits."""
