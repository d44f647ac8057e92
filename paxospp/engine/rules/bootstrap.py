"""Bootstrapping a cluster: slot 1 decides its first membership (rule 9).

Until slot 1 is decided, nothing else is proposed. A candidate needs a promise from *every* named node, so that it sees
whatever an earlier candidate left. If an answer already holds a membership for slot 1, a quorum of the incarnations
listed in that membership is enough. A node accepts a first membership only if its own incarnation is listed in it.

In the code, *founding* means bootstrapping, and the *founding value* is the membership in slot 1.

Reference: Lamport, Malkhi, Zhou, "Reconfiguring a State Machine" (2010).
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from paxospp.engine.rules.observer import Observer
from paxospp.engine.rules.promises import Promises
from paxospp.engine.rules.voters import Everyone, Majority, Voters
from paxospp.engine.settings import Identity, Settings
from paxospp.errors import CorruptedError
from paxospp.model import Entry, Kind, Member, Membership, Slot

FOUNDING_SLOT = Slot(1)


def founding_voters(identity: Identity, promises: Promises) -> Voters:
    """Return the voters whose promises are needed: every named node, or a quorum of a membership already accepted."""
    accepted = [
        report.entries[FOUNDING_SLOT] for report in promises.reports.values() if FOUNDING_SLOT in report.entries
    ]
    if not accepted:
        return Everyone(identity.cluster)
    return Majority(Membership.from_bytes(max(accepted, key=lambda entry: entry.ballot).value))


def may_found(decided: Slot, held: Entry | None, told: Iterable[Slot]) -> bool:
    """Return whether this replica may campaign to bootstrap a cluster.

    It may not if a cluster exists, that is, if it or a peer knows that slot 1 is decided. The exception is a replica
    that holds a founding value: it may have to confirm that value, because the peer that knew it as decided may have
    lost it.

    Args:
        decided: the highest slot that this replica knows to be decided.
        held: the entry it holds in slot 1.
        told: the highest decided slots that its peers have reported.
    """
    if decided >= FOUNDING_SLOT:
        return False
    return held is not None or not any(theirs >= FOUNDING_SLOT for theirs in told)


def voters_to_found(held: Entry | None, everyone: Voters) -> Voters:
    """Return the voters that have to answer before a campaign begins: all, or a quorum of the value held in slot 1."""
    if held is None or held.kind is not Kind.MEMBERSHIP:
        return everyone
    return Majority(Membership.from_bytes(held.value))


def founding_entry(
    identity: Identity, settings: Settings, promises: Promises, random: Random, observer: Observer
) -> Entry:
    """Return the entry to propose in slot 1.

    It is the value that may have been chosen there, or else a new membership of all named nodes, in the incarnations
    that promised, with a random cluster id.
    """
    entry = promises.choose(FOUNDING_SLOT, founding_voters(identity, promises))
    if entry is not None and entry.kind is Kind.MEMBERSHIP:
        observer.reached("founding: a founding value that was found is proposed again")
        return entry
    incarnations = {name: report.incarnation for name, report in promises.reports.items()}
    membership = Membership(
        cluster_id=random.randbytes(16),
        group=identity.group,
        alpha=settings.alpha,
        session_expiry_s=settings.session_expiry_s,
        replaces=Slot(0),
        members=tuple(Member(name, identity.cluster[name], incarnations[name]) for name in sorted(identity.cluster)),
    )
    return Entry(FOUNDING_SLOT, promises.ballot, Kind.MEMBERSHIP, membership.to_bytes())


def why_not_founded_by(entry: Entry, identity: Identity) -> str | None:
    """Return why this node refuses ``entry`` as the first membership of its cluster; None if it accepts it."""
    if entry.slot != FOUNDING_SLOT or entry.kind is not Kind.MEMBERSHIP:
        return "slot 1 of a new cluster holds a membership and nothing else"
    try:
        membership = Membership.from_bytes(entry.value)
    except CorruptedError as error:
        return str(error)
    if not membership.has(identity.name, identity.incarnation):
        return f"the proposed membership does not list this storage of {identity.name}"
    if membership.names != frozenset(identity.cluster):
        theirs, ours = ", ".join(sorted(membership.names)), ", ".join(sorted(identity.cluster))
        return f"the proposed membership names {theirs}; this node was started for {ours}"
    return None
