"""Means by which runs reach bad states soon: settings beyond the limits, rules on links, contested elections."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from types import SimpleNamespace
from typing import cast, get_args

import pytest

from paxospp.config import NodeConfig
from paxospp.messages import Accept, Heartbeat, Message, Prepare, SnapshotChunk
from paxospp.model import Slot
from paxospp.testing.simulation.faults.applied_rules import AppliedRules
from paxospp.testing.simulation.faults.families import draws_contests
from paxospp.testing.simulation.faults.link_rules import EVERYTHING, GROUPS, LinkRule
from paxospp.testing.simulation.machines import Ledger, ledger_calls
from paxospp.testing.simulation.node_settings import draw_configs, is_extreme
from paxospp.testing.simulation.phases import SimulationRun
from paxospp.testing.simulation.plan import RunPlan
from paxospp.testing.simulation.world.disk import SimulatedDisk
from paxospp.testing.simulation.world.path import Packet
from paxospp.testing.simulation.world.virtual_time import Clock


def test_half_of_all_seeds_draw_settings_past_the_limits_and_the_others_none() -> None:
    extreme = [seed for seed in range(400) if is_extreme(seed)]
    drawn = [config for seed in extreme for config in draw_configs(seed, 3)]

    assert 160 < len(extreme) < 240
    assert min(config.chunk_bytes_max for config in drawn) == 1
    assert min(config.alpha for config in drawn) == 1
    assert min(config.resend_interval_s for config in drawn) == 0.005
    assert min(config.tail_bytes_max for config in drawn) == 1
    assert min(config.snapshot_log_slots_max for config in drawn) == 2
    assert any(len({config.alpha for config in draw_configs(seed, 3)}) > 1 for seed in extreme)
    for seed in set(range(400)) - set(extreme):
        (config,) = set(draw_configs(seed, 3))
        assert config == NodeConfig(**{field.name: getattr(config, field.name) for field in fields(NodeConfig)})


def a_network(*rules: LinkRule) -> tuple[Clock, AppliedRules, Packet, list[Packet]]:
    clock = Clock()
    arrived: list[Packet] = []
    packet = cast("Packet", (SimpleNamespace(rules=rules, under_way=0), None, None))
    return clock, AppliedRules("7", clock, arrived.append, Counter()), packet, arrived


def test_a_rule_is_about_its_kinds_only() -> None:
    _, applied_rules, packet, _ = a_network(LinkRule(frozenset({Prepare}), loss=1.0))

    assert applied_rules.takes(packet, Prepare)
    assert not applied_rules.takes(packet, Heartbeat)


def test_a_rule_may_be_about_one_slot_only() -> None:
    _, applied_rules, packet, _ = a_network(LinkRule(frozenset({Accept}), loss=1.0, slot=7))

    for slot, is_lost in ((7, True), (8, False)):
        about = cast("Packet", (packet[0], None, SimpleNamespace(slot=slot)))
        assert applied_rules.takes(about, Accept) is is_lost


def test_a_copy_with_a_delay_comes_after_the_message_and_waits_for_no_leader() -> None:
    clock, applied_rules, packet, arrived = a_network(LinkRule(frozenset({SnapshotChunk}), copies=1.0, delay_s=0.01))

    assert not applied_rules.takes(packet, SnapshotChunk)
    assert not arrived
    clock.run_until(clock.now + 1)
    assert arrived == [packet]


def test_a_held_message_arrives_after_the_leader_has_changed() -> None:
    clock, applied_rules, packet, arrived = a_network(LinkRule(frozenset({Accept}), hold=1.0))

    assert applied_rules.takes(packet, Accept)
    clock.run_until(clock.now + 60)
    assert not arrived
    for _ in range(3):
        applied_rules.on_change()
    clock.run_until(clock.now + 1)
    assert arrived == [packet]


def test_a_message_that_is_still_held_arrives_when_the_faults_end() -> None:
    clock, applied_rules, packet, arrived = a_network(LinkRule(frozenset({Accept}), copies=1.0))

    assert not applied_rules.takes(packet, Accept)
    applied_rules.release_all()
    clock.run_until(clock.now + 1)
    assert arrived == [packet]


def test_every_kind_of_message_is_in_one_group() -> None:
    assert sum(len(group) for group in GROUPS) == len(EVERYTHING)
    assert frozenset(get_args(Message)) == EVERYTHING


@pytest.mark.long
def test_contested_elections_reach_what_random_faults_hardly_ever_do() -> None:
    least = {
        "a node was made to campaign": 100,
        "what was chosen was damaged at a member of the next quorum": 5,
        "a message arrived that was held over a change of the lead": 100,
        "leading: room for one value, because only the next slot is clean": 1,
        "promises: an answer in several parts is complete": 1,
        "promises: of two values the one of the higher ballot is proposed": 1,
        "protocol: a new leader has not seen the end of the log": 1,
        "protocol: the promise of a campaign that was given up becomes durable": 1,
    }
    seen: Counter[str] = Counter()
    for seed in [seed for seed in range(200) if draws_contests(seed)][:60]:
        run = SimulationRun(RunPlan.draw(seed, machine=Ledger, workload=ledger_calls))
        run.go()
        seen.update(run.world.reach.hits)
        seen.update(run.world.coverage)
        if all(seen[what] >= count for what, count in least.items()):
            return
    assert [what for what, count in least.items() if seen[what] < count] == []


def test_the_end_of_a_log_is_lost_with_what_was_known_decided_and_never_below_the_snapshot() -> None:
    image = SimulatedDisk().image
    image.decided = Slot(9)
    image.lose_end(Slot(6))

    assert (image.decided, image.open_from) == (5, 6)
    image.first = Slot(5)
    image.lose_end(Slot(2))
    assert (image.decided, image.open_from) == (4, 5)
