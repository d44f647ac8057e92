"""A trace becomes a scenario file that plays the same events."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from paxospp.model import NodeId
from paxospp.testing.engine_settings import engine_settings
from paxospp.testing.exploration.scopes import SCOPES
from paxospp.testing.exploration.story import begin, describe, scenario_of
from paxospp.testing.exploration.worlds import Action, Explorer, World
from paxospp.testing.scenario import play
from paxospp.testing.scenario.verbs import perform
from paxospp.testing.scenario.world import ScenarioWorld


def walk(explorer: Explorer, seed: int, length: int) -> tuple[list[Action], World]:
    """Return a random trace through the scope, and the world that it ends in."""
    random = Random(seed)
    world, trace = begin(explorer), []
    for _ in range(length):
        can = explorer.successors(world)
        if not can:
            break
        action, _, world, broken = random.choice(can)
        assert broken is None
        trace.append(action)
    return trace, world


def replicas(text: str) -> ScenarioWorld:
    world = ScenarioWorld(engine_settings())
    for line in text.splitlines():
        if line and not line.startswith("#"):
            perform(world, line.split())
    return world


@pytest.mark.parametrize("scope", ["plain", "parts", "crash"])
@pytest.mark.parametrize("seed", range(3))
def test_a_trace_plays_as_a_scenario(scope: str, seed: int) -> None:
    explorer = Explorer(SCOPES[scope])
    trace, world = walk(explorer, seed, 14)

    played = replicas(scenario_of(explorer, trace, "a way"))

    assert_same(explorer, world, played)


def follow(explorer: Explorer, world: World, lines: Sequence[str]) -> tuple[list[Action], World]:
    trace = []
    for line in lines:
        found = [it for it in explorer.successors(world) if describe(explorer, it[0]).startswith(line)]
        assert found, line
        trace.append(found[0][0])
        world = found[0][2]
    return trace, world


def test_a_trace_with_a_fetched_snapshot_plays_as_a_scenario(tmp_path: Path) -> None:
    explorer = Explorer(SCOPES["snapshot"])
    lines = [
        "campaign n1",
        "n1->n2 Prepare",
        "n2->n1 Promise",
        "timer n1 fetch",
        "campaign n2",
        "n2->n3 Prepare b=4",
        "n3->n2 Promise",
        "propose n2",
        "n2->n3 Accept b=4.n2 3:",
        "n3->n2 Accepted b=4.n2 slot=3",
        "snapshot n2",
        "n1->n2 CatchUp",
        "n2->n1 DecidedEntries",
        "install n1",
    ]
    trace, world = follow(explorer, begin(explorer), lines)
    path = tmp_path / "snapshot.txt"
    path.write_text(scenario_of(explorer, trace, "n1 meets the ballot of the snapshot that it installs"))

    assert_same(explorer, world, replicas(path.read_text()))
    assert "n1 follower" in play(path)


def assert_same(explorer: Explorer, world: World, played: ScenarioWorld) -> None:
    """Check that each node has the same role, ballot, promise and log in both."""
    for number, name in zip(world, explorer.names, strict=False):
        mine, theirs = explorer.nodes.known[number].replica, played.hosts[NodeId(name)].running
        here, there = mine.protocol, theirs.protocol
        assert mine.role_name == theirs.role_name
        assert mine.decided == theirs.decided
        assert ballot(here.own_ballot) == ballot(there.own_ballot)
        assert ballot(here.acceptor.promised) == ballot(there.acceptor.promised)
        held = [(entry.slot, str(entry.ballot), entry.value) for entry in here.log.above(mine.decided)]
        assert held == [(entry.slot, str(entry.ballot), entry.value) for entry in there.log.above(theirs.decided)]


def ballot(of: object) -> str:
    """Leave out the incarnation, which a scenario numbers differently."""
    return str(of)
