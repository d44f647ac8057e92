"""Aims: which of the seeds drawn can show a mutant at all, told by their plans alone.

Most rules are in reach of every run, and their mutants have no aim. A few are about one kind of
damage, or about a setting that few runs have; a seed that draws neither cannot show them, and is
passed over before it costs anything. What is left is as random as before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paxospp.testing.simulation.plan import Plan

Aim = Callable[["Plan"], bool]

_DAMAGE = ("D5", "D6", "D7", "D8", "D9")


def everything(*aims: Aim) -> Aim:
    """All of these."""
    return lambda plan: all(aim(plan) for aim in aims)


def draws(*families: str) -> Aim:
    """At least one of these families of faults goes wrong."""
    return lambda plan: any(family in families for family in plan.faults.families)


def churns(plan: Plan) -> bool:
    """The lead changes hands all the time."""
    return plan.nodes >= 3 and plan.faults.depose_s > 0


def lets_leaders_come_back(plan: Plan) -> bool:
    """Whoever loses the lead is cut off for a while only, and is a third of those who may have it next."""
    return plan.nodes == 3 and not churns(plan) and draws("N4", "N6")(plan)


def has_nodes(least: int) -> Aim:
    """So many nodes, or more."""
    return lambda plan: plan.nodes >= least


def damages(plan: Plan) -> bool:
    """What stood on a disk cannot be read any more when its node starts again; others hold the log too."""
    return plan.nodes >= 3 and crashes(plan) and any(family in _DAMAGE for family in plan.faults.families)


def crashes(plan: Plan) -> bool:
    """Nodes start again, from what their disks tell."""
    return any(family in ("P1", "P2") for family in plan.faults.families)


def founds_late(plan: Plan) -> bool:
    """Things go wrong before there is a cluster."""
    return plan.nodes >= 3 and not plan.founds_first


def expires(plan: Plan) -> bool:
    """Sessions expire while their callers are at work."""
    return plan.config.session_expiry_s < 60


def leases(plan: Plan) -> bool:
    """Somebody switches leases on, and the lead changes."""
    return churns(plan) and plan.lease_us > 0
