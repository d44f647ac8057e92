"""The names of mutants that random runs rarely show.

Two hundred seeds from 1000 on did not show these on 2026-11-30, so each is given up to ``SEEDS`` seeds if time
allows. When a change of the simulator makes it show one sooner, remove the name.
"""

SEEDS = 1_000

RARE = frozenset(
    {
        "a damaged answer counts for a founding",
        "a rolled-back disk is admitted",
        "a founder's own alpha bounds the window of the founding that it completes",
        "a lease of an earlier boot is handed to another leader",
        "a lease that may be overwritten counts as stored",
        "a new boot is heard before its first heartbeat",
        "a promise of any incarnation counts",
        "a read is confirmed by an incarnation without a vote",
        "a snapshot is taken that is older than the damaged one",
        "answers of an incarnation without a vote make a replica quorum-connected",
        "a record that cannot be read counts as absent",
    }
)
