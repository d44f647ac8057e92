"""The mutants themselves: they apply, and random runs notice them. All of them: ``python -m tests.mutants``."""

from __future__ import annotations

import secrets

import pytest

from tests.mutants import acceptors, disks, identities, leaders, leases, machines, rare, readers
from tests.mutants.by_test import notices
from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import DoesNotApplyError, Mutant, Patch
from tests.mutants.run import UNPATCHED, Hunt, line_of, tell

BLATANT = ("a promise is not persisted", "a hole is never asked for", "a copy of a command is applied again")
SEEDS_MAX = 400


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=lambda mutant: mutant.name)
def test_the_mutant_applies_to_the_source_as_it_stands(mutant: Mutant) -> None:
    mutant.check()


def test_a_mutant_that_does_not_fit_the_source_is_an_error() -> None:
    for old in ("nobody wrote this", "self"):
        with pytest.raises(DoesNotApplyError):
            Mutant("none", "", (Patch("paxospp.engine.rules.voters", old, ""),)).check()


def test_there_are_many_and_each_says_what_it_breaks() -> None:
    protocol, life = (
        [mutant for room in rooms for mutant in room.MUTANTS if not mutant.seen_by]
        for rooms in ((acceptors, leaders, identities, disks), (readers, leases, machines))
    )
    assert len(protocol) >= 30
    assert len(life) >= 12
    assert all(mutant.why.endswith(".") for mutant in MUTANTS.values())


def test_every_rare_mutant_is_one() -> None:
    assert MUTANTS.keys() >= rare.RARE
    assert not [name for name in rare.RARE if MUTANTS[name].seen_by or MUTANTS[name].open]


def test_random_runs_notice_blatant_mutants_soon() -> None:
    hunt = Hunt([MUTANTS[name] for name in BLATANT], first=secrets.randbelow(1 << 31), seeds=30, kills=1, piece=3)
    assert not [line_of(score) for score in hunt.go() if not score.kills]


def test_without_a_patch_the_child_runs_the_code_as_it_is() -> None:
    (told,) = tell(UNPATCHED, 1, 1)
    assert told.seed == 1


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_random_runs_notice_every_mutant() -> None:
    first = secrets.randbelow(1 << 31)
    mutants = [mutant for mutant in MUTANTS.values() if not mutant.seen_by and not mutant.open]
    print(f"\n{len(mutants)} mutants, seeds from {first}")
    hunt = Hunt(mutants, first=first, seeds=SEEDS_MAX, kills=1, on_done=lambda score: print(line_of(score), flush=True))
    assert not [line_of(score) for score in hunt.go() if not score.kills]


@pytest.mark.long
@pytest.mark.parametrize(
    "mutant", [mutant for mutant in MUTANTS.values() if mutant.seen_by], ids=lambda mutant: mutant.name
)
def test_a_named_test_notices_what_no_run_can_show(mutant: Mutant) -> None:
    assert notices(mutant)
