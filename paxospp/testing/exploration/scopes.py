"""The scopes that are explored: small clusters, each with the events from which one kind of fault would follow."""

from __future__ import annotations

from collections.abc import Mapping

from paxospp.testing.exploration.scope import ANSWERS, NEWS, PHASES, REFUSALS, TEACHING, Scope

_N2_LEADS = ("campaign n2", "n2->n1 Prepare", "n2->n3 Prepare", "n3->n2 Promise")

_ALL = (
    Scope(
        name="plain",
        about="two campaigns and one value, from the founding on",
        hears=PHASES | NEWS | REFUSALS,
        campaigns=2,
        proposals=1,
    ),
    Scope(
        name="five",
        about="two of five nodes campaign; the other three play the same part",
        nodes=5,
        hears=PHASES,
        campaigners=("n1", "n2"),
        campaigns=2,
        proposals=1,
    ),
    Scope(
        name="crash",
        about="writes that take their time, and a crash, while two nodes campaign",
        hears=PHASES | NEWS,
        is_synced=False,
        campaigners=("n1", "n2"),
        crashers=("n2", "n3"),
        campaigns=2,
        proposals=1,
        crashes=1,
    ),
    Scope(
        name="parts",
        about="answers to a Prepare in several parts, and copies of messages; n2 and n3 hold two slots",
        chunk_bytes_max=1,
        hears=PHASES,
        begins_with=(
            *_N2_LEADS,
            "propose n2",
            "propose n2",
            "n2->n3 Accept b=2.n2 2:",
            "n2->n3 Accept b=2.n2 3:",
            "drop *->*",
        ),
        campaigns=1,
        proposals=1,
        duplicates=2,
    ),
    Scope(
        name="damage",
        about="a record or the end of a log is lost; n2 leads, and nothing is proposed yet",
        hears=PHASES | NEWS | ANSWERS,
        loses_ends=True,
        campaigners=("n1", "n3"),
        crashers=("n3",),
        begins_with=(*_N2_LEADS, "drop *->*"),
        campaigns=1,
        proposals=3,
        damages=1,
        beats=1,
    ),
    Scope(
        name="snapshot",
        about="snapshots that leaders and candidates install; n2 has decided slot 2 with n3, and n1 knows of nothing",
        hears=PHASES | TEACHING,
        begins_with=(
            *_N2_LEADS,
            "propose n2",
            "n2->n3 Accept",
            "n3->n2 Accepted",
            "drop *->*",
        ),
        campaigns=2,
        proposals=1,
        fetches=1,
        snapshots=1,
    ),
)

SCOPES: Mapping[str, Scope] = {scope.name: scope for scope in _ALL}
"""By name."""
