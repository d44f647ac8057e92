"""The status of a node: the result of ``Node.status()`` and of ``paxospp status``."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from paxospp.engine.replica import Replica
from paxospp.events import Diverged
from paxospp.execution.executor import Executor
from paxospp.model import Ballot, NodeId, Slot


@dataclass(slots=True, frozen=True, kw_only=True)
class NodeStatus:
    """One node as it sees itself now; ``digest`` is as of ``applied``."""

    name: NodeId
    address: str
    role: str
    """``leader``, ``follower`` or ``candidate``."""
    ballot: Ballot | None
    """The ballot this node leads or campaigns under, else that of the leader it hears; None if it hears none."""
    leader: NodeId | None
    decided: Slot
    applied: Slot
    first: Slot
    digest: str
    """Hexadecimal; equal wherever ``applied`` is equal."""
    cluster_id: str
    """Hexadecimal; empty until this node knows the first membership."""
    members: Mapping[NodeId, str]
    """Names and addresses of the members; until they are known, those the node was started with."""
    connected: tuple[NodeId, ...]
    """Peers that this node has an open connection to."""
    notes: tuple[str, ...]
    """Problems, in sentences: which nodes this node waits for, or why it does not vote."""
    dropped: Mapping[str, int]
    """How many messages were dropped, by reason."""


def notes_of(
    replica: Replica, executor: Executor, *, stopped: BaseException | None, diverged: Diverged | None = None
) -> tuple[str, ...]:
    """Return what is wrong with the node, in sentences that continue "the node"."""
    notes: list[str] = []
    if stopped is not None:
        notes.append(f"stopped: {stopped}")
    if diverged is not None:
        digests = ", ".join(f"{node} has {digest[:12]}" for node, digest in diverged.digests)
        notes.append(f"the replicas differ at slot {diverged.slot}: {digests}")
    if replica.membership is None and replica.waiting_for:
        notes.append(f"not bootstrapped yet, waiting for {', '.join(sorted(replica.waiting_for))}")
    if replica.why_not_voting is not None:
        notes.append(f"does not vote: {replica.why_not_voting}")
    if replica.membership is not None and replica.leader is None:
        notes.append("knows of no leader")
    if replica.delivered + 1 < replica.first:
        notes.append("has no usable snapshot of its own and waits for one from a peer")
    elif (lost := replica.protocol.learning.lost) is not None:
        notes.append(_damage(lost, alone=replica.membership is not None and len(replica.membership.names) == 1))
    if executor.applied < replica.decided:
        left = replica.decided - executor.applied
        notes.append(f"has {left} decided slot{'s' if left > 1 else ''} left to apply")
    return tuple(notes)


def _damage(slots: range, *, alone: bool) -> str:
    """Say that decided ``slots`` are damaged here; ``alone``: the cluster has one node."""
    one = len(slots) == 1
    where = f"slot {slots_text(slots)} is" if one else f"slots {slots_text(slots)} are"
    if alone:
        remedy = "and this cluster has no other node that could send it: restore the storage from a copy"
    else:
        remedy = f"and {'has' if one else 'have'} to come from another node"
    return f"{where} damaged in this node's storage {remedy}"


def slots_text(slots: range) -> str:
    """Return slots as text, such as "3", "5 to 7" or "9 and later"."""
    if len(slots) == 1:
        return str(slots.start)
    if slots.stop == sys.maxsize:
        return f"{slots.start} and later"
    return f"{slots.start} to {slots.stop - 1}"


def encode_status(status: NodeStatus, machine: object) -> bytes:
    """Encode the answer to the Status request: the status as JSON, with the signatures of the machine's methods."""
    ballot = status.ballot
    return json.dumps(
        {
            "name": status.name,
            "address": status.address,
            "role": status.role,
            "ballot": None if ballot is None else [ballot.round, ballot.node],
            "leader": status.leader,
            "decided": status.decided,
            "applied": status.applied,
            "first": status.first,
            "digest": status.digest,
            "cluster_id": status.cluster_id,
            "members": [{"name": name, "address": address} for name, address in status.members.items()],
            "connected": list(status.connected),
            "notes": list(status.notes),
            "dropped": dict(status.dropped),
            "machine": machine,
        }
    ).encode()
