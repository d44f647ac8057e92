"""Rules that stick to a link for a while: what becomes of some kinds of messages in one direction.

Loss that strikes every message alike starves nobody. A rule names a link, a direction and the kinds that it
is about, and lasts for an interval: heartbeats are lost while fetches pass, promises arrive in part, acceptances
wait. A message that is *held* stays in the network until the lead has changed hands once or twice, or a node
has started again, and arrives then.

References: Kingsbury's nemesis (Jepsen); Ozkan et al., "Randomized Testing of Distributed Systems with
Probabilistic Guarantees" (2018), on schedulers that choose the order of messages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from paxospp.messages import (
    Accept,
    Accepted,
    CatchUp,
    Decided,
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
from paxospp.testing.simulation.world.virtual_time import Clock

if TYPE_CHECKING:
    from paxospp.testing.simulation.world.network import Packet

Kinds = frozenset[type[Any]]

PHASE_1: Kinds = frozenset({Prepare, Promise, Nack})
PHASE_2: Kinds = frozenset({Accept, Accepted})
HEARTBEATS: Kinds = frozenset({Heartbeat, HeartbeatAnswer})
FETCHES: Kinds = frozenset({CatchUp, Decided})
SNAPSHOTS: Kinds = frozenset({SnapshotRequest, SnapshotChunk})
CALLS: Kinds = frozenset({ForwardRuns, ReadRequest, ReadAnswer})
GROUPS: tuple[Kinds, ...] = (PHASE_1, PHASE_2, HEARTBEATS, FETCHES, SNAPSHOTS, CALLS)
"""All kinds, in groups that do one thing."""

EVERYTHING: Kinds = frozenset().union(*GROUPS)

_HELD_FOR = (1, 1, 2, 3)
"""For how many changes of the lead, or starts of a node, a message is held."""


@dataclass(frozen=True, slots=True)
class LinkRule:
    """What becomes of messages of these kinds on one link; chances are per message."""

    kinds: Kinds
    loss: float = 0.0
    hold: float = 0.0
    copies: float = 0.0
    """Chance that it arrives, and a copy of it is held; with a delay, the copy comes so much later instead."""
    delay_s: float = 0.0
    """Mean of an exponential delay."""
    slot: int = 0
    """Of messages about a slot, those about this one only; 0: all of them."""


def draw_rule(random: Random) -> LinkRule:
    """A rule about one group of kinds, two groups, or one kind alone."""
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


class Interference:
    """Applies rules to messages, and keeps those that are held."""

    def __init__(self, seed: str, clock: Clock, arrive: Callable[[Packet], None], coverage: Counter[str]) -> None:
        self._clock = clock
        self._arrive = arrive
        self._random = Random(f"{seed} N11 messages")
        self._coverage = coverage
        self._held: list[tuple[int, Packet]] = []
        self._changes = 0

    def takes(self, packet: Packet, kind: type[Any]) -> bool:
        """Whether the rules of its link keep ``packet`` from going its usual way."""
        path, random = packet[0], self._random
        for rule in path.rules:
            if kind not in rule.kinds or (rule.slot and packet[2].slot != rule.slot):  # type: ignore[union-attr]
                continue
            if rule.loss and random.random() < rule.loss:
                return True
            if rule.hold and random.random() < rule.hold:
                self._hold(packet)
                return True
            if rule.copies:
                if random.random() >= rule.copies:
                    continue
                if rule.delay_s:
                    self._delay(packet, rule.delay_s)
                else:
                    self._hold(packet)
            elif rule.delay_s:
                self._delay(packet, rule.delay_s)
                return True
        return False

    def _delay(self, packet: Packet, mean_s: float) -> None:
        packet[0].under_way += 1
        self._clock.after(self._random.expovariate(1 / mean_s), self._arrive, packet)

    def _hold(self, packet: Packet) -> None:
        self._held.append((self._changes + self._random.choice(_HELD_FOR), packet))

    def on_change(self) -> None:
        """The lead has changed hands, or a node has started: what was held until now arrives."""
        self._changes += 1
        due = [packet for until, packet in self._held if until <= self._changes]
        if due:
            self._held = [held for held in self._held if held[0] > self._changes]
            self._release(due)

    def release_all(self) -> None:
        """Let everything that is held arrive."""
        due = [packet for _, packet in self._held]
        self._held.clear()
        self._release(due)

    def _release(self, packets: list[Packet]) -> None:
        for packet in packets:
            packet[0].under_way += 1
            self._coverage["a message arrived that was held over a change of the lead"] += 1
            # Some at once, some only when the new leader is at work.
            self._clock.after(
                self._random.choice((0.0, 0.01, 0.05)) + 0.005 * self._random.random(), self._arrive, packet
            )
