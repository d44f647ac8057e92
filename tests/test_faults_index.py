"""Every consensus bug of FAULTS (c), by its number: where it is tested, or why it waits.

A line is a scenario file, or a file and a test in it. Who renames one hears of it here; a scenario
that bears a number has to stand here, and the mutants that simulate a bug name its number too.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS

ROOT = Path(__file__).resolve().parent.parent
SCENARIOS = "tests/engine/scenarios"

OTHERS = "tests/engine/test_bugs_of_others.py"
WHOLE = "tests/cluster/test_whole_systems.py"
NODES = "tests/cluster/test_node_faults.py"
INSTALL = "tests/cluster/test_snapshots_install.py"
KILLED = "tests/cluster/test_snapshots_killed.py"
EXECUTOR = "tests/execution/test_executor.py"
ONCE = "tests/execution/test_exactly_once.py"

TESTED: dict[str, tuple[str, ...]] = {
    "B1": (f"{SCENARIOS}/B1_promise_survives_restart.txt",),
    "B2": (
        f"{SCENARIOS}/B2_answers_wait_for_the_disk.txt",
        "tests/engine/test_replica.py::test_the_same_accept_twice_is_not_answered_before_the_first_write_returned",
        "tests/engine/test_replica.py::test_the_leaders_own_acceptance_counts_only_once_it_is_on_disk",
    ),
    "B3": (
        f"{SCENARIOS}/B3_promise_and_acceptance_are_one_write.txt",
        f"{OTHERS}::test_B3_whatever_raises_both_writes_both_in_one_batch",
    ),
    "B4": (
        f"{SCENARIOS}/B4_a_trimmed_log_keeps_the_promise.txt",
        "tests/plugins/test_file.py::test_a_trim_gives_space_back_and_keeps_promise_meta_and_snapshot",
        f"{KILLED}::test_a_node_killed_while_it_takes_a_snapshot_starts_again",
    ),
    "B5": (f"{SCENARIOS}/B5_stepping_down_keeps_the_promise.txt",),
    "B6": (f"{SCENARIOS}/B6_stale_promises_do_not_count.txt",),
    "B7": (f"{SCENARIOS}/B7_duplicates_count_once.txt", "tests/engine/test_pending_reads.py"),
    "B8": (f"{SCENARIOS}/B8_a_ballot_is_used_once.txt",),
    "B9": (f"{SCENARIOS}/B9_a_majority_under_mixed_ballots_is_not_chosen.txt",),
    "B12": (
        f"{SCENARIOS}/B12_below_first_is_decided_not_empty.txt",
        f"{INSTALL}::test_a_node_that_was_away_for_longer_than_the_log_goes_back_is_brought_up_by_a_snapshot",
    ),
    "B13": (f"{SCENARIOS}/B13_noop_fills_the_gap.txt",),
    "B14": (f"{SCENARIOS}/B14_a_hole_is_asked_for.txt",),
    "B16": (
        f"{SCENARIOS}/B16_a_wiped_disk_does_not_vote.txt",
        f"{SCENARIOS}/B16_a_wiped_disk_confirms_no_read.txt",
        f"{SCENARIOS}/B16_a_wiped_disk_makes_no_slot_clean.txt",
        f"{INSTALL}::test_a_wiped_node_learns_from_a_snapshot_and_does_not_vote",
    ),
    "B17": (f"{SCENARIOS}/B17_a_rolled_back_disk_is_noticed.txt", "tests/engine/test_peer_book.py"),
    "B18": (
        f"{OTHERS}::test_B18_the_same_boot_of_a_disk_under_another_nonce_is_a_clone_and_dropped",
        f"{NODES}::test_a_clone_of_a_running_node_is_noticed_and_undoes_nothing",
        "tests/plugins/test_directory_lock.py",
    ),
    "B19": (
        f"{OTHERS}::test_B19_a_message_of_another_cluster_changes_nothing_and_is_counted",
        f"{NODES}::test_a_node_of_another_cluster_at_our_addresses_is_dropped_and_both_say_so",
    ),
    "B20": (
        f"{SCENARIOS}/B20_faulty_is_not_none.txt",
        "paxospp/testing/storage_suite/cases_damage.py",
    ),
    "B21": (
        "tests/plugins/test_file.py::test_a_torn_last_record_is_dropped_silently_wherever_it_is_torn",
        "tests/plugins/test_file.py::test_a_later_record_proves_that_an_earlier_one_was_synced",
        "tests/plugins/test_rocksdb.py::test_what_the_log_lost_below_the_anchor_is_faulty_and_the_promise_is_kept",
        "tests/plugins/test_rocksdb.py::test_a_torn_tail_is_dropped_in_silence",
    ),
    "B22": (
        f"{OTHERS}::test_B22_what_a_write_that_never_returned_was_to_allow_is_never_said",
        "tests/plugins/test_file.py::test_a_failed_write_or_sync_is_never_tried_again",
        f"{WHOLE}::test_a_node_whose_disk_fails_ends_and_what_was_acknowledged_stays",
    ),
    "B23": (f"{OTHERS}::test_B23_after_a_failed_write_a_restart_reports_what_is_on_disk_and_nothing_else",),
    "B24": (
        f"{OTHERS}::test_B24_an_acceptance_that_is_written_without_the_promise_before_it_brings_its_own",
        "tests/engine/test_output.py",
        "tests/cluster/test_node_writer.py",
    ),
    "B27": (
        f"{KILLED}::test_a_node_killed_while_it_takes_a_snapshot_starts_again",
        f"{KILLED}::test_a_node_killed_while_it_fetches_or_installs_a_snapshot_starts_again",
    ),
    "B28": (
        f"{EXECUTOR}::test_a_retry_after_a_restore_gets_the_reply_from_before_it",
        f"{ONCE}::test_a_restored_executor_and_one_that_went_on_stay_equal",
        f"{INSTALL}::test_a_caller_whose_answer_was_decided_while_its_node_heard_nothing_is_answered_from_the_table",
    ),
    "B30": (
        f"{SCENARIOS}/B30_a_deposed_leader_confirms_no_read.txt",
        f"{WHOLE}::test_b30_a_deposed_leader_answers_no_stale_read",
    ),
    "B31": (f"{SCENARIOS}/B31_a_new_leader_reads_what_it_recovered.txt",),
    "B32": (
        f"{SCENARIOS}/B32_an_older_round_confirms_nothing.txt",
        f"{WHOLE}::test_a_paused_leader_wakes_up_as_nobody",
    ),
    "B33": (
        "tests/engine/test_lease.py::test_a_leader_that_was_paused_knows_that_its_lease_is_over",
        "tests/engine/test_lease.py::test_nobody_leads_beside_who_holds_a_lease",
        "tests/cluster/test_reads.py::test_a_cut_off_leader_answers_nothing_that_may_be_old",
    ),
    "B34": (
        f"{EXECUTOR}::test_a_copy_of_a_run_in_a_later_slot_changes_nothing_and_gets_the_first_reply",
        f"{ONCE}::test_any_runs_in_any_order_give_each_number_one_effect_and_every_copy_the_first_reply",
    ),
    "B35": (
        f"{EXECUTOR}::test_a_session_expires_by_the_logs_time_at_the_value_that_carries_it",
        f"{EXECUTOR}::test_the_digest_is_the_same_under_another_hash_seed_clock_zone_and_locale",
    ),
    "B41": (
        f"{SCENARIOS}/B41_a_cut_off_replica_does_not_disrupt.txt",
        f"{SCENARIOS}/B41_one_without_a_vote_does_not_disrupt.txt",
        f"{OTHERS}::test_B41_answers_of_one_who_lost_its_vote_do_not_keep_a_ballot_from_leading",
    ),
    "B44": (
        f"{EXECUTOR}::test_the_digest_is_the_same_under_another_hash_seed_clock_zone_and_locale",
        f"{NODES}::test_a_replica_whose_digest_a_majority_does_not_share_stops_and_says_where",
    ),
    "B45": (
        f"{SCENARIOS}/B45_i_only_one_hears_a_quorum.txt",
        f"{SCENARIOS}/B45_ii_the_only_connected_one_is_behind.txt",
        f"{SCENARIOS}/B45_iii_a_chain.txt",
        f"{SCENARIOS}/B45_iv_a_bridge_at_both_ends.txt",
        f"{WHOLE}::test_b45_partial_connectivity_is_live",
    ),
    "B47": (
        f"{SCENARIOS}/B47_a_hung_disk_gives_up_the_lead.txt",
        f"{NODES}::test_a_leader_whose_disk_hangs_steps_down_and_writes_resume_elsewhere",
        f"{WHOLE}::test_b47_writes_go_on_when_the_leaders_disk_hangs",
    ),
    "B50": (
        f"{NODES}::test_a_forwarded_run_goes_no_further_than_one_hop_and_only_if_it_fits",
        f"{WHOLE}::test_b50_nodes_that_take_each_other_for_the_leader_do_not_pass_a_command_to_and_fro",
    ),
    "B52": (
        f"{WHOLE}::test_b52_traffic_goes_on_within_ten_seconds_after_a_peer_came_back_behind_a_half_open_link",
        "tests/rpc/test_half_open.py",
    ),
    "B53": (f"{WHOLE}::test_b53_a_peer_that_cannot_be_reached_is_to_be_seen",),
    "B54": (
        "tests/plugins/test_anchor.py::test_without_a_whole_copy_nobody_can_say_what_was_promised",
        "paxospp/testing/storage_suite/cases_damage.py::test_a_damaged_promise_or_meta_is_never_taken_for_none",
    ),
    "B55": (f"{NODES}::test_ten_times_more_than_it_can_take_changes_no_leader",),
    "B56": (
        "tests/plugins/test_file.py::test_one_sync_per_synced_batch_and_none_for_the_others",
        "paxospp/testing/storage_suite/cases_power.py::test_every_synced_batch_syncs_a_file_before_it_returns",
        "tests/plugins/test_key_value.py::test_a_batch_is_one_write_and_one_sync",
    ),
}

CHANGES = "members cannot be changed yet; who belongs to a cluster is decided once, in slot 1"
PENDING = {
    "B38": CHANGES,
    "B39": CHANGES,
    "B40": CHANGES,
    "B42": f"{CHANGES}. That a node without a vote is not counted is tested as B16",
    "B43": CHANGES,
}

NUMBERS = (
    *(1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21, 22, 23, 24, 27, 28, 30, 31, 32, 33, 34, 35),
    *(38, 39, 40, 41, 42, 43, 44, 45, 47, 50, 52, 53, 54, 55, 56),
)
"""All that FAULTS (c) lists."""


def test_every_number_is_tested_or_pending_and_none_is_both() -> None:
    assert sorted([*TESTED, *PENDING]) == sorted(f"B{number}" for number in NUMBERS)
    assert all(TESTED.values())
    assert all(PENDING.values())


@pytest.mark.parametrize("number", TESTED)
def test_what_is_named_is_there(number: str) -> None:
    for place in TESTED[number]:
        path, _, name = place.partition("::")
        text = (ROOT / path).read_text()
        assert not name or re.search(rf"def {name}\b", text), f"{path} has no {name}"


def test_every_scenario_that_bears_a_number_stands_here() -> None:
    named = {place for places in TESTED.values() for place in places}
    numbered = {f"{SCENARIOS}/{path.name}" for path in (ROOT / SCENARIOS).glob("B[0-9]*.txt")}
    assert numbered <= named


def test_mutants_name_only_numbers_that_exist() -> None:
    said = {number for mutant in MUTANTS.values() for number in re.findall(r"\bB[0-9]+\b", mutant.why)}
    assert said <= {*TESTED, *PENDING}
