"""Markers that no run of the simulator reaches, each with the reason and the test that does reach it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from paxospp.testing.simulation.reach.tally import everything


class Beyond(NamedTuple):
    """Why the simulator does not reach a marker, and which test does."""

    reason: str
    test: str
    """``file::test`` below the root of the repository."""


_TESTS = "tests/simulation/test_beyond.py"

BEYOND: Mapping[str, Beyond] = {
    "digests: two replicas differ": Beyond(
        "All replicas of a run apply the same entries with the same machine, so a difference is a failure of the run.",
        f"{_TESTS}::test_two_digests_at_one_slot_are_told_apart",
    ),
    "driver: what waited to be applied came in a snapshot": Beyond(
        "Very rare: a peer has to send slots more slowly than another one sends its snapshot of later slots.",
        f"{_TESTS}::test_what_waits_to_be_applied_when_a_snapshot_brings_it_is_not_applied_again",
    ),
    "learning: a decided slot is gone from the storage": Beyond(
        "A simulated disk reports losses as damage, except the end of a log that is lost while its node runs.",
        f"{_TESTS}::test_a_decided_slot_that_the_storage_forgot_counts_as_damaged_and_is_fetched",
    ),
    "protocol: a replica leads before its own promise is durable": Beyond(
        "The Prepare waits for that write, and a node reports the write in the step that sends the Prepare.",
        f"{_TESTS}::test_promises_of_others_may_be_enough_before_the_own_one_is_durable",
    ),
    "snapshots: one of another cluster is refused": Beyond(
        "All nodes of a run are in one cluster, and frames of another cluster are refused before.",
        f"{_TESTS}::test_a_snapshot_of_another_cluster_is_not_installed",
    ),
    "snapshots: the log has caught up with one that is whole": Beyond(
        "Everything that moves the log also drops a snapshot that is of no use any more, before the next event.",
        f"{_TESTS}::test_a_snapshot_that_is_whole_when_the_log_has_caught_up_is_dropped",
    ),
    "writer: a second snapshot waits for the next write": Beyond(
        "A node publishes or installs one snapshot at a time; only the writer does not rely on that.",
        f"{_TESTS}::test_two_snapshots_are_two_writes",
    ),
}
"""By marker. ``tests/simulation/test_reach.py`` checks that each named test exists."""


def required() -> frozenset[str]:
    """Return every marker and pair that a large enough sweep has to reach."""
    return everything() - BEYOND.keys()
