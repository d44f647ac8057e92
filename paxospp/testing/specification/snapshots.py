"""Rule 4 for snapshots: what one covers is decided, under no ballot above the one that it names."""

from __future__ import annotations

from dataclasses import replace

from paxospp.testing.specification.messages import Name, Offer
from paxospp.testing.specification.state import Acceptor, Snapshot
from paxospp.testing.specification.step import NotAllowedError, Step
from paxospp.testing.specification.values import Ballot


def take(step: Step, slot: int, first: int, ballot: Ballot | None = None) -> None:
    """Take a snapshot up to ``slot``, and forget the log below ``first``.

    It names the highest ballot of the entries as they are now; or ``ballot``, that of the entries as they were applied.
    """
    memory = step.node.memory
    step.needs("snapshot: only of what is decided", slot <= step.node.decided)
    step.needs("snapshot: nothing is forgotten that it does not cover", first <= slot + 1)
    under = [entry.ballot for held, entry in memory.entries.items() if held <= slot]
    if memory.snapshot is not None:
        under.append(memory.snapshot.ballot)
    if ballot is None and not under:
        raise NotAllowedError("snapshot: only of what is held")
    if ballot is None:
        ballot = min(under) if step.lacks("snapshot: it names the highest ballot") else max(under)
    step.write(trimmed(replace(memory, snapshot=Snapshot(slot, ballot)), first))


def trimmed(acceptor: Acceptor, first: int) -> Acceptor:
    """``acceptor`` without what lies below ``first``."""
    if first <= acceptor.first:
        return acceptor
    return replace(
        acceptor,
        entries=acceptor.entries.without(slot for slot in acceptor.entries if slot < first),
        first=first,
        faulty=frozenset(slot for slot in acceptor.faulty if slot >= first),
        open_from=acceptor.open_from and max(acceptor.open_from, first),
    )


def trim(step: Step, first: int) -> None:
    """Forget what the snapshot covers: damage there helps nobody."""
    snapshot = step.node.memory.snapshot
    covered = 0 if snapshot is None else snapshot.slot
    step.needs("snapshot: nothing is forgotten that it does not cover", first <= covered + 1)
    step.write(trimmed(step.node.memory, first))


def offer(step: Step, sent: Snapshot | None = None) -> None:
    """Send one's snapshot, with the ballot that it names; or an earlier one that is still being ``sent``."""
    current, membership = step.node.memory.snapshot, step.node.membership
    snapshot = sent or current
    if snapshot is None or membership is None or current is None or snapshot.slot > current.slot:
        raise NotAllowedError("offer: only a snapshot that there is")
    step.says.append(Offer(snapshot.slot, snapshot.ballot, membership))


def install(step: Step, sender: Name, message: Offer) -> None:
    """Take every slot that a peer's snapshot covers for decided, once its ballot is met; the promise rises to it."""
    step.heard(sender, message)
    step.meet(message.ballot, "install: a snapshot's ballot is met")
    node = step.node
    if node.membership is None:
        step.join(message.membership)
    memory = trimmed(node.memory, message.slot + 1)
    rises = memory.promised is None or memory.promised < message.ballot
    if rises and not step.lacks("install: the promise rises with a snapshot"):
        memory = replace(memory, promised=message.ballot)
    step.write(replace(memory, snapshot=Snapshot(message.slot, message.ballot)))
    decided = max(step.node.decided, message.slot)
    learned = {slot for slot in step.node.learned if slot > decided}
    while decided + 1 in learned:
        decided += 1
        learned.remove(decided)
    step.become(decided=decided, learned=frozenset(learned))
