"""Mutants of leases: who may answer alone, for how long, and what a restart remembers of it."""

from __future__ import annotations

from tests.mutants.mutant import Mutant, Patch

_LEASE = "paxospp.engine.rules.lease"


def _lease(name: str, why: str, old: str, new: str) -> Mutant:
    return Mutant(name, why, (Patch(_LEASE, old, new),))


MUTANTS = (
    _lease(
        "a lease is counted in full",
        "B33: a leader with a slow clock holds the lease longer than it was granted.",
        "            until = sent_at + granted_us * (1 - DRIFT_BOUND) / _SECOND\n",
        "            until = sent_at + granted_us / _SECOND\n",
    ),
    _lease(
        "a grant does not bind its follower",
        "B33: another leader is elected while the lease lasts.",
        "        if now >= self._bound_until:\n",
        "        if now >= 0:\n",
    ),
    _lease(
        "a restart forgets what was granted",
        "B33: a restarted follower promises another leader while the lease lasts.",
        "        self._bound_until = now + self._durable_us / _SECOND\n",
        "        self._bound_until = now\n",
    ),
    _lease(
        "a lease is granted before its duration is on disk",
        "B33: after a restart the follower does not wait long enough.",
        "        if self._durable_us < duration:\n",
        "        if duration < 0:\n",
    ),
    Mutant(
        "a lease that may be overwritten counts as stored",
        "B33: if leases are switched off and on and the node dies in between, its restart does not wait long enough.",
        (
            Patch(_LEASE, "        self._durable_us = min(self._durable_us, wanted)\n", ""),
            Patch(_LEASE, "min((duration_us, *self._under_way))", "duration_us"),
        ),
    ),
    _lease(
        "a new leadership starts with the grants of the last one",
        "B33: the grants were given to another ballot.",
        "        self._rounds.clear()\n        self._granted.clear()\n",
        "        self._rounds.clear()\n",
    ),
)
