"""How a node divides its work, and how long it waits, where no setting of the user says so.

The defaults suit every node, so they are not part of ``NodeConfig``. They are one value that is passed in, so
that a simulation can draw others and a short run reaches what takes a real node minutes or gigabytes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, frozen=True, kw_only=True)
class Pacing:
    """Sizes in bytes, times in seconds."""

    apply_slice_s: float = 0.005
    """How long decided entries are applied before the event loop gets its turn."""
    backlog_bytes_max: int = 16 << 20
    """Decided values that wait to be applied; beyond it no more are asked for, and a leader proposes nothing."""
    snapshot_piece_bytes: int = 1 << 20
    """About how much of a snapshot is written in one go of the thread."""
    snapshot_retry_s: float = 0.5
    """How long after a snapshot failed the next one is tried, twice as long each time, up to 60 times as long."""
    sending_idle_s: float = 30.0
    """After so long without a request a peer that is being sent a snapshot is taken to be done, or gone."""
    keep_asking_s: float = 5.0
    """How often a node that is busy installing tells its source that it will need the log behind the snapshot."""
    ticket_age_max_s: float = 2.0
    """A read's ticket that was never answered is given up after this long."""


PACING = Pacing()
"""The pacing of real nodes."""
