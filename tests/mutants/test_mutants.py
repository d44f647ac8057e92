"""Every mutant applies to the source, and random runs notice it. ``python -m tests.mutants`` runs all of them."""

from __future__ import annotations

import secrets

import pytest

from tests.mutants import acceptors, disks, identities, leaders, leases, machines, rare, readers
from tests.mutants.by_test import notices
from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import DoesNotApplyError, Mutant, Patch
from tests.mutants.run import UNPATCHED, Hunt, line_of, run_seeds

BLATANT = ("a promise is not persisted",)
"""CI hunts all others, with ``python -m tests.mutants``."""
SEEDS_MAX = 400


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=lambda mutant: mutant.name)
def test_the_mutant_applies_to_the_source_as_it_stands(mutant: Mutant) -> None:
    mutant.check()


def test_a_mutant_that_does_not_apply_raises_an_error() -> None:
    for old in ("nobody wrote this", "self"):
        with pytest.raises(DoesNotApplyError):
            Mutant("none", "", (Patch("paxospp.engine.rules.voters", old, ""),)).check()


def test_a_mutant_that_uses_a_name_of_nothing_raises_an_error() -> None:
    patch = Patch("paxospp.engine.rules.voters", "return name in self.names", "return nombre in self.names")
    with pytest.raises(DoesNotApplyError, match="does not define: nombre"):
        Mutant("none", "", (patch,)).check()


def test_a_mutant_that_uses_an_attribute_of_nothing_raises_an_error() -> None:
    line = "            runs = [(run, RUN_COMMANDS_MAX) for run in caller.resend(self._resend_from)]\n"
    patch = Patch("paxospp.node.local", line, line.replace("caller.resend(", "caller._tokens("))
    with pytest.raises(DoesNotApplyError, match="nothing it imports has: _tokens"):
        Mutant("none", "", (patch,)).check()


def test_there_are_enough_mutants_and_each_says_what_it_breaks() -> None:
    deciding, applying = (
        [mutant for module in modules for mutant in module.MUTANTS if not mutant.seen_by]
        for modules in ((acceptors, leaders, identities, disks), (readers, leases, machines))
    )
    assert len(deciding) >= 30
    assert len(applying) >= 12
    assert all(mutant.why.endswith(".") for mutant in MUTANTS.values())


def test_every_rare_mutant_is_killed_by_random_runs() -> None:
    assert MUTANTS.keys() >= rare.RARE
    assert not [name for name in rare.RARE if MUTANTS[name].seen_by or MUTANTS[name].open]


def test_random_runs_notice_blatant_mutants_soon() -> None:
    hunt = Hunt([MUTANTS[name] for name in BLATANT], first=secrets.randbelow(1 << 31), seeds=30, kills=1, piece=3)
    assert not [line_of(score) for score in hunt.go() if not score.kills]


def test_without_a_patch_the_child_process_runs_the_unpatched_code() -> None:
    (result,) = run_seeds(UNPATCHED, 1, 1)
    assert result.seed == 1


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
def test_the_named_tests_notice_a_mutant_that_no_run_can_show(mutant: Mutant) -> None:
    assert notices(mutant)
