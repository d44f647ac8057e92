"""Follows a run in the model: the boots that begin, the calls, the messages that leave, and the writes that return.

After each call, the state of the replica is compared with that of the model's node: the promise, the decided slots, the
first slot of the log, damage, the voters, and the role with its ballot. So a step that does less than the model
requires is found, just like a step that does more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from paxospp.engine.output import Output
from paxospp.engine.replica import Replica
from paxospp.engine.rules.campaign import Campaigning
from paxospp.engine.rules.leader import Leading
from paxospp.engine.rules.lease import META_KEY
from paxospp.engine.settings import Identity
from paxospp.messages import Accepted, Message, Nack, Prepare, Promise, SnapshotChunk
from paxospp.model import NodeId
from paxospp.testing.simulation.judges.observed import ObservedHost
from paxospp.testing.simulation.rule_broken import RuleBroken
from paxospp.testing.simulation.validation.followed import RULE, Followed, describe
from paxospp.testing.simulation.validation.mapping import ActionsOf
from paxospp.testing.simulation.validation.projecting import (
    acceptor_of,
    ballot_of,
    faulty_of,
    membership_of,
    optional,
    promise_of,
)
from paxospp.testing.simulation.validation.records import Boot, Records
from paxospp.testing.simulation.validation.watched import ReplicaCall
from paxospp.testing.simulation.world.disk import StoredImage
from paxospp.testing.specification import damage, durability, snapshots
from paxospp.testing.specification.messages import ModelAccepted, ModelPrepare, Name, SnapshotOffer
from paxospp.testing.specification.state import ModelAcceptor, ModelCampaigning, ModelLeading, ModelNode, ModelSnapshot

_SECOND = 1_000_000


@dataclass(slots=True)
class _Start:
    """A boot that is about to begin, with the disk as it was loaded."""

    identity: Identity
    image: StoredImage


class Validator:
    """Compares one run with the model."""

    def __init__(self, names: Sequence[NodeId], clock: Callable[[NodeId], float]) -> None:
        """``clock`` returns the boot time of a node."""
        self._clock = clock
        self.system = Followed(names)
        self._records = Records(names)
        self._parked: dict[tuple[Name, int], ModelNode] = {}
        """Incarnations whose disk is not in use."""
        self._starts: dict[Name, _Start] = {}

    @property
    def actions(self) -> Counter[str]:
        """Return how often each action of the model was taken."""
        return self.system.actions

    # What the host reports.

    def on_load(self, host: ObservedHost, identity: Identity) -> None:
        """Note the storage that was loaded; the boot begins with the first call of its replica."""
        self._starts[host.name] = _Start(identity, host.disk.image.copy())

    def on_written(self, host: ObservedHost, token: int) -> None:
        """Let write ``token`` of this boot and all earlier ones return."""
        self.system.on_written(host.name, token)

    def on_call(self, replica: Replica, call: ReplicaCall, output: Output) -> None:
        """Compare a call of a replica, before any of its messages has left."""
        if call.what == "starts":
            self._begin(replica)
        ActionsOf(self.system, self._records, replica, call, output).go(self._clock(replica.identity.name))
        self._compare(replica, call)

    def on_send(self, host: ObservedHost, message: Message) -> None:
        """Check a message that leaves: what it says about the disk has to be there."""
        node, said = self.system.nodes[host.name], self.system.sent[host.name]
        match message:
            case Prepare():
                ballot = ballot_of(message.ballot)
                leaves = ModelPrepare(ballot, not host.sender.cluster_id)
                if leaves not in said and (leaves.founds or ModelPrepare(ballot, True) not in said):
                    raise self._leaves_too_early(host, message)
                said.add(leaves)  # the node may have joined a cluster since it asked
            case Promise():
                if promise_of(node.incarnation, host.sender.boot, message) not in said:
                    raise self._leaves_too_early(host, message)
            case Accepted():
                if ModelAccepted(node.incarnation, ballot_of(message.ballot), message.slot) not in said:
                    raise self._leaves_too_early(host, message)
            case Nack():
                if node.disk.promised is None or node.disk.promised < message.promised:
                    raise self._leaves_too_early(host, message)
            case SnapshotChunk():
                self._on_chunk(host, message)
            case _:
                pass

    def _leaves_too_early(self, host: ObservedHost, message: Message) -> RuleBroken:
        node = self.system.nodes[host.name]
        what = "send: a message about the disk waits for its write"
        return RuleBroken(RULE, f"{host.name} sends {message}, and may not: {what}\n{describe(node)}")

    def _on_chunk(self, host: ObservedHost, chunk: SnapshotChunk) -> None:
        if not chunk.id:
            return
        node = self.system.nodes[host.name]
        ballot = self._records.snapshots.get((host.name, node.incarnation, chunk.slot))
        if ballot is None or node.membership is None:
            raise RuleBroken(RULE, f"{host.name} sends a snapshot of {chunk.slot}, and has none\n{describe(node)}")
        if chunk.ballot is not None and ballot_of(chunk.ballot) < ballot:
            raise RuleBroken(RULE, f"{host.name} sends {chunk}, which {ballot} decided\n{describe(node)}")
        snapshot = ModelSnapshot(chunk.slot, ballot)
        offer = SnapshotOffer(chunk.slot, ballot, node.membership)
        if offer not in self.system.sent[host.name]:
            self.system.take(host.name, f"offers {offer}", lambda step: snapshots.offer(step, snapshot))
            self._records.offers[chunk.slot].append((host.name, offer))

    # A boot begins.

    def _begin(self, replica: Replica) -> None:
        name = replica.identity.name
        start = self._starts.pop(name)
        node = self._live(name, start)
        written = [write.acceptor for write in node.writes]
        choices = [*reversed(written), node.disk]
        found = next((fit for before in choices if (fit := _fits(before, start.image)) is not None), None)
        if found is None:
            raise RuleBroken(
                RULE, f"{name} starts from a disk that nothing can have left so: {start.image}\n{describe(node)}"
            )
        before, after = found
        self.system.begin_boot(name)
        lease = int.from_bytes(start.image.meta.get(META_KEY, b""), "big") / _SECOND
        self.system.nodes[name] = replace(node, clock=self._clock(name))
        self.system.take(name, "starts", lambda step: durability.restart(step, before, replica.decided, lease))
        if after != before:
            self.system.take(name, "starts", lambda step: damage.found_damaged(step, after))
        self.system.nodes[name] = replace(self.system.nodes[name], boot=start.identity.boot)
        boot = self._records.boots[name] = Boot(applied=replica.delivered)
        if boot.applied:
            ballot = self._records.snapshots.get((name, node.incarnation, boot.applied))
            if ballot is None:
                raise RuleBroken(
                    RULE, f"{name} starts from a snapshot of {boot.applied}, and has none\n{describe(node)}"
                )
            boot.under[boot.applied] = ballot

    def _live(self, name: Name, start: _Start) -> ModelNode:
        """Return the node in the incarnation that its disk names; a new incarnation remembers nothing."""
        incarnation = start.identity.incarnation
        node = self.system.nodes[name]
        if node.incarnation != incarnation:
            self._parked[name, node.incarnation] = node
            node = self._parked.pop((name, incarnation), ModelNode(incarnation=incarnation, boot=0))
            self.system.nodes[name] = node
        return node

    # Comparison after a call.

    def _compare(self, replica: Replica, call: ReplicaCall) -> None:
        name, protocol = replica.identity.name, replica.protocol
        node = self.system.nodes[name]
        memory = node.memory
        differs = []
        if optional(protocol.acceptor.promised) != memory.promised:
            differs.append(f"it has promised {protocol.acceptor.promised}")
        if replica.decided != node.decided:
            differs.append(f"it knows {replica.decided} decided")
        if protocol.log.first != memory.first:
            differs.append(f"its log begins at {protocol.log.first}")
        if replica.membership is None:
            if node.membership is not None and not protocol.learning.is_loading:
                differs.append("it knows of no membership")
        elif node.membership is None or node.membership != membership_of(replica.membership):
            differs.append(f"its membership is {replica.membership}")
        role = protocol.role
        if isinstance(role, Leading) != isinstance(node.role, ModelLeading) or isinstance(
            role, Campaigning
        ) != isinstance(node.role, ModelCampaigning):
            differs.append(f"its role is {replica.role_name}")
        if (protocol.log.faulty or memory.faulty or memory.open_from) and not protocol.learning.is_loading:
            differs.extend(_damage_differs(replica, memory))
        if differs:
            raise RuleBroken(
                RULE, f"{name} {call.what} {call.message}, and afterwards {'; '.join(differs)}\n{describe(node)}"
            )


def _damage_differs(replica: Replica, memory: ModelAcceptor) -> list[str]:
    log = replica.protocol.log
    _, open_from = faulty_of(log.faulty)
    if (open_from > 0) != (memory.open_from > 0):
        return [f"its damage is {log.faulty}"]
    top = max([log.last, *memory.entries, *memory.faulty, memory.open_from, replica.decided]) + 2
    return [
        f"slot {slot} is {'faulty' if log.is_faulty(slot) else 'not faulty'}"  # type: ignore[arg-type]
        for slot in range(memory.first, top)
        if log.is_faulty(slot) != memory.is_faulty(slot)  # type: ignore[arg-type]
    ]


def _fits(before: ModelAcceptor, image: StoredImage) -> tuple[ModelAcceptor, ModelAcceptor] | None:
    """Return what was written and what is found, if only damage can make the difference; else None."""
    snapshot = before.snapshot
    if (0 if image.snapshot is None else image.snapshot[0].slot) != (0 if snapshot is None else snapshot.slot):
        return None
    found = acceptor_of(image, snapshot)
    return (before, found) if damage.may_be_damaged_copy(found, before) else None
