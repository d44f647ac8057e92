"""Applies the rules of a link to each message that passes it, and keeps the messages that are held back (N11, N12).

``link_rules`` says what a rule is; ``link_faults`` and ``adversary`` set the rules of links.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

from paxospp.testing.simulation.world.path import Packet
from paxospp.testing.simulation.world.virtual_time import Clock

_HELD_FOR = (1, 1, 2, 3)
"""For how many changes of the leader, or starts of a node, a message is held."""


class AppliedRules:
    """Applies rules to messages, and keeps those that are held back."""

    def __init__(self, seed: str, clock: Clock, arrive: Callable[[Packet], None], coverage: Counter[str]) -> None:
        self._clock = clock
        self._arrive = arrive
        self._random = Random(f"{seed} N11 messages")
        self._coverage = coverage
        self._held: list[tuple[int, Packet]] = []
        self._changes = 0

    def takes(self, packet: Packet, kind: type[Any]) -> bool:
        """Return whether a rule of its link stops ``packet``: it is lost, held, or delayed."""
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
        """Release what was held until now: the leader has changed, or a node has started."""
        self._changes += 1
        due = [packet for until, packet in self._held if until <= self._changes]
        if due:
            self._held = [held for held in self._held if held[0] > self._changes]
            self._release(due)

    def release_all(self) -> None:
        """Release everything that is held."""
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
