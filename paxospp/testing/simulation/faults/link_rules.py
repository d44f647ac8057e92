"""Rules of links: what happens to some kinds of messages in one direction, for an interval.

Loss that hits all messages alike does not starve any kind. A rule names a link, a direction and kinds: heartbeats are
lost while fetches pass, promises arrive in part, acceptances wait. A message that is *held* stays in the network until
the leader has changed once or twice, or a node has restarted; then it arrives.

References: Kingsbury's nemesis (Jepsen); Ozkan et al., "Randomized Testing of Distributed Systems with
Probabilistic Guarantees" (2018), on schedulers that choose the order of messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from paxospp.messages import (
    Accept,
    Accepted,
    CatchUp,
    DecidedEntries,
    ForwardRuns,
    Heartbeat,
    HeartbeatAnswer,
    Nack,
    Prepare,
    Promise,
    ReadAnswer,
    ReadRequest,
    SnapshotChunk,
    SnapshotRequest,
)

Kinds = frozenset[type[Any]]

PHASE_1: Kinds = frozenset({Prepare, Promise, Nack})
PHASE_2: Kinds = frozenset({Accept, Accepted})
HEARTBEATS: Kinds = frozenset({Heartbeat, HeartbeatAnswer})
FETCHES: Kinds = frozenset({CatchUp, DecidedEntries})
SNAPSHOTS: Kinds = frozenset({SnapshotRequest, SnapshotChunk})
CALLS: Kinds = frozenset({ForwardRuns, ReadRequest, ReadAnswer})
GROUPS: tuple[Kinds, ...] = (PHASE_1, PHASE_2, HEARTBEATS, FETCHES, SNAPSHOTS, CALLS)
"""All kinds, grouped by their purpose."""

EVERYTHING: Kinds = frozenset().union(*GROUPS)


@dataclass(frozen=True, slots=True)
class LinkRule:
    """The treatment of messages of these kinds on one link; chances are per message."""

    kinds: Kinds
    loss: float = 0.0
    hold: float = 0.0
    copies: float = 0.0
    """Chance that a copy of the message is held; with ``delay_s``, the copy arrives after the delay instead."""
    delay_s: float = 0.0
    """Mean of an exponential delay."""
    slot: int = 0
    """If not 0, the rule covers only messages about this slot."""


def draw_rule(random: Random) -> LinkRule:
    """Draw a rule about one group of kinds, two groups, or one kind alone."""
    kinds = frozenset().union(*random.sample(GROUPS, random.randint(1, 2)))
    if random.random() < 0.3:
        kinds = frozenset({random.choice(sorted(kinds, key=lambda kind: kind.__name__))})
    share = random.choice((0.3, 0.7, 1.0))
    match random.randrange(5):
        case 0 | 1:
            return LinkRule(kinds, loss=share)
        case 2:
            return LinkRule(kinds, hold=share)
        case 3:
            return LinkRule(kinds, copies=share)
        case _:
            return LinkRule(kinds, delay_s=0.01 * 30 ** random.random())
