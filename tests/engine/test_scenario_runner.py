"""The scenario runner: what each verb does, which messages a selection matches, and which error a mistake raises.

The scenario files test the engine; this file tests the runner.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import paxospp.testing.scenario
from paxospp.errors import InvariantViolatedError
from paxospp.testing.scenario import Scenario, ScenarioError, play
from paxospp.testing.scenario.language import usages
from paxospp.testing.scenario.verbs import VERBS


def tell(*commands: str, scenario: Scenario | None = None) -> list[str]:
    """Run commands one after the other and return the lines that say what happened."""
    scenario = scenario or Scenario()
    return [line for command in commands for line in scenario.run(command)]


def led(*settings: str) -> Scenario:
    """Return a scenario of three nodes in which n1 leads and no message waits."""
    scenario = Scenario()
    tell(*settings, "cluster 3", "campaign n1", "stabilize", scenario=scenario)
    return scenario


# The language as a whole.


def test_the_language_describes_exactly_the_verbs_that_exist() -> None:
    assert set(usages()) == set(VERBS)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_a_verb_with_too_many_words_raises_its_usage(verb: str) -> None:
    """Verbs that take any number of words name the wrong word instead."""
    with pytest.raises(ScenarioError) as caught:
        tell(f"{verb} nonsense nonsense nonsense nonsense nonsense", scenario=led())
    assert "usage: " in str(caught.value) or "nonsense" in str(caught.value).split(": ", 1)[1]


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("delver n1->n2", "'delver' is not a verb; did you mean 'deliver'?"),
        ("", "'' is not a verb; known: all, campaign,"),
        ("campaign", "usage: campaign n2"),
        ("campaign n4", "'n4' is not a node; known: n1, n2, n3"),
        ("campaign one", "'one' is not a node; known: n1, n2, n3"),
        ("cluster three", "'three' is not a number of nodes"),
        ("cluster 0", "a cluster of a scenario has 1 to 9 nodes"),
        ("cluster 3 blanc", "'blanc' is not a kind of cluster; did you mean 'blank'?"),
        ("settings", "usage: settings alpha=2"),
        ("settings n1", "usage: settings alpha=2"),
        ("settings alpa=3", "'alpa' is not a setting; did you mean 'alpha'?"),
        ("settings alpha=few", "alpha: 'few' is not of type int"),
        ("settings alpha=3 four", "'four' is not a setting: use NAME=VALUE"),
        ("read n1 seven", "'seven' is not a number of a read"),
        ("read n1 7 leese", "'leese' does not confirm a read; did you mean 'lease'?"),
        ("lease soon", "'soon' is not a time in seconds"),
        ("run -1", "'-1' is not a time in seconds"),
        ("wait inf", "'inf' is not a time in seconds"),
        ("deliver", "say which messages"),
        ("deliver n1->n9", "'n9' is not a node; known: n1, n2, n3"),
        ("deliver n1->n2 Acept", "'Acept' does not select messages; did you mean 'Accept'?"),
        ("deliver Accept slit=3", "no message has a field 'slit'; did you mean 'slot'?"),
        ("deliver Accept and", "say which messages"),
        ("deliver among n1", "among: name two nodes or more"),
        ("deliver n1->n2 Accept", "no such message waits; waiting: only heartbeats"),
        ("only Accept first", "a standing rule cannot select by position"),
        ("all Accept", "usage: all except SELECTION · all"),
        ("persist n1 oldest n2", "'oldest' is not a node"),
        ("rollback n1 99", "the disk of n1 has only 2 writes"),
        ("damage n1 0", "'0' is not a slot: use a number of 1 or more"),
        ("damage n1 5..3", "'5..3': the last slot is below the first"),
        ("snapshot n1 2", "n1 has applied the slots up to 1, not up to 2"),
        ("snapshot n1 1 4", "a snapshot up to slot 1 does not cover all slots below 4"),
        ("lose n1", "n1 has no snapshot to lose"),
        ("heartbeats maybe", "heartbeats: 'maybe' is not 'on' or 'off'"),
    ],
)
def test_a_command_that_cannot_be_carried_out_says_why(command: str, fault: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        led().run(command)
    assert str(caught.value).startswith(f"{command!r}: {fault}")


def test_a_scenario_begins_with_a_cluster() -> None:
    for command in ("campaign n1", "deliver n1->n2", "show", "run 1"):
        with pytest.raises(ScenarioError, match="no cluster was made yet"):
            tell(command)


@pytest.mark.parametrize(
    "command", ["campaign n2", "propose n2 x", "fill n2", "read n2 1", "lease 1 n2", "snapshot n2 1"]
)
def test_a_command_for_a_host_that_is_down_is_an_error(command: str) -> None:
    scenario = led()
    scenario.run("crash n2")
    with pytest.raises(ScenarioError, match="n2 is down"):
        scenario.run(command)


def test_a_file_is_played_block_by_block_and_its_prose_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("# Prose.\ncluster 1\n----\nwhatever\n\n# More prose,\n# no command.\n\nrun 0.1\nshow\n----\n")

    assert play(file) == (
        "# Prose.\ncluster 1\n----\nok\n\n# More prose,\n# no command.\n\nrun 0.1\nshow\n----\n"
        "n1 persist promised=2.n1\nn1 leads b=2.n1\nn1 leader ballot=2.n1 leader=n1 decided=1 applied=[]\n"
    )


def test_a_mistake_in_a_file_is_reported_with_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("\n# Prose.\ncluster 3\n----\nok\n\n# More.\nrun 0.1\nstart n1\nstrat n1\n----\n")

    with pytest.raises(ScenarioError) as caught:
        play(file)
    assert str(caught.value) == "a.txt:10: 'strat n1': 'strat' is not a verb; did you mean 'start'?"


def test_an_error_of_the_engine_keeps_its_type_and_gets_a_note_with_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*words: object) -> None:
        raise InvariantViolatedError("rule 4")

    monkeypatch.setitem(VERBS, "heal", broken)
    file = tmp_path / "a.txt"
    file.write_text("# Prose.\ncluster 3\nheal\n")

    with pytest.raises(InvariantViolatedError) as caught:
        play(file)
    assert caught.value.__notes__ == ["a.txt:3: 'heal'"]


def test_the_runner_uses_no_private_attributes() -> None:
    """An attribute that starts with an underscore may only be read from ``self``."""
    wrong = [
        f"{file.name}:{node.lineno}: {ast.unparse(node)}"
        for file in sorted(Path(paxospp.testing.scenario.__file__).parent.glob("*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
        if not (isinstance(node.value, ast.Name) and node.value.id == "self")
    ]
    assert wrong == []


# Selecting messages.


def proposed(*values: str) -> Scenario:
    """Return a scenario in which n1 has proposed ``values`` from slot 2 on and its Accepts wait."""
    scenario = led()
    tell(*(f"propose n1 {value}" for value in values), scenario=scenario)
    return scenario


@pytest.mark.parametrize(
    ("selection", "arrive"),
    [
        ("n1->n2 Accept", ["n2 2:a", "n2 3:b", "n2 4:c"]),
        ("*->n3 Accept", ["n3 2:a", "n3 3:b", "n3 4:c"]),
        ("n1->* Accept slot=3", ["n2 3:b", "n3 3:b"]),
        ("n1->n2,n3 Accept slot=3", ["n2 3:b", "n3 3:b"]),
        ("n2<->n1 Accept value=a", ["n2 2:a"]),
        ("among n1 n3 Accept slot=4", ["n3 4:c"]),
        ("Accept slot=4", ["n2 4:c", "n3 4:c"]),
        ("n1->n2 Accept first", ["n2 2:a"]),
        ("n1->n2 Accept last", ["n2 4:c"]),
        ("n1->n2 Accept 2nd", ["n2 3:b"]),
        ("Accept ballot=2.n1 decided=1 slot=2", ["n2 2:a", "n3 2:a"]),
        ("n1->n2 Accept last and n1->n3 Accept first", ["n2 4:c", "n3 2:a"]),
    ],
)
def test_a_selection_matches_these_messages(selection: str, arrive: list[str]) -> None:
    told = proposed("a", "b", "c").run(f"deliver {selection}")
    assert [f"{line[4:6]} {line.split()[3]}" for line in told if " Accept " in line] == arrive


def test_two_equal_messages_are_delivered_one_at_a_time() -> None:
    scenario = proposed("a")
    tell("deliver n1->n2 Accept", "persist n2", "drop n2->n1 Accepted", "wait 0.25 n1", scenario=scenario)
    tell("duplicate n1->n2 Accept", "wait 0.5 n1", scenario=scenario)
    tell("deliver n1->n2 Accept first", scenario=scenario)
    assert len(tell("show waiting n2->n1 Accepted", scenario=scenario)) == 2
    tell("deliver n2->n1 Accepted first", scenario=scenario)
    assert len(tell("show waiting n2->n1 Accepted", scenario=scenario)) == 1


def test_a_selection_can_name_a_part_or_an_entry_of_a_promise() -> None:
    scenario = led("settings chunk_bytes_max=3")
    tell("propose n1 aa", "propose n1 bb", "deliver n1->n2 Accept", "persist n2", "crash n1", scenario=scenario)
    tell("drop *->*", "campaign n3", "persist n3", "deliver n3->n2 Prepare", "persist n2", scenario=scenario)

    assert tell("show waiting n2->n3 Promise", scenario=scenario) == [
        "waiting n2->n3 Promise b=3.n3 decided=1 accepted=[2:aa@2.n1] part=1/2",
        "waiting n2->n3 Promise b=3.n3 decided=1 accepted=[3:bb@2.n1] part=2/2",
    ]
    assert tell("show waiting part=2", scenario=scenario) == tell("show waiting part=2/2", scenario=scenario)
    assert tell("show waiting holds=3", scenario=scenario) == tell("show waiting part=2", scenario=scenario)


# Delivering and losing messages.


def test_duplicate_delivers_a_message_and_leaves_it_waiting() -> None:
    scenario = proposed("a")
    told = tell("duplicate n1->n2 Accept", "deliver n1->n2 Accept", scenario=scenario)
    assert told == 2 * ["n1->n2 Accept b=2.n1 2:a decided=1"]


def test_drop_loses_a_message_and_says_so() -> None:
    scenario = proposed("a")
    assert scenario.run("drop n1->n2 Accept") == ["lost n1->n2 Accept b=2.n1 2:a decided=1"]
    assert scenario.run("show waiting n1->n2") == ["nothing waits"]


def test_only_loses_all_other_messages_until_all_and_reports_them() -> None:
    scenario = proposed("a", "b")
    assert tell("only n1->n2 Accept slot=2 and Accepted", "stabilize", scenario=scenario) == [
        "n1 persist accepted=[2:a@2.n1 3:b@2.n1]",
        "n1->n2 Accept b=2.n1 2:a decided=1",
        "lost n1->n3 Accept b=2.n1 2:a decided=1",
        "lost n1->n2 Accept b=2.n1 3:b decided=1",
        "lost n1->n3 Accept b=2.n1 3:b decided=1",
        "n2 persist accepted=[2:a@2.n1]",
        "n2->n1 Accepted b=2.n1 slot=2",
        "n1 applies 2:a",
    ]
    assert "n1->n3 Accept b=2.n1 3:b decided=2" in tell("all", "run 0.3", scenario=scenario)


def test_lost_heartbeats_are_reported_only_while_heartbeats_are_on() -> None:
    scenario = led()
    assert tell("only Accept", "run 0.1", scenario=scenario) == []
    assert "lost n2->n1 Heartbeat round=3" in tell("heartbeats on", "run 0.1", scenario=scenario)
    told = tell("heartbeats off", "only heartbeats", "run 0.1", "show waiting", scenario=scenario)
    assert told == ["nothing waits"]


def test_messages_after_except_are_lost() -> None:
    scenario = proposed("a")
    told = tell("only among n1 n2 except Accepted", "stabilize", scenario=scenario)
    assert told[1:] == [
        "n1->n2 Accept b=2.n1 2:a decided=1",
        "lost n1->n3 Accept b=2.n1 2:a decided=1",
        "n2 persist accepted=[2:a@2.n1]",
        "lost n2->n1 Accepted b=2.n1 slot=2",
    ]
    told = tell("propose n1 b", "all except n1->n3 Accept", "stabilize", scenario=scenario)
    assert "lost n1->n3 Accept b=2.n1 3:b decided=1" in told
    assert "n2->n1 Accepted b=2.n1 slot=3" in told


def test_a_held_message_waits_until_deliver_names_it_or_until_all() -> None:
    scenario = proposed("a")
    assert tell("hold n1->n2 Accept", "hold n3->n1 Accepted", "stabilize", scenario=scenario) == [
        "n1 persist accepted=[2:a@2.n1]",
        "n1->n3 Accept b=2.n1 2:a decided=1",
        "n3 persist accepted=[2:a@2.n1]",
    ]
    assert tell("deliver n1->n2 Accept", scenario=scenario) == ["n1->n2 Accept b=2.n1 2:a decided=1"]
    assert "n3->n1 Accepted b=2.n1 slot=2" in tell("all", "stabilize", scenario=scenario)


def test_deliver_overrides_a_standing_rule_but_not_a_cut_link() -> None:
    scenario = proposed("a")
    tell("only Nack", "oneway n1 n3", scenario=scenario)
    assert scenario.run("deliver Accept") == [
        "n1->n2 Accept b=2.n1 2:a decided=1",
        "lost n1->n3 Accept b=2.n1 2:a decided=1",
    ]


def test_cut_loses_both_directions_and_oneway_one_until_heal() -> None:
    scenario = proposed("a")
    told = tell("cut n1 n2", "oneway n3 n1", "stabilize", scenario=scenario)
    assert "lost n1->n2 Accept b=2.n1 2:a decided=1" in told
    assert "n1->n3 Accept b=2.n1 2:a decided=1" in told
    assert "lost n3->n1 Accepted b=2.n1 slot=2" in told
    assert "n1 applies 2:a" in tell("heal", "run 0.3", scenario=scenario)


def test_a_message_that_a_replica_drops_is_reported_as_dropped() -> None:
    scenario = proposed("a")
    tell("deliver n1->n2 Accept", "persist n2", "crash n2", "start n2", scenario=scenario)
    tell("campaign n2", "persist n2", scenario=scenario)
    told = scenario.run("deliver n2->n1 Prepare")
    assert told == ["n2->n1 Prepare b=3.n2 from=2", "  n1 drops it"]


# Time, writes and settings.


def test_wait_and_run_let_time_pass_only_for_the_nodes_they_name() -> None:
    scenario = led()
    assert tell("heartbeats on", "wait 0.1 n2", "show waiting", scenario=scenario) == [
        "waiting n2->n1 Heartbeat round=2",
        "waiting n2->n3 Heartbeat round=2",
    ]
    told = tell("run 0.05 n1 n2", "show waiting", scenario=scenario)
    assert "n2->n1 Heartbeat round=2" in told
    assert "waiting n2->n3 Heartbeat round=2" in told


def test_tick_does_what_is_due_without_letting_time_pass() -> None:
    scenario = led()
    tell("heartbeats on", "wait 0.1 n1", "drop *->*", scenario=scenario)
    assert tell("tick n1", "show waiting", scenario=scenario) == ["nothing waits"]
    assert tell("tick n3 n2", "show waiting *->n1", scenario=scenario) == [
        "waiting n3->n1 Heartbeat round=2",
        "waiting n2->n1 Heartbeat round=2",
    ]


def test_writes_return_one_by_one_or_all_together_and_not_while_the_disk_hangs() -> None:
    scenario = led()
    tell("propose n1 a", "propose n1 b", "propose n1 c", scenario=scenario)
    assert tell("persist n1 oldest", scenario=scenario) == ["n1 persist accepted=[2:a@2.n1]"]
    assert tell("persist n1 n2", scenario=scenario) == ["n1 persist accepted=[3:b@2.n1 4:c@2.n1]"]

    tell("hang n2", "deliver n1->n2 Accept", scenario=scenario)
    assert [line for line in tell("stabilize", scenario=scenario) if line.startswith("n2 persist")] == []
    assert tell("show log n2", scenario=scenario)[1:] == [
        "n2 has not written accepted=[2:a@2.n1]",
        "n2 has not written accepted=[3:b@2.n1]",
        "n2 has not written accepted=[4:c@2.n1]",
    ]


def test_settings_of_a_host_take_effect_at_its_next_start() -> None:
    scenario = led("settings n2 chunk_bytes_max=1")
    tell("propose n1 aa", "propose n1 bb", "deliver Accept", "persist n2 n3", "drop *->*", scenario=scenario)
    tell("hold Promise", "campaign n1", "crash n1", "wait 1 n3", "campaign n3", "stabilize n2 n3", scenario=scenario)
    assert len(scenario.run("show waiting n2->n3 Promise")) == 2

    tell("drop *->*", "settings n3 chunk_bytes_max=1", "campaign n2", "stabilize n2 n3", scenario=scenario)
    assert len(scenario.run("show waiting n3->n2 Promise")) == 1
    tell("drop *->*", "crash n3", "start n3", "run 0.1 n2 n3", "campaign n2", "stabilize n2 n3", scenario=scenario)
    assert len(scenario.run("show waiting n3->n2 Promise")) == 2


def test_settings_of_an_unknown_node_are_an_error() -> None:
    with pytest.raises(ScenarioError, match="settings: 'n4' is not a node; known: n1, n2, n3"):
        tell("settings n4 alpha=2", "cluster 3")


def test_settings_reach_the_engine() -> None:
    assert tell("fill n1", scenario=led("settings alpha=2")) == ["n1 proposed 2 values"]


# Disks.


def test_a_crash_loses_writes_that_have_not_returned_and_a_power_cut_writes_that_were_not_synced() -> None:
    scenario = led()
    tell("propose n1 a", "stabilize", "run 0.1", scenario=scenario)
    decided = "n1 disk promised=2.n1 decided=2 log=[1:{n1 n2 n3}@1.n1 2:a@2.n1]"
    assert tell("propose n1 b", "show log n1", scenario=scenario) == [
        decided,
        "n1 has not written accepted=[3:b@2.n1]",
    ]
    assert tell("crash n1", "show log n1", scenario=scenario) == [decided]
    assert tell("powercut n1", "show log n1", scenario=scenario) == [decided.replace("decided=2", "decided=1")]


def test_a_disk_rolls_back_to_its_first_writes() -> None:
    scenario = led()
    tell("propose n1 a", "stabilize", "propose n1 b", "stabilize", scenario=scenario)
    assert tell("rollback n1 3", "show n1", "show log n1", scenario=scenario) == [
        "n1 is down",
        "n1 disk promised=2.n1 decided=1 log=[1:{n1 n2 n3}@1.n1 2:a@2.n1]",
    ]
    assert tell("rollback n1 0", "show log n1", scenario=scenario) == ["n1 disk promised=None decided=0 log=[]"]


def test_damage_is_shown_until_the_slot_is_written_again() -> None:
    scenario = led()
    tell("propose n1 a", "propose n1 b", "stabilize", "crash n3", scenario=scenario)
    assert tell("damage n3 2", "damage n3 4..", "show log n3", scenario=scenario) == [
        "n3 disk promised=2.n1 decided=1 log=[1:{n1 n2 n3}@1.n1 2:faulty 3:b@2.n1 4..:faulty]"
    ]
    tell("start n3", "run 1", scenario=scenario)
    assert "2:a@2.n1 3:b@2.n1" in scenario.run("show log n3")[0]


def test_a_second_snapshot_of_one_host_replaces_the_first() -> None:
    """It used to raise AssertionError: all writes of a disk were merged into one, and a batch may name one snapshot."""
    scenario = led()
    tell("propose n1 a", "propose n1 b", "stabilize", "snapshot n1 2", scenario=scenario)
    told = tell("snapshot n1 3", "stabilize", "show log n1", scenario=scenario)
    assert told == [
        "n1 persist decided=3 trim=3 snapshot=2",
        "n1 persist decided=3 trim=4 snapshot=3",
        "n1 disk promised=2.n1 decided=3 snapshot=3 first=4 log=[]",
    ]
    told = tell("crash n1", "start n1", "show n1", scenario=scenario)
    assert told == ["n1 follower ballot=None leader=None decided=3 applied=[(2:a 3:b)]"]
    assert tell("rollback n1 4", "show log n1", scenario=scenario) == [
        "n1 disk promised=2.n1 decided=3 snapshot=2 first=3 log=[3:b@2.n1]"
    ]


def test_a_wiped_host_that_installed_a_snapshot_starts_again() -> None:
    """It used to raise StopIteration: the founding membership (slot 1) was looked for among the host's own writes."""
    scenario = led()
    tell("propose n1 a", "stabilize", "snapshot n1 2", "stabilize", "cut n2 n3", scenario=scenario)
    told = tell("wipe n3", "start n3", "run 0.3", scenario=scenario)
    assert "n3 needs a snapshot, n1 has one" in told
    tell("install n3 2 n1", "stabilize", scenario=scenario)
    tell("crash n3", "start n3", scenario=scenario)
    told = tell("propose n1 b", "stabilize", "run 0.3", "show n3", scenario=scenario)
    assert told[-1] == ("n3 follower ballot=2.n1 leader=n1 decided=3 applied=[(2:a) 3:b] does not vote")


def test_an_installed_snapshot_holds_what_its_source_had_applied_up_to_its_slot() -> None:
    scenario = led()
    tell("cut n1 n3", "cut n2 n3", "propose n1 a", "propose n1 b", "stabilize", scenario=scenario)
    tell("snapshot n1 2", "stabilize", "heal", scenario=scenario)
    assert tell("install n3 2 n1", "show n3", scenario=scenario) == [
        "n3 applies 2:a (the snapshot of n1 up to slot 2)",
        "n3 follower ballot=2.n1 leader=n1 decided=2 applied=[(2:a)]",
    ]


def test_installing_a_snapshot_that_its_source_does_not_have_is_an_error() -> None:
    scenario = led()
    tell("propose n1 a", "propose n1 b", "stabilize", scenario=scenario)
    with pytest.raises(ScenarioError, match="n1 has no snapshot up to slot 3; its disk holds none"):
        scenario.run("install n3 3 n1")
    scenario.run("snapshot n1 2")
    with pytest.raises(ScenarioError, match="its disk holds none"):
        scenario.run("install n3 2 n1")  # the write that names it has not returned
    scenario.run("persist n1")
    with pytest.raises(ScenarioError, match="n1 has no snapshot up to slot 3; its disk holds the one up to slot 2"):
        scenario.run("install n3 3 n1")
    tell("stabilize", "run 0.1", scenario=scenario)
    with pytest.raises(ScenarioError, match="n3 has applied the slots up to 3 already"):
        scenario.run("install n3 2 n1")
    scenario.run("lose n1")
    with pytest.raises(ScenarioError, match="its disk holds none"):
        scenario.run("install n2 2 n1")
    scenario.run("crash n1")
    with pytest.raises(ScenarioError, match="n1 is down"):
        scenario.run("install n2 2 n1")


def test_a_machine_that_never_applied_the_trimmed_slots_takes_no_snapshot() -> None:
    scenario = led()
    tell("propose n1 a", "propose n1 b", "stabilize", "run 0.1", "crash n2", "trim n2 3", "start n2", scenario=scenario)
    with pytest.raises(ScenarioError, match="'snapshot n2 3': this machine does not have the value of slot 1"):
        scenario.run("snapshot n2 3")


def test_a_host_whose_snapshot_is_lost_keeps_its_membership_and_has_applied_nothing() -> None:
    scenario = led()
    tell("propose n1 a", "stabilize", "snapshot n1 2", "stabilize", "lose n1", scenario=scenario)
    assert tell("crash n1", "start n1", "show n1", "show log n1", scenario=scenario) == [
        "n1 follower ballot=None leader=None decided=2 applied=[]",
        "n1 disk promised=2.n1 decided=2 snapshot=2(lost) first=3 log=[]",
    ]


def test_a_start_with_small_chunks_reads_the_whole_log() -> None:
    """The storage returns no more bytes per read than it is asked for, so loading takes many reads."""
    scenario = led("settings chunk_bytes_max=1")
    tell("propose n1 aa", "propose n1 bb", "propose n1 cc", "deliver n1->n2 Accept", "persist n2", scenario=scenario)
    tell("crash n1", "crash n2", "start n2", "run 0.1 n2 n3", "campaign n2", scenario=scenario)
    told = tell("stabilize n2 n3", scenario=scenario)
    assert "n2->n3 Accept b=3.n2 4:cc decided=1" in told


# Showing leaders, reads and leases.


def test_proposals_are_shown_with_the_nodes_that_accepted_them() -> None:
    scenario = led()
    tell("propose n1 a", "propose n1 b", "deliver n1->n2 Accept last", "persist n2", scenario=scenario)
    tell("deliver n2->n1 Accepted", scenario=scenario)
    assert scenario.run("show proposals n1 n2") == [
        "n1 proposes 2:a@2.n1 accepted by nobody",
        "n1 proposes 3:b@2.n1 accepted by n2",
        "n1 may propose 254 more",
        "n2 does not lead",
    ]
    tell("persist n1", scenario=scenario)
    assert scenario.run("show proposals n1")[:2] == [
        "n1 proposes 2:a@2.n1 accepted by n1",
        "n1 proposes 3:b@2.n1 accepted by n1 n2",
    ]
    tell("stabilize", scenario=scenario)
    assert scenario.run("show proposals n1") == ["n1 may propose 256 more"]


def test_reads_are_shown_while_they_wait() -> None:
    scenario = led()
    tell("run 0.1", "read n1 1", "read n2 2", scenario=scenario)
    assert scenario.run("show reads n1 n2") == ["n1 reads that wait: 1", "n2 reads that wait: 2"]
    tell("stabilize", scenario=scenario)
    assert scenario.run("show reads n1 n2") == ["n1 reads that wait: none", "n2 reads that wait: none"]


def test_leases_are_granted_once_they_are_enabled_and_confirm_reads_at_once() -> None:
    scenario = led()
    assert tell("run 0.1", "lease 1", "tick n2", "show log n2", scenario=scenario)[-1] == (
        "n2 has not written meta=[lease]"
    )
    tell("run 0.2", scenario=scenario)
    assert scenario.run("show leases n2 n1") == [
        "n2 granted leases to n1 until 1.20 (now 0.30)",
        "n1 granted leases to nobody (now 0.30)",
    ]
    assert scenario.run("read n1 1 lease") == ["n1 read 1 may be served from slot 1"]
    assert scenario.run("read n1 2") == []
    tell("lease 0", "wait 1.1", scenario=scenario)
    assert scenario.run("show leases n2") == ["n2 granted leases to nobody (now 1.40)"]
