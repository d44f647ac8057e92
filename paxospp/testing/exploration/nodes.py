"""One node as a value: a replica, its disk, and what waits for the disk; and its steps.

A node is never changed: a step copies its replica, drives the copy, and makes another node. ``Nodes`` keeps one node
per state, so states are compared by number, and a step that was taken once in one state is not taken again: what
comes of it does not depend on the rest of the world.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from paxospp.engine.output import Send
from paxospp.engine.replica import Replica
from paxospp.engine.rules.storage_reads import ReadRange
from paxospp.messages import Accepted, Nack, Prepare, Promise
from paxospp.model import Ballot, NodeId
from paxospp.storage.contract import WriteBatch
from paxospp.testing.exploration.disk import Disk, Snapshot
from paxospp.testing.exploration.events import Cast, Envelope, Event
from paxospp.testing.exploration.judging import Answer, Claim, Held
from paxospp.testing.exploration.timeless import duplicate_without_time, picture_without_time, wants_to_fetch
from paxospp.testing.exploration.working import EVEN, Listener, Work


@dataclass(slots=True, eq=False)
class Node:
    """One state of one node."""

    number: int
    """Its place in ``Nodes``."""
    name: NodeId
    replica: Replica
    """Never driven: a step drives a copy, whose clock stands still again."""
    disk: Disk
    out: tuple[WriteBatch, ...]
    """Writes that have not returned, oldest first."""
    held: tuple[tuple[int, tuple[Send, ...]], ...]
    """Messages that wait, each with how many of the writes that are out must return before they leave."""
    ranges: tuple[tuple[int, ReadRange], ...]
    """Reads that wait in the same way."""
    applied_under: Ballot
    """The highest ballot of what was applied."""
    staged: Snapshot | None
    """The snapshot that one of the writes that are out makes current."""
    fetches_from: NodeId | None
    """The peer that it needs a snapshot of."""
    steps: dict[int, Step | None] = field(default_factory=dict)
    """What comes of an event here, by a number that the event has, as far as it was asked; None: nothing."""
    dead: dict[int, bool] = field(default_factory=dict)
    """For messages by number, whether they can never have an effect here any more."""


@dataclass(slots=True, eq=False)
class Step:
    """What comes of one event at one node."""

    node: Node
    sends: tuple[int, ...]
    """Messages, by number."""
    held: tuple[Held, ...]
    """Facts."""
    answers: tuple[Answer, ...]
    """Facts."""
    claims: tuple[Claim, ...]
    marks: frozenset[str]
    broken: str | None
    """A rule that this step breaks on its own, whatever happened elsewhere."""
    facts_id: int
    """A number for its facts; 0: none."""
    claims_id: int
    """A number for its claims; 0: none."""
    has_fleeting_claims: bool
    """Whether one of the claims may become false when facts are added."""
    kills: bool
    """Whether messages may have become dead by it, see ``Nodes.is_dead``."""


class Nodes:
    """All states of nodes that were met, and the messages they sent, each once."""

    def __init__(self, cast: Cast, hears: frozenset[type], *, is_synced: bool) -> None:
        """``hears`` are the kinds of messages that travel; ``is_synced``: a write returns in the step that makes it."""
        self.cast = cast
        self.known: list[Node] = []
        """Every state of a node, by its number."""
        self.messages: list[Envelope] = []
        """Every message, by its number."""
        self.steps_taken = 0
        """How many steps of replicas were taken, each event in each state once."""
        self._hears = hears
        self._is_synced = is_synced
        self._nodes: dict[Hashable, Node] = {}
        self._numbers: dict[Envelope, int] = {}
        self._interned: dict[Hashable, int] = {(): 0}
        self._listener = Listener()

    def begin(self, name: NodeId, disk: Disk) -> Step:
        """Return the step with which a node starts from ``disk``; what it says is not held back."""
        return self._finish(self._work(name).start(disk), None)

    def adopt(self, replica: Replica, disk: Disk, applied_under: Ballot) -> Node:
        """Return the node whose replica is in the state of this one, which nothing is out of, and is not changed."""
        work = self._work(replica.identity.name)
        work.replica = duplicate_without_time(replica, self._listener, random=EVEN)
        work.disk, work.applied_under = disk, applied_under
        return self._finish(work, None).node

    def step(self, node: Node, event: Event, code: int) -> Step | None:
        """Take ``event``, whose number is ``code``, and remember what comes of it at ``node``; None: nothing."""
        self.steps_taken += 1
        work = self._work(node.name)
        step: Step | None = self._finish(work.take(node, event), node)
        assert step is not None
        if step.node is node and not step.sends and step.broken is None:
            step = None
        node.steps[code] = step
        return step

    def number_of(self, envelope: Envelope) -> int:
        """Return the number of a message."""
        number = self._numbers.get(envelope)
        if number is None:
            number = self._numbers[envelope] = len(self.messages)
            self.messages.append(envelope)
        return number

    def is_dead(self, node: Node, number: int) -> bool:
        """Whether a message, by number, can never have an effect at ``node`` any more, in no state that follows.

        That is so for an answer to a ballot that the node has given up: it never uses a ballot again. And for an
        acceptance in a slot that it knows decided; and for a Prepare below its promise, if refusals do not travel. (A
        promise that is not on disk yet may be lost, so this holds only where writes return at once.)
        """
        try:
            return node.dead[number]
        except KeyError:
            pass
        message = self.messages[number].message
        protocol, dead = node.replica.protocol, False
        if isinstance(message, (Promise, Accepted)):
            dead = protocol.own_ballot != message.ballot
            dead |= isinstance(message, Accepted) and message.slot <= node.replica.decided
        elif isinstance(message, Prepare) and self._is_synced and Nack not in self._hears:
            dead = protocol.acceptor.promised is not None and protocol.acceptor.promised > message.ballot
        node.dead[number] = dead
        return dead

    @property
    def is_synced(self) -> bool:
        """Whether a write returns in the step that makes it."""
        return self._is_synced

    def intern(self, value: Hashable) -> int:
        """Return a number for ``value``, the same for equal ones."""
        return self._interned.setdefault(value, len(self._interned))

    def _work(self, name: NodeId) -> Work:
        return Work(self.cast, name, self._listener, is_synced=self._is_synced)

    def _finish(self, work: Work, before: Node | None) -> Step:
        replica = work.replica
        key = key_of(work)
        node = self._nodes.get(key)
        if node is None:
            node = Node(
                number=len(self.known),
                name=work.name,
                replica=replica,
                disk=work.disk,
                out=tuple(work.out),
                held=tuple(work.held),
                ranges=tuple(work.ranges),
                applied_under=work.applied_under,
                staged=work.staged,
                fetches_from=work.fetches_from,
            )
            self._nodes[key] = node
            self.known.append(node)
        claims = tuple(dict.fromkeys(work.claims))
        return Step(
            node=node,
            sends=tuple(
                self.number_of(Envelope(send.to, replica.sender, send.message))
                for send in work.sends
                if before is None or type(send.message) in self._hears
            ),
            held=tuple(work.held_facts),
            answers=tuple(work.answers),
            claims=claims,
            marks=frozenset(self._listener.marks),
            broken=work.broken,
            facts_id=self.intern((*sorted(set(work.held_facts)), *work.answers)),
            claims_id=self.intern(claims),
            has_fleeting_claims=any(not claim.is_lasting for claim in claims),
            kills=before is None or _what_kills(before) != _what_kills(node),
        )


def key_of(node: Node | Work) -> Hashable:
    """Return all of the state of ``node`` as one value."""
    return (
        picture_without_time(node.replica),
        node.disk,
        tuple(_write_key(batch) for batch in node.out),
        tuple(node.held),
        tuple(node.ranges),
        node.applied_under,
        node.staged,
        node.fetches_from,
    )


def _what_kills(node: Node) -> Hashable:
    protocol = node.replica.protocol
    return protocol.own_ballot, protocol.acceptor.promised, protocol.decided


def _write_key(batch: WriteBatch) -> Hashable:
    return (
        batch.promised,
        batch.accepted,
        batch.decided,
        batch.trim,
        batch.snapshot,
        tuple(sorted(batch.meta.items())),
        batch.sync,
    )


def can_campaign(node: Node) -> bool:
    """Whether a campaign of ``node`` would begin now."""
    return node.replica.protocol.leading is None


def can_propose(node: Node) -> bool:
    """Whether it leads and has room for a value."""
    return node.replica.proposable > 0


def can_fetch(node: Node) -> bool:
    """Whether it lacks slots that a peer may have."""
    return wants_to_fetch(node.replica)
