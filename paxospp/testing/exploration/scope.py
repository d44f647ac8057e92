"""The settings of a scope, and the kinds of messages that may travel in it."""

from __future__ import annotations

from dataclasses import dataclass

from paxospp.messages import (
    Accept,
    Accepted,
    CatchUp,
    DecidedEntries,
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
    "heartbeats",
    "resends",
    "windows",
    "snapshots",
)
"""The events that may happen a limited number of times in one run; ``ExplorationScope`` has a field for each."""
PLACE = {name: place for place, name in enumerate(BUDGETS)}
"""The index of each budget in a tuple of amounts."""

PHASES = frozenset({Prepare, Promise, Accept, Accepted})
"""The messages of both phases, without refusals."""
HEARTBEATS = frozenset({Heartbeat})
CATCH_UP = frozenset({CatchUp, DecidedEntries})
ANSWERS = frozenset({HeartbeatAnswer})
REFUSALS = frozenset({Nack})


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplorationScope:
    """An exploration: how many nodes, which events how often, which messages travel, and where it begins."""

    name: str
    about: str
    nodes: int = 3
    alpha: int = 2
    chunk_bytes_max: int = 1 << 20
    message_kinds: frozenset[type] = PHASES | HEARTBEATS
    campaigners: tuple[str, ...] = ()
    """The nodes that may campaign; empty: all of them."""
    crashers: tuple[str, ...] = ()
    """The nodes that may crash or be damaged; empty: all of them."""
    is_synced: bool = True
    """Whether a write returns in the step that makes it. Otherwise its return is an event of its own."""
    loses_ends: bool = False
    """Whether damage may take the end of a log, not only one record."""
    begins_with: tuple[str, ...] = ()
    """The actions before the exploration begins, as ``story.describe`` prints them; they cost no budget."""
    campaigns: int = 0
    proposals: int = 0
    duplicates: int = 0
    crashes: int = 0
    damages: int = 0
    fetches: int = 0
    heartbeats: int = 0
    resends: int = 0
    windows: int = 0
    snapshots: int = 0

    @property
    def budgets(self) -> tuple[int, ...]:
        """How often each event may happen, in the order of ``BUDGETS``."""
        return tuple(getattr(self, name) for name in BUDGETS)
