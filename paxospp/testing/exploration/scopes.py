"""The scopes to explore: small clusters, each with the events that would lead to one kind of fault."""

from __future__ import annotations

from collections.abc import Mapping

from paxospp.testing.exploration.scope import ANSWERS, CATCH_UP, HEARTBEATS, PHASES, REFUSALS, ExplorationScope

_N2_LEADS = ("campaign n2", "n2->n1 Prepare", "n2->n3 Prepare", "n3->n2 Promise")

_ALL = (
    ExplorationScope(
        name="plain",
        about="two campaigns and one value, in a cluster where nothing has happened yet",
        message_kinds=PHASES | HEARTBEATS | REFUSALS,
        campaigns=2,
        proposals=1,
    ),
    ExplorationScope(
        name="five",
        about="two of five nodes campaign; the other three are interchangeable",
        nodes=5,
        message_kinds=PHASES,
        campaigners=("n1", "n2"),
        campaigns=2,
        proposals=1,
    ),
    ExplorationScope(
        name="crash",
        about="writes that take time, and a crash, while two nodes campaign",
        message_kinds=PHASES | HEARTBEATS,
        is_synced=False,
        campaigners=("n1", "n2"),
        crashers=("n2", "n3"),
        campaigns=2,
        proposals=1,
        crashes=1,
    ),
    ExplorationScope(
        name="parts",
        about="answers to a Prepare in several parts, and copies of messages; n2 and n3 hold two slots",
        chunk_bytes_max=1,
        message_kinds=PHASES,
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
    ExplorationScope(
        name="damage",
        about="a record or the end of a log is lost; n2 leads, and nothing is proposed yet",
        message_kinds=PHASES | HEARTBEATS | ANSWERS,
        loses_ends=True,
        campaigners=("n1", "n3"),
        crashers=("n3",),
        begins_with=(*_N2_LEADS, "drop *->*"),
        campaigns=1,
        proposals=3,
        damages=1,
        heartbeats=1,
    ),
    ExplorationScope(
        name="snapshot",
        about="leaders and candidates install snapshots; n2 has decided slot 2 with n3, and n1 knows nothing of it",
        message_kinds=PHASES | CATCH_UP,
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

SCOPES: Mapping[str, ExplorationScope] = {scope.name: scope for scope in _ALL}
"""By name."""
