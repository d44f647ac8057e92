"""Mutants that random runs show seldom, each by its name.

Two hundred seeds from 1000 on did not show these on 2026-11-30. They get up to ``SEEDS`` if there is time. If you make
the simulator reach one sooner, take its name out.
"""

SEEDS = 1_000

RARE = frozenset(
    {
        "a damaged answer helps to found",
        "a disk that was put back in time is let in",
        "a founder's own alpha bounds the window of the founding that it completes",
        "a lease of an earlier boot is handed to another leader",
        "a lease that may be overwritten counts as stored",
        "a new boot needs no introduction",
        "a promise counts for whoever bears the name",
        "a read is confirmed by one without a vote",
        "a snapshot is taken that is older than the damaged one",
        "answers of an incarnation without a vote make a replica quorum-connected",
        "what cannot be read is not there",
    }
)
