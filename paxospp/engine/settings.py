"""The identity and the settings of a replica."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from paxospp.model import NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One boot of a named node with one storage, and the addresses that the node was started with."""

    name: NodeId
    group: int
    incarnation: int
    """Drawn when the storage was created, at most 63 bits."""
    boot: int
    """Raised and synced at each start."""
    nonce: int
    """Drawn at each start, at most 63 bits."""
    cluster: Mapping[NodeId, str]
    """Names and addresses as configured; a new cluster is bootstrapped with them."""


RESEND_INTERVAL_MAX_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a replica. ``NodeConfig`` has the defaults of those that a user can change."""

    heartbeat_interval_s: float
    election_timeout_s: float
    """The silence, plus up to 50 % of jitter, after which a follower asks its peers and then campaigns (rule 5)."""
    resend_interval_s: float
    """The first pause before an unanswered Accept, Prepare or CatchUp is sent again; the pauses double."""
    resend_interval_max_s: float = RESEND_INTERVAL_MAX_S
    alpha: int
    """The number of slots that may be undecided at once. It takes effect when a cluster is bootstrapped."""
    session_expiry_s: int
    """The silence after which a session expires, in log time. It takes effect when a cluster is bootstrapped."""
    chunk_bytes_max: int
    """The most bytes of values in one part of a promise, one answer to a CatchUp, or one read from storage."""
    tail_bytes_max: int
    """The most bytes of the log's values that are held in memory; older decided values are read from storage.

    The values of writes that have not returned are limited to twice as many bytes (``rules.writes``).
    """
    announce_after_s: float = 0.0
    """The time that a leader waits for the next Accept to carry a decision, if no caller waits at a follower."""
