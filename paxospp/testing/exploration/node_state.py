"""One state of one node as a value, and the outcome of one event in that state."""

from __future__ import annotations

from dataclasses import dataclass, field

from paxospp.engine.output import Send
from paxospp.engine.replica import Replica
from paxospp.engine.rules.storage_reads import ReadRange
from paxospp.model import Ballot, NodeId
from paxospp.storage.contract import WriteBatch
from paxospp.testing.exploration.claims import Claim, GivenAnswer, Held
from paxospp.testing.exploration.disk_state import DiskState, SnapshotState


@dataclass(slots=True, eq=False)
class NodeState:
    """One state of one node: its replica, its disk, and what waits for the disk."""

    number: int
    """Its index in ``Nodes.known``."""
    name: NodeId
    replica: Replica
    """Never changed: a step drives a copy."""
    disk: DiskState
    out: tuple[WriteBatch, ...]
    """Writes that have not returned, oldest first."""
    held: tuple[tuple[int, tuple[Send, ...]], ...]
    """Messages that wait, each with the number of writes in ``out`` that must return before they leave."""
    ranges: tuple[tuple[int, ReadRange], ...]
    """Reads that wait for writes in the same way."""
    applied_under: Ballot
    """The highest ballot of an applied entry."""
    staged: SnapshotState | None
    """The snapshot that a write in ``out`` makes current."""
    fetches_from: NodeId | None
    """The peer from which the node needs a snapshot."""
    steps: dict[int, NodeStep | None] = field(default_factory=dict)
    """The outcomes of events computed so far, by the event's code; None: the event changes nothing."""
    dead: dict[int, bool] = field(default_factory=dict)
    """Whether a message can never have an effect here again, by its number, as far as it was computed."""


@dataclass(slots=True, eq=False)
class NodeStep:
    """The outcome of one event at one node."""

    node: NodeState
    """The state after it."""
    sends: tuple[int, ...]
    """The messages it sends, by number."""
    held: tuple[Held, ...]
    """Its facts about what the disk holds."""
    answers: tuple[GivenAnswer, ...]
    """Its facts about answers to a Prepare."""
    claims: tuple[Claim, ...]
    marks: frozenset[str]
    """The markers that the engine reported."""
    broken: str | None
    """The rule that this step breaks by itself, whatever other nodes did."""
    facts_id: int
    """Identifies its facts; 0: it has none."""
    claims_id: int
    """Identifies its claims; 0: it has none."""
    has_fleeting_claims: bool
    """Whether later facts may make one of the claims false."""
    kills: bool
    """Whether it may make messages dead, see ``Nodes.is_dead``."""
