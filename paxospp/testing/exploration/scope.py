"""What a scope says, and the kinds of messages that may travel in it."""

from __future__ import annotations

from dataclasses import dataclass

from paxospp.messages import (
    Accept,
    Accepted,
    CatchUp,
    Decided,
    Heartbeat,
    HeartbeatAnswer,
    Nack,
    Prepare,
    Promise,
)

BUDGETS = (
    "campaigns",
    "proposals",
    "duplicates",
    "crashes",
    "damages",
    "fetches",
    "beats",
    "resends",
    "windows",
    "snapshots",
)
"""What may happen only so often in one run; ``Scope`` has a field for each."""
PLACE = {name: place for place, name in enumerate(BUDGETS)}
"""Where each of them stands in a tuple of amounts."""

PHASES = frozenset({Prepare, Promise, Accept, Accepted})
"""The messages of both phases, without refusals."""
NEWS = frozenset({Heartbeat})
TEACHING = frozenset({CatchUp, Decided})
ANSWERS = frozenset({HeartbeatAnswer})
REFUSALS = frozenset({Nack})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What is explored: how many nodes, what may happen how often, which messages travel, and where it begins."""

    name: str
    about: str
    nodes: int = 3
    alpha: int = 2
    chunk_bytes_max: int = 1 << 20
    hears: frozenset[type] = PHASES | NEWS
    campaigners: tuple[str, ...] = ()
    """Who may campaign; nobody named: everyone."""
    crashers: tuple[str, ...] = ()
    """Who may crash or be damaged; nobody named: everyone."""
    is_synced: bool = True
    """Whether a write returns in the step that makes it; otherwise when it returns is an event."""
    loses_ends: bool = False
    """Whether damage may take the end of a log, not only one record."""
    begins_with: tuple[str, ...] = ()
    """What has happened when the exploration begins, as ``story.describe`` tells it; budgets do not count for it."""
    campaigns: int = 0
    proposals: int = 0
    duplicates: int = 0
    crashes: int = 0
    damages: int = 0
    fetches: int = 0
    beats: int = 0
    resends: int = 0
    windows: int = 0
    snapshots: int = 0

    @property
    def budgets(self) -> tuple[int, ...]:
        """What may happen how often, in the order of ``BUDGETS``."""
        return tuple(getattr(self, name) for name in BUDGETS)
