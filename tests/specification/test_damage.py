"""Single steps of the model: where damage ends, and what a boot finds of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from paxospp.testing.simulation.validation.followed import Followed
from paxospp.testing.specification import damage
from paxospp.testing.specification.durability import restart, write_returns
from paxospp.testing.specification.messages import Vouch
from paxospp.testing.specification.phase_2 import storing
from paxospp.testing.specification.state import ModelAcceptor, ModelNode
from paxospp.testing.specification.step import ModelStep, NotAllowedError
from paxospp.testing.specification.values import Map, ModelBallot, ModelMembership, Pvalue

BALLOT, LATER = ModelBallot(3, "n1", 1), ModelBallot(4, "n3", 1)
MEMBERS = ModelMembership(frozenset({("n1", 1), ("n2", 1), ("n3", 1)}), 3)
HELD = Map({1: Pvalue(BALLOT, MEMBERS), 4: Pvalue(BALLOT, "value 4")})
LOST = ModelAcceptor(promised=BALLOT, entries=HELD, open_from=2)
"""A log whose end was lost from slot 2 on; slot 4 has been accepted again since."""


def a_step(memory: ModelAcceptor, *sent: Vouch, **node: object) -> ModelStep:
    system = Followed(["n1", "n2", "n3"])
    system.nodes["n2"] = replace(ModelNode(memory=memory, disk=memory, booted_with=BALLOT, decided=1), **node)  # type: ignore[arg-type]
    system.sent["n3"].update(sent)
    return ModelStep(system, "n2")


@pytest.mark.parametrize("bounds", [(6, 3), (3, 6), (3, 3)])
def test_the_lower_of_two_bounds_ends_the_damage_in_either_order(bounds: tuple[int, int]) -> None:
    vouches = [Vouch(LATER, bound, None) for bound in bounds]
    step = a_step(LOST, *vouches)

    for vouch in vouches:
        damage.close(step, "n3", vouch)

    assert (step.node.memory.faulty, step.node.memory.open_from) == (frozenset({2, 3}), 0)
    assert step.node.disk == LOST


def test_a_vouch_from_before_the_boot_does_not_end_damage() -> None:
    vouch = Vouch(BALLOT, 3, None)
    step = a_step(replace(LOST, open_from=0, faulty=frozenset({5})), vouch)

    with pytest.raises(NotAllowedError, match="elected after this boot"):
        damage.close(step, "n3", vouch)


def after_a_boot(step: ModelStep, found: ModelAcceptor, decided: int = 1) -> ModelNode:
    """Return the node after its next boot, once all its writes have returned."""
    while step.node.writes:
        write_returns(step)
    restart(step, step.node.disk, decided)
    if found != step.node.disk:
        damage.found_damaged(step, found)
    return step.node


@pytest.mark.parametrize("writes", [False, True])
def test_a_boot_that_can_read_slot_1_knows_the_members_even_if_the_boot_before_could_not(writes: bool) -> None:
    def unread() -> ModelStep:
        step = a_step(LOST, membership=MEMBERS)
        damage.unreadable(step, [1], forgets=True)
        assert step.node.membership is None
        if writes:
            step.write(step.node.memory)
        return step

    assert after_a_boot(unread(), LOST).membership == MEMBERS
    assert after_a_boot(unread(), LOST, decided=0).membership is None, "the node does not know that slot 1 is decided"
    rotten = replace(LOST, entries=HELD.without([1]), faulty=frozenset({1}))
    assert after_a_boot(unread(), rotten).membership is None


def test_no_write_changes_a_slot_that_could_not_be_read() -> None:
    """Slot 4 holds a value and slot 3 never did: a node that can read neither cannot tell them apart."""
    held = replace(LOST, open_from=0)
    step = a_step(held)

    damage.unreadable(step, [3, 4])
    step.write(step.node.memory)
    write_returns(step)

    assert (step.node.memory.entries.keys(), step.node.memory.faulty) == ({1}, {3, 4})
    assert step.node.disk == held
    assert after_a_boot(step, held).memory == held


def test_a_value_stored_in_a_slot_that_could_not_be_read_is_on_disk() -> None:
    step = a_step(LOST)
    damage.unreadable(step, [4])

    step.write(storing(step.node.memory, 4, Pvalue(LATER, "another")))
    write_returns(step)

    assert step.node.disk.entries[4] == step.node.memory.entries[4] == Pvalue(LATER, "another")
