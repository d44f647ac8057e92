"""Values of the model, made from values of the engine and of the simulated disks."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from functools import lru_cache

from paxospp.engine.rules import promises
from paxospp.messages import Promise
from paxospp.model import Ballot, Entry, Kind, Membership
from paxospp.testing.simulation.world.disk import StoredImage
from paxospp.testing.specification.messages import AcceptorReport, ModelPromise, Value
from paxospp.testing.specification.state import ModelAcceptor, ModelSnapshot
from paxospp.testing.specification.values import Map, ModelBallot, ModelMembership, Pvalue


def ballot_of(ballot: Ballot) -> ModelBallot:
    """Return the same ballot as a value of the model."""
    return ModelBallot(*ballot)


def optional(ballot: Ballot | None) -> ModelBallot | None:
    """Return the same ballot, if there is one."""
    return None if ballot is None else ModelBallot(*ballot)


@lru_cache(maxsize=64)
def membership_of(membership: Membership) -> ModelMembership:
    """Return the voters, alpha and the id of the cluster."""
    voters = frozenset((member.name, member.incarnation) for member in membership.members)
    return ModelMembership(voters, membership.alpha, membership.cluster_id)


@lru_cache(maxsize=256)
def _founding(value: bytes) -> ModelMembership:
    return membership_of(Membership.from_bytes(value))


def value_of(kind: Kind, value: bytes) -> Value:
    """Return a value: a membership, or a value whose content the model does not look at."""
    return _founding(value) if kind is Kind.MEMBERSHIP else (int(kind), value)


def pvalue_of(entry: Entry) -> Pvalue:
    """Return the content of a slot."""
    return Pvalue(ballot_of(entry.ballot), value_of(entry.kind, entry.value))


def faulty_of(ranges: Iterable[range]) -> tuple[frozenset[int], int]:
    """Return the damaged slots that are named, and the slot from which on any may be damaged; 0: no open end."""
    named: set[int] = set()
    open_from = 0
    for slots in ranges:
        if slots.stop == sys.maxsize:
            open_from = slots.start
        else:
            named.update(slots)
    return frozenset(named), open_from


def report_of(report: promises.PromiseReport) -> AcceptorReport:
    """Return a report as the leader counts it."""
    entries = Map((int(slot), pvalue_of(entry)) for slot, entry in report.entries.items())
    return _report(report.incarnation, report.decided, report.first, entries, report.faulty)


def _report(
    incarnation: int, decided: int, first: int, entries: Map[int, Pvalue], ranges: Sequence[range]
) -> AcceptorReport:
    named, open_from = faulty_of(ranges)
    return AcceptorReport(incarnation, decided, first, entries, named, open_from)


def in_one_way(report: AcceptorReport) -> AcceptorReport:
    """Return the report with its damage in the one form that names as few slots as possible."""
    floor = max(report.decided + 1, report.first)
    open_from = report.open_from
    if open_from:
        open_from = max(open_from, floor)
        while open_from > floor and (open_from - 1 in report.entries or report.is_faulty(open_from - 1)):
            open_from -= 1
    named = frozenset(slot for slot in report.faulty if slot >= floor and (not open_from or slot < open_from))
    entries = report.entries.without(slot for slot in report.entries if slot < floor)
    return report._replace(entries=entries, faulty=named - entries.keys(), open_from=open_from)


def promise_of(incarnation: int, boot: int, promise: Promise) -> ModelPromise:
    """Return one part of an answer."""
    entries = Map((int(entry.slot), pvalue_of(entry)) for entry in promise.entries)
    return ModelPromise(
        ballot_of(promise.ballot),
        (boot, promise.answer),
        promise.part,
        promise.parts,
        _report(incarnation, promise.decided, promise.first, entries, promise.faulty),
    )


def acceptor_of(image: StoredImage, snapshot: ModelSnapshot | None) -> ModelAcceptor:
    """Return the content of a disk, which does not say under which ballots ``snapshot`` was decided."""
    named, open_from = faulty_of(image.faulty_ranges())
    return ModelAcceptor(
        None if image.promised is None else ballot_of(image.promised),
        Map((int(slot), pvalue_of(entry)) for slot, entry in image.entries.items()),
        image.first,
        named,
        open_from,
        snapshot,
    )
