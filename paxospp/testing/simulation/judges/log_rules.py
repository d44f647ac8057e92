"""The log that a replica holds in memory, compared with its disk and with what it has said.

Each check is made where the fault is cheap to see, long before it does harm:

* Rule 1: a candidate or leader counts its own promise only once it is on disk.
* Rule 4: an installed snapshot raises the promise to the ballot in it, in memory as on disk.
* Rule 4: a replica that is asked for a slot it has applied sends the slot, or says that a snapshot covers it.
* Rule 5: a slot that is held is not damaged; damage that the current snapshot covers is forgotten; where the damaged
  end of a log is closed in memory, it is closed on disk too.
* Rule 7: the leader of a founded cluster keeps to the alpha of the founding.
"""

from __future__ import annotations

import sys

from paxospp.engine.rules.leader import Leading
from paxospp.messages import CatchUp, DecidedEntries
from paxospp.model import Ballot, Membership, NodeId, Slot
from paxospp.testing.simulation.judges.observed import ObservedHost
from paxospp.testing.simulation.rule_broken import RuleBroken


class LogRules:
    """Remembers the requests for decided slots, and the snapshots installed in the current event."""

    def __init__(self) -> None:
        self._asked: dict[tuple[NodeId, NodeId], tuple[Slot, ...]] = {}
        """By requester and peer: where the latest requests began."""
        self._installed: dict[NodeId, Ballot] = {}

    def on_load(self, host: ObservedHost) -> None:
        """Forget what the former boot installed; its requests may be answered until the peers know of this boot."""
        self._installed.pop(host.name, None)

    def on_catch_up(self, host: ObservedHost, to: NodeId, wanted: CatchUp) -> None:
        """Note that ``host`` asks ``to`` for decided slots."""
        former = self._asked.get((host.name, to), ())
        if former[-1:] != (wanted.start,):
            self._asked[host.name, to] = (*former, wanted.start)

    def on_decided(self, host: ObservedHost, to: NodeId, decided: DecidedEntries) -> None:
        """Check the answer of ``host``: an answer without entries has to say why."""
        if decided.entries or host.runtime is None:
            return
        delivered = host.runtime.replica.delivered
        asked = self._asked.get((to, host.name), ())
        if asked and all(decided.first <= start <= delivered for start in asked):
            raise RuleBroken(
                "rule 4", f"{host.name} has applied {asked[-1]} and sends {to} neither the slot nor a snapshot's slot"
            )

    def on_installed(self, host: ObservedHost, ballot: Ballot) -> None:
        """Note that ``host`` installs a snapshot whose slots were decided under ballots up to ``ballot``."""
        self._installed[host.name] = ballot

    def on_own_promise(self, host: ObservedHost, ballot: Ballot) -> None:
        """Check that the promise to ``ballot``, which ``host`` counts as its own, is on its disk."""
        synced = host.disk.image.promised
        if synced is None or synced < ballot:
            raise RuleBroken("rule 1", f"{host.name} counts its own promise to {ballot} while its disk holds {synced}")

    def after_event(self, host: ObservedHost, founded: Membership | None) -> None:
        """Check the log of ``host`` after an event, unless it still reads from its disk."""
        assert host.runtime is not None
        protocol = host.runtime.replica.protocol
        ballot = self._installed.pop(host.name, None)
        promised = protocol.acceptor.promised
        if ballot is not None and (promised is None or promised < ballot):
            raise RuleBroken(
                "rule 4", f"{host.name} installed what {ballot} decided, and its promise in memory is {promised}"
            )
        role = protocol.role
        if founded is not None and protocol.cluster.membership is not None:
            if isinstance(role, Leading) and role.alpha != founded.alpha:
                raise RuleBroken(
                    "rule 7", f"{host.name} leads with alpha {role.alpha}; the founding says {founded.alpha}"
                )
            self._check_covered(host)
        if protocol.log.faulty:
            self._check_damage(host)
        if host.disk.image.open_from < sys.maxsize:
            self._check_end(host)

    @staticmethod
    def _check_damage(host: ObservedHost) -> None:
        assert host.runtime is not None
        protocol = host.runtime.replica.protocol
        for slots in protocol.log.faulty:
            held = next((slot for slot in protocol.log.held if slot in slots), None)
            if held is not None:
                raise RuleBroken("rule 5", f"{host.name} holds slot {held} and considers it damaged")

    @staticmethod
    def _check_end(host: ObservedHost) -> None:
        assert host.runtime is not None
        protocol = host.runtime.replica.protocol
        is_known = not host.disk.image.lost_since_load and not protocol.writes.out
        if is_known and not any(slots.stop == sys.maxsize for slots in protocol.log.faulty):
            raise RuleBroken("rule 5", f"{host.name} closed its damage in memory and not on disk")

    @staticmethod
    def _check_covered(host: ObservedHost) -> None:
        assert host.runtime is not None
        protocol = host.runtime.replica.protocol
        covered = protocol.learning.covered
        if any(slots.start <= covered for slots in protocol.log.faulty):
            raise RuleBroken("rule 5", f"{host.name} keeps damage that its snapshot of slot {covered} covers")
