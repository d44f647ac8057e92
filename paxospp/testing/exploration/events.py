"""The events of an exploration, the nodes that take part, and the messages in flight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from paxospp.engine.settings import Settings
from paxospp.messages import ProtocolMessage, Sender
from paxospp.model import Membership, NodeId, Slot
from paxospp.testing.exploration.disk import Snapshot
from paxospp.testing.exploration.timeless import Timer


class Deliver(NamedTuple):
    """This message arrives."""

    sender: Sender
    message: ProtocolMessage


class Write(NamedTuple):
    """The oldest write that is out returns."""


class Crash(NamedTuple):
    """The process ends, and starts again from its disk, of which a part may be damaged by then."""

    damaged: Slot = Slot(0)
    """The slot whose record is damaged; 0: none."""
    from_there_on: bool = False
    """Whether the log is lost from that slot on, with the hint at its end."""


class Campaign(NamedTuple):
    """It campaigns, whoever leads."""


class Propose(NamedTuple):
    """Leading, it proposes this value."""

    value: bytes


class Tick(NamedTuple):
    """One of its timers fires."""

    timer: Timer


class Publish(NamedTuple):
    """It takes a snapshot of all that it has applied, and trims the log below."""


class Install(NamedTuple):
    """The snapshot that it needs has arrived from a peer."""

    snapshot: Snapshot


Event = Deliver | Write | Crash | Campaign | Propose | Tick | Publish | Install


@dataclass(slots=True, frozen=True)
class Cast:
    """Who takes part."""

    settings: Mapping[NodeId, Settings]
    """Of every node, by its name."""
    incarnations: Mapping[NodeId, int]
    membership: Membership


class Envelope(NamedTuple):
    """A message in flight."""

    to: NodeId
    sender: Sender
    message: ProtocolMessage
