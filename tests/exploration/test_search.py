"""The search visits everything that can happen, and finds no broken rule in the engine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from paxospp.testing.exploration.scopes import SCOPES
from paxospp.testing.exploration.search import Order, Search
from paxospp.testing.exploration.starts import first_start
from paxospp.testing.exploration.symmetry import Symmetry, interchangeable
from paxospp.testing.exploration.worlds import Explorer


@pytest.mark.parametrize(("scope", "depth"), [("plain", 6), ("crash", 5), ("parts", 4), ("damage", 3), ("snapshot", 4)])
def test_no_rule_is_broken_up_to_a_depth(scope: str, depth: int) -> None:
    search = Search(Explorer(SCOPES[scope]))

    findings = search.run(depth=depth)

    assert findings.violation is None
    assert findings.complete_to == depth


def test_a_small_scope_is_explored_completely() -> None:
    """The scope has one campaign of one node and one value, in every order of messages."""
    scope = replace(SCOPES["plain"], campaigns=1, campaigners=("n1",), message_kinds=SCOPES["parts"].message_kinds)
    findings = Search(Explorer(scope)).run(transitions=100_000)

    assert findings.is_exhausted
    assert findings.violation is None


@pytest.mark.parametrize("scope", ["damage"])
def test_an_exploration_begins_where_a_random_run_reached_a_marker(scope: str) -> None:
    found = first_start("leading: a recovered slot is held back", SCOPES[scope], 1)
    assert found is not None
    _, explorer, world = found

    findings = Search(explorer, begin=world).run(depth=2)

    nodes = [explorer.nodes.known[number] for number in world[: explorer.size]]
    assert max(node.replica.decided for node in nodes) > 0
    assert findings.complete_to == 2
    assert findings.violation is None


def test_symmetry_visits_one_world_for_each_key() -> None:
    """A search with symmetry visits one world for each distinct key of a search without."""
    scope = replace(SCOPES["five"], campaigns=1)
    explorer = Explorer(scope)
    plain = Search(explorer)
    symmetry = Symmetry(explorer)
    kinds = {symmetry.key(plain.first)}
    level, seen = [plain.first], {plain.first}
    for _ in range(6):
        level = [world for here in level for _, _, world, _ in explorer.successors(here) if world not in seen]
        seen.update(level)
        level = list(dict.fromkeys(level))
        kinds.update(symmetry.key(world) for world in level)

    findings = Search(Explorer(scope), symmetry=True).run(depth=6)

    assert len(symmetry.renamings) == 6
    assert findings.distinct == len(kinds)
    assert 2 * findings.distinct < len(seen)


def test_nodes_that_campaign_or_are_fetched_from_are_not_interchangeable() -> None:
    assert interchangeable(SCOPES["five"]) == ("n3", "n4", "n5")
    assert interchangeable(SCOPES["plain"]) == ()
    assert interchangeable(replace(SCOPES["five"], fetches=1)) == ()
    assert interchangeable(replace(SCOPES["five"], crashers=("n3", "n4"))) == ("n3", "n4")


@pytest.mark.parametrize("order", Order)
def test_every_order_visits_the_same_worlds(order: Order) -> None:
    scope = replace(SCOPES["plain"], campaigns=1, campaigners=("n1",), message_kinds=SCOPES["parts"].message_kinds)
    breadth = Search(Explorer(scope)).run()

    findings = Search(Explorer(scope), order=order).run()

    assert findings.is_exhausted
    assert (findings.distinct, findings.transitions) == (breadth.distinct, breadth.transitions)


@pytest.mark.parametrize("scope", ["plain", "parts", "snapshot"])
def test_sleep_sets_leave_out_steps_but_no_worlds(scope: str) -> None:
    without = Search(Explorer(SCOPES[scope])).run(depth=4)

    findings = Search(Explorer(SCOPES[scope]), sleeps=True).run(depth=4)

    assert findings.distinct == without.distinct
    assert findings.transitions < without.transitions
