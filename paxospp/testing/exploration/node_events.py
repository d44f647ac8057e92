"""The events that can happen to a node, the nodes that take part, and the messages in flight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from paxospp.engine.settings import Settings
from paxospp.messages import ProtocolMessage, Sender
from paxospp.model import Membership, NodeId, Slot
from paxospp.testing.exploration.disk_state import SnapshotState
from paxospp.testing.exploration.timeless import Timer


class DeliverMessage(NamedTuple):
    """A message arrives."""

    sender: Sender
    message: ProtocolMessage


class ReturnWrite(NamedTuple):
    """The oldest write that has not returned returns."""


class Crash(NamedTuple):
    """The process ends, and starts again from its disk, a part of which may be damaged in between."""

    damaged: Slot = Slot(0)
    """The slot whose record is damaged; 0: none."""
    from_there_on: bool = False
    """Whether the log is lost from ``damaged`` on, with the hint of what is decided."""


class Campaign(NamedTuple):
    """The node campaigns, even if another node leads."""


class Propose(NamedTuple):
    """The leader proposes a value."""

    value: bytes


class FireTimer(NamedTuple):
    """A timer of the node fires."""

    timer: Timer


class Publish(NamedTuple):
    """The node takes a snapshot of everything that it has applied, and trims the log below."""


class Install(NamedTuple):
    """The node installs a snapshot that it needed and fetched from a peer."""

    snapshot: SnapshotState


Event = DeliverMessage | ReturnWrite | Crash | Campaign | Propose | FireTimer | Publish | Install


@dataclass(slots=True, frozen=True)
class Participants:
    """The nodes that take part, and the membership they belong to."""

    settings: Mapping[NodeId, Settings]
    """The engine's settings of each node."""
    incarnations: Mapping[NodeId, int]
    membership: Membership


class MessageInFlight(NamedTuple):
    """A message in flight."""

    to: NodeId
    sender: Sender
    message: ProtocolMessage
