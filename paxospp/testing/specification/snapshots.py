"""Rule 4 for snapshots: the slots that a snapshot covers are decided, under ballots up to the one it names."""

from __future__ import annotations

from dataclasses import replace

from paxospp.testing.specification.messages import Name, SnapshotOffer
from paxospp.testing.specification.state import ModelAcceptor, ModelSnapshot
from paxospp.testing.specification.step import ModelStep, NotAllowedError
from paxospp.testing.specification.values import ModelBallot


def take(step: ModelStep, slot: int, first: int, ballot: ModelBallot | None = None) -> None:
    """Take a snapshot of the slots up to ``slot``, and trim the log below ``first``.

    The snapshot names ``ballot``, the highest under which its entries were applied, or without it the highest under
    which they are held now.
    """
    memory = step.node.memory
    step.needs("snapshot: only decided slots", slot <= step.node.decided)
    step.needs("snapshot: only covered slots are trimmed", first <= slot + 1)
    under = [entry.ballot for held, entry in memory.entries.items() if held <= slot]
    if memory.snapshot is not None:
        under.append(memory.snapshot.ballot)
    if ballot is None and not under:
        raise NotAllowedError("snapshot: only slots that hold values")
    if ballot is None:
        ballot = min(under) if step.lacks("snapshot: it names the highest ballot") else max(under)
    step.write(trimmed(replace(memory, snapshot=ModelSnapshot(slot, ballot)), first))


def trimmed(acceptor: ModelAcceptor, first: int) -> ModelAcceptor:
    """Return ``acceptor`` without the slots below ``first``."""
    if first <= acceptor.first:
        return acceptor
    return replace(
        acceptor,
        entries=acceptor.entries.without(slot for slot in acceptor.entries if slot < first),
        first=first,
        faulty=frozenset(slot for slot in acceptor.faulty if slot >= first),
        open_from=acceptor.open_from and max(acceptor.open_from, first),
    )


def trim(step: ModelStep, first: int) -> None:
    """Trim slots that the snapshot covers, because damage to them no longer matters."""
    snapshot = step.node.memory.snapshot
    covered = 0 if snapshot is None else snapshot.slot
    step.needs("snapshot: only covered slots are trimmed", first <= covered + 1)
    step.write(trimmed(step.node.memory, first))


def offer(step: ModelStep, sent: ModelSnapshot | None = None) -> None:
    """Offer the current snapshot, or an earlier one that is still being ``sent``."""
    current, membership = step.node.memory.snapshot, step.node.membership
    snapshot = sent or current
    if snapshot is None or membership is None or current is None or snapshot.slot > current.slot:
        raise NotAllowedError("offer: only a snapshot that exists")
    step.sends.append(SnapshotOffer(snapshot.slot, snapshot.ballot, membership))


def install(step: ModelStep, sender: Name, message: SnapshotOffer) -> None:
    """Install a peer's snapshot: meet its ballot, raise the promise to it, and learn that its slots are decided."""
    step.receive(sender, message)
    step.meet(message.ballot, "install: a snapshot's ballot is met")
    node = step.node
    if node.membership is None:
        step.join(message.membership)
    memory = trimmed(node.memory, message.slot + 1)
    rises = memory.promised is None or memory.promised < message.ballot
    if rises and not step.lacks("install: the promise rises to the snapshot's ballot"):
        memory = replace(memory, promised=message.ballot)
    step.write(replace(memory, snapshot=ModelSnapshot(message.slot, message.ballot)))
    decided = max(step.node.decided, message.slot)
    learned = {slot for slot in step.node.learned if slot > decided}
    while decided + 1 in learned:
        decided += 1
        learned.remove(decided)
    step.become(decided=decided, learned=frozenset(learned))
