"""Damage to what was chosen, at the nodes that the next leader asks.

A member of a quorum loses the end of its log, with what it knew decided; the other members that hold it are cut off;
and a lagging node campaigns with the damaged one.

Reference: Alagappan et al., "Protocol-Aware Recovery for Consensus-Based Storage" (2018), 2.3.
"""

from __future__ import annotations

from paxospp.messages import DecidedEntries
from paxospp.model import Slot
from paxospp.testing.simulation.faults.adversary import Adversary, all_but
from paxospp.testing.simulation.faults.link_rules import EVERYTHING, FETCHES, SNAPSHOTS, Kinds, LinkRule
from paxospp.testing.simulation.world.host import SimulatedHost
from paxospp.testing.simulation.world.path import Path


def damage_chosen(
    adversary: Adversary, among: list[SimulatedHost] | None = None, lagging: SimulatedHost | None = None, start: int = 0
) -> bool:
    """Damage what was chosen at members of the quorum that a lagging node will ask; return whether there are any.

    If given, the victim is one of ``among``, the lagging node is ``lagging``, and the damage begins at ``start``.
    """
    random, up = adversary.losses, adversary.up
    fragile = [host for host in (up if among is None else among) if host in up and _may_lose(host)]
    if not fragile or len(up) < 2:
        return False
    knowing = [host for host in fragile if host is not lagging and host.decided >= start]
    victim = random.choice(knowing or [host for host in fragile if host is not lagging] or fragile)
    others = [host for host in up if host is not victim]
    if lagging not in others:
        lagging = adversary.laggard(others)
    assert lagging is not None
    adversary.starved = frozenset()
    asked = adversary.ask(lagging, victim)
    if random.random() < 0.7:
        # With other nodes that lag, as far as possible.
        asked = [victim, *sorted(others, key=lambda host: host.decided)[1 : adversary.enough]]
    _link(adversary, {lagging, *asked})
    for host in asked:
        if host is victim or (host in fragile and host.decided > lagging.decided and random.random() < 0.7):
            lose_end(adversary, host, lagging, start if random.random() < 0.8 else 0)
    adversary.candidate = lagging
    for delay_s in (0.03, 0.08, 0.15):
        adversary.world.clock.after(delay_s * (0.5 + random.random()), adversary.campaign_unless_leading, lagging)
    if random.random() < 0.3:
        lagging.stall(0.2 * random.random())
    return True


def _may_lose(host: SimulatedHost) -> bool:
    image = host.disk.image
    return host.may_be_damaged and image.unreadable is None and max(image.entries, default=0) >= image.floor


def lose_end(adversary: Adversary, victim: SimulatedHost, lagging: SimulatedHost, start: int) -> None:
    """Kill ``victim``, damage its log from ``start`` on, or from what ``lagging`` lacks on, and start it again."""
    random = adversary.losses
    victim.crash()
    image = victim.disk.image
    slots = sorted(slot for slot in image.entries if slot >= image.floor)
    if not slots:
        return
    if start:
        image.lose_end(Slot(start))
    elif random.random() < 0.25:
        image.damage(random.sample(slots, random.randint(1, min(3, len(slots)))))
    else:
        missing = [slot for slot in slots if slot > lagging.decided] or slots[-3:]
        start = missing[0] if random.random() < 0.6 else random.choice(missing)
        gaps = [slot for slot in slots if slot > image.floor and slot - 1 not in image.entries]
        if gaps and random.random() < 0.5:
            start = random.choice(gaps)  # nothing was accepted in the slot below, and the node knows that
        # The latest write need not be the highest slot: the slot below may have been empty.
        image.lose_end(Slot(start + 1) if start < slots[-1] and random.random() < 0.2 else start)
    adversary.world.coverage["what was chosen was damaged at a member of the next quorum"] += 1
    adversary.world.clock.after(0.02 * random.random(), adversary.injector.restart, victim)


def _link(adversary: Adversary, members: set[SimulatedHost]) -> None:
    random = adversary.losses
    inside: Kinds = EVERYTHING if random.random() < 0.6 else EVERYTHING - FETCHES - SNAPSHOTS
    # Nodes that are cut off may still send what is decided.
    outside = frozenset({DecidedEntries}) | FETCHES if random.random() < 0.4 else frozenset()

    def rules_of(path: Path) -> tuple[LinkRule, ...]:
        return (all_but(inside if {path.source, path.target} <= members else outside),)

    adversary.set_rules(rules_of)
