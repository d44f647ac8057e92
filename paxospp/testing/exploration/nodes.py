"""All states of nodes met so far, and the steps between them.

A state is never changed: a step copies its replica, drives the copy, and makes another state. ``Nodes`` keeps each
distinct state once, so states are compared by number. What an event does at a node depends on the state of that node
alone, so it is computed once for each state and event.
"""

from __future__ import annotations

from collections.abc import Hashable

from paxospp.engine.replica import Replica
from paxospp.messages import Accepted, Nack, Prepare, Promise
from paxospp.model import Ballot, NodeId
from paxospp.storage.contract import WriteBatch
from paxospp.testing.exploration.disk_state import DiskState
from paxospp.testing.exploration.node_events import Event, MessageInFlight, Participants
from paxospp.testing.exploration.node_state import NodeState, NodeStep
from paxospp.testing.exploration.timeless import duplicate_without_time, picture_without_time, wants_to_fetch
from paxospp.testing.exploration.working import EVEN, Listener, WorkingNode


class Nodes:
    """All states of nodes met so far, and all messages they sent, each once."""

    def __init__(self, participants: Participants, message_kinds: frozenset[type], *, is_synced: bool) -> None:
        """Keep messages of these kinds only; ``is_synced``: a write returns in the step that makes it."""
        self.participants = participants
        self.known: list[NodeState] = []
        """Every state of a node, by its number."""
        self.messages: list[MessageInFlight] = []
        """Every message, by its number."""
        self.steps_taken = 0
        """How many steps were computed: at most one for each event in each state."""
        self._message_kinds = message_kinds
        self._is_synced = is_synced
        self._nodes: dict[Hashable, NodeState] = {}
        self._numbers: dict[MessageInFlight, int] = {}
        self._interned: dict[Hashable, int] = {(): 0}
        self._listener = Listener()

    def begin(self, name: NodeId, disk: DiskState) -> NodeStep:
        """Return the step with which a node starts from ``disk``; it sends messages of all kinds."""
        return self._finish(self._work(name).start(disk), None)

    def adopt(self, replica: Replica, disk: DiskState, applied_under: Ballot) -> NodeState:
        """Return the state of a node whose replica is a copy of ``replica``, which has no write out."""
        work = self._work(replica.identity.name)
        work.replica = duplicate_without_time(replica, self._listener, random=EVEN)
        work.disk, work.applied_under = disk, applied_under
        return self._finish(work, None).node

    def step(self, node: NodeState, event: Event, code: int) -> NodeStep | None:
        """Compute and remember the outcome of ``event``, whose code is ``code``, at ``node``; None: no change."""
        self.steps_taken += 1
        work = self._work(node.name)
        step: NodeStep | None = self._finish(work.take(node, event), node)
        assert step is not None
        if step.node is node and not step.sends and step.broken is None:
            step = None
        node.steps[code] = step
        return step

    def number_of(self, envelope: MessageInFlight) -> int:
        """Return the number of a message; a new message gets the next one."""
        number = self._numbers.get(envelope)
        if number is None:
            number = self._numbers[envelope] = len(self.messages)
            self.messages.append(envelope)
        return number

    def is_dead(self, node: NodeState, number: int) -> bool:
        """Whether a message can never have an effect at ``node`` again, in this state or any that follows.

        A message is dead if it answers a ballot that the node gave up (the node never uses it again), if it is an
        acceptance in a slot that the node knows decided, or, where refusals are not sent, if it is a Prepare below
        the node's promise. The last case requires that writes return at once: a crash may lose a promise that is not
        on disk yet.
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
        elif isinstance(message, Prepare) and self._is_synced and Nack not in self._message_kinds:
            dead = protocol.acceptor.promised is not None and protocol.acceptor.promised > message.ballot
        node.dead[number] = dead
        return dead

    @property
    def is_synced(self) -> bool:
        """Whether a write returns in the step that makes it."""
        return self._is_synced

    def intern(self, value: Hashable) -> int:
        """Return a number for ``value``; equal values have the same number."""
        return self._interned.setdefault(value, len(self._interned))

    def _work(self, name: NodeId) -> WorkingNode:
        return WorkingNode(self.participants, name, self._listener, is_synced=self._is_synced)

    def _finish(self, work: WorkingNode, before: NodeState | None) -> NodeStep:
        replica = work.replica
        key = key_of(work)
        node = self._nodes.get(key)
        if node is None:
            node = NodeState(
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
        return NodeStep(
            node=node,
            sends=tuple(
                self.number_of(MessageInFlight(send.to, replica.sender, send.message))
                for send in work.sends
                if before is None or type(send.message) in self._message_kinds
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


def key_of(node: NodeState | WorkingNode) -> Hashable:
    """Return the whole state of ``node`` as one hashable value."""
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


def _what_kills(node: NodeState) -> Hashable:
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


def can_campaign(node: NodeState) -> bool:
    """Whether ``node`` would begin a campaign if told to."""
    return node.replica.protocol.leading is None


def can_propose(node: NodeState) -> bool:
    """Whether ``node`` leads and its window has room for a value."""
    return node.replica.proposable > 0


def can_fetch(node: NodeState) -> bool:
    """Whether ``node`` lacks slots that a peer may have."""
    return wants_to_fetch(node.replica)
