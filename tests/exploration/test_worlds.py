"""Messages that worlds leave out have no effect."""

from __future__ import annotations

from random import Random
from typing import cast

import pytest

from paxospp.model import Slot
from paxospp.testing.exploration.disk_state import DiskState
from paxospp.testing.exploration.node_events import Crash, DeliverMessage
from paxospp.testing.exploration.node_state import NodeState
from paxospp.testing.exploration.nodes import key_of
from paxospp.testing.exploration.scopes import SCOPES
from paxospp.testing.exploration.story import begin
from paxospp.testing.exploration.worlds import Explorer
from tests.engine.words import ballot, entry


def dead_at(explorer: Explorer, node: NodeState) -> set[int]:
    """Return the numbers of the messages to ``node`` that can never have an effect there again."""
    messages = explorer.nodes.messages
    return {
        number
        for number in range(len(messages))
        if messages[number].to == node.name and explorer.nodes.is_dead(node, number)
    }


def apart_from_admission(node: NodeState) -> object:
    """Return the state of ``node`` without its record of known peers: an unknown peer's messages are admitted too."""
    replica, *rest = cast("tuple[tuple[object, ...], object]", key_of(node))
    kept = [part for part in replica if not (isinstance(part, tuple) and part[-1:] == ("Admission",))]
    assert len(kept) == len(replica) - 1
    return (*kept, *rest)


@pytest.mark.parametrize("scope", ["plain", "crash", "parts", "damage", "snapshot"])
def test_a_dead_message_changes_nothing_and_stays_dead(scope: str) -> None:
    explorer, random = Explorer(SCOPES[scope]), Random(scope)
    judged = 0
    for _ in range(4):
        world = begin(explorer)
        sent = set(world[explorer.size + 2 :])
        for _ in range(20):
            can = explorer.successors(world)
            if not can:
                break
            action, step, after, _ = random.choice(can)
            before = explorer.nodes.known[world[action.place]]
            for number in dead_at(explorer, before) & sent:
                judged += 1
                known = apart_from_admission(before)
                envelope = explorer.nodes.messages[number]
                event = DeliverMessage(envelope.sender, envelope.message)
                effect = explorer.nodes.step(before, event, 2 * number)
                assert effect is None or (not effect.sends and apart_from_admission(effect.node) == known)
                assert explorer.nodes.is_dead(step.node, number)
            world = after
            sent.update(step.sends)
    assert judged or scope == "snapshot"


def test_a_lost_end_lowers_decided_and_a_damaged_slot_is_reported() -> None:
    entries = tuple(entry(slot, ballot(1)) for slot in range(1, 5))
    disk = DiskState(boot=1, promised=ballot(1), decided=Slot(3), first=Slot(1), entries=entries)

    lost = disk.lose_end(Slot(3))
    damaged = disk.damage(Slot(2))

    assert [held.slot for held in lost.entries] == [1, 2]
    assert (lost.decided, lost.promised) == (2, ballot(1))
    assert lost.load().last == 2
    assert damaged.load().faulty == (range(2, 3),)
    assert not damaged.read(Slot(1), Slot(5))[1:]
    assert isinstance(Crash(Slot(2)), Crash)
