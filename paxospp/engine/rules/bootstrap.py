"""How a cluster comes into being: slot 1 is its first membership.

Before it is decided nothing else is proposed. A candidate for it needs a promise from *every*
named node, so that whatever an older candidate left is seen; only if an answer already holds a
founding value, a quorum of the lives listed in that value is enough. A node accepts a founding
value only if its own present life stands in it.

References: rule 9; Lamport, Malkhi, Zhou, "Reconfiguring a State Machine" (2010).
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
    """Whose promises found the cluster: everyone's, or a quorum of a founding value already accepted."""
    accepted = [
        report.entries[FOUNDING_SLOT] for report in promises.reports.values() if FOUNDING_SLOT in report.entries
    ]
    if not accepted:
        return Everyone(identity.cluster)
    return Majority(Membership.from_bytes(max(accepted, key=lambda entry: entry.ballot).value))


def may_found(decided: Slot, held: Entry | None, told: Iterable[Slot]) -> bool:
    """Whether it is for this replica, which holds ``held`` in slot 1, to found a cluster.

    Not if there is one already, as it or one of those knows who ``told`` what they know decided. But one
    that holds a founding value may have to confirm it: whoever knows it decided may have lost it.
    """
    if decided >= FOUNDING_SLOT:
        return False
    return held is not None or not any(theirs >= FOUNDING_SLOT for theirs in told)


def voters_to_found(held: Entry | None, everyone: Voters) -> Voters:
    """Whom a campaign to found needs to reach: everyone, or a quorum of a founding value held here."""
    if held is None or held.kind is not Kind.MEMBERSHIP:
        return everyone
    return Majority(Membership.from_bytes(held.value))


def founding_entry(
    identity: Identity, settings: Settings, promises: Promises, random: Random, observer: Observer
) -> Entry:
    """What to propose in slot 1: what may have been chosen there, or a first membership of who promised.

    That is of all named nodes, in the lives that promised, under a fresh cluster id.
    """
    entry = promises.choose(FOUNDING_SLOT, founding_voters(identity, promises))
    if entry is not None and entry.kind is Kind.MEMBERSHIP:
        observer.reached("founding: a founding value that was found is proposed again")
        return entry
    lives = {name: report.incarnation for name, report in promises.reports.items()}
    membership = Membership(
        cluster_id=random.randbytes(16),
        group=identity.group,
        alpha=settings.alpha,
        session_expiry_s=settings.session_expiry_s,
        replaces=Slot(0),
        members=tuple(Member(name, identity.cluster[name], lives[name]) for name in sorted(identity.cluster)),
    )
    return Entry(FOUNDING_SLOT, promises.ballot, Kind.MEMBERSHIP, membership.to_bytes())


def why_not_founded_by(entry: Entry, identity: Identity) -> str | None:
    """Why this node does not accept ``entry`` as the founding of its cluster; None if it does."""
    if entry.slot != FOUNDING_SLOT or entry.kind is not Kind.MEMBERSHIP:
        return "slot 1 of a new cluster takes a membership and nothing else"
    try:
        membership = Membership.from_bytes(entry.value)
    except CorruptedError as error:
        return str(error)
    if not membership.has(identity.name, identity.incarnation):
        return f"it does not list this storage of {identity.name}"
    if membership.names != frozenset(identity.cluster):
        theirs, ours = ", ".join(sorted(membership.names)), ", ".join(sorted(identity.cluster))
        return f"it names {theirs}; this node was started for {ours}"
    return None
