"""How a node divides its work and how long it waits, where that is not a setting of the user.

The defaults suit every node, so they are not part of ``NodeConfig``. A simulation draws other values, so that a short
run reaches states that take a real node minutes or gigabytes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, frozen=True, kw_only=True)
class Pacing:
    """Sizes in bytes, times in seconds."""

    apply_slice_s: float = 0.005
    """How long decided entries are applied before the event loop may do other work."""
    backlog_bytes_max: int = 16 << 20
    """Decided values that wait to be applied; beyond this a node requests no more, and a leader proposes nothing."""
    snapshot_piece_bytes: int = 1 << 20
    """About how much of a snapshot one job of its thread writes."""
    snapshot_retry_s: float = 0.5
    """The pause after a failed snapshot. It doubles with each failure, up to 60 times this."""
    sending_idle_s: float = 30.0
    """After this long without a request for the next chunk, this node stops sending a snapshot to a peer."""
    keep_asking_s: float = 5.0
    """How often a node that installs a snapshot tells its source that it will need the log after the snapshot."""
    ticket_age_max_s: float = 2.0
    """A ticket (a numbered request to confirm reads) that is not answered is given up after this long."""


PACING = Pacing()
"""The pacing of real nodes."""
