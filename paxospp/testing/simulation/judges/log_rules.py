"""What the memory of a replica holds, against its disk and against what it has said.

Each of these is looked at where it is cheap to see, long before it harms:

* Rule 1: a candidate or leader counts its own promise only once that is on its disk.
* Rule 4: an installed snapshot raises the promise to the ballot it brings, in memory as on disk.
* Rule 4: who is asked for a slot that it has applied sends it, or says that it is to be had as a snapshot.
* Rule 5: a slot that is held is not damaged any more; damage that the current snapshot covers is trimmed; where
  damage to the end of the log was taken to end, it ends on the disk, too.
* Rule 7: a leader of a cluster that is founded keeps to the alpha of its founding.
"""

from __future__ import annotations

import sys

from paxospp.engine.rules.leader import Leading
from paxospp.messages import CatchUp, Decided
from paxospp.model import Ballot, Membership, NodeId, Slot
from paxospp.testing.simulation.judges.observed import ObservedHost
from paxospp.testing.simulation.rule_broken import RuleBroken


class LogRules:
    """Remembers what was asked, and what was installed in the event that goes on."""

    def __init__(self) -> None:
        self._asked: dict[tuple[NodeId, NodeId], tuple[Slot, ...]] = {}
        """By who asks and who is asked: where its latest catch-ups began."""
        self._installed: dict[NodeId, Ballot] = {}

    def on_load(self, host: ObservedHost) -> None:
        """A boot begins. What the one before asked may still be answered, until its peers have heard of this one."""
        self._installed.pop(host.name, None)

    def on_catch_up(self, host: ObservedHost, to: NodeId, wanted: CatchUp) -> None:
        """``host`` asks ``to`` for decided slots."""
        former = self._asked.get((host.name, to), ())
        if former[-1:] != (wanted.start,):
            self._asked[host.name, to] = (*former, wanted.start)

    def on_decided(self, host: ObservedHost, to: NodeId, decided: Decided) -> None:
        """``host`` answers; an answer without entries has to say why there are none."""
        if decided.entries or host.parts is None:
            return
        delivered = host.parts.replica.delivered
        asked = self._asked.get((to, host.name), ())
        if asked and all(decided.first <= start <= delivered for start in asked):
            raise RuleBroken(
                "rule 4", f"{host.name} has applied {asked[-1]}, and tells {to} neither it nor of a snapshot"
            )

    def on_installed(self, host: ObservedHost, ballot: Ballot) -> None:
        """``host`` installs a snapshot whose slots were decided under ballots up to this one."""
        self._installed[host.name] = ballot

    def on_own_promise(self, host: ObservedHost, ballot: Ballot) -> None:
        """``host`` counts its own promise to ``ballot``."""
        synced = host.disk.image.promised
        if synced is None or synced < ballot:
            raise RuleBroken("rule 1", f"{host.name} counts its own promise to {ballot} while {synced} is synced")

    def after_event(self, host: ObservedHost, founded: Membership | None) -> None:
        """``host`` is done with an event, and has read what it needs of its disk."""
        assert host.parts is not None
        protocol = host.parts.replica.protocol
        ballot = self._installed.pop(host.name, None)
        promised = protocol.acceptor.promised
        if ballot is not None and (promised is None or promised < ballot):
            raise RuleBroken(
                "rule 4", f"{host.name} installed what {ballot} decided, and promises {promised} in memory"
            )
        role = protocol.role
        if founded is not None and protocol.cluster.membership is not None:
            if isinstance(role, Leading) and role.alpha != founded.alpha:
                raise RuleBroken("rule 7", f"{host.name} leads with alpha {role.alpha}; founded was {founded.alpha}")
            self._check_covered(host)
        if protocol.log.faulty:
            self._check_damage(host)
        if host.disk.image.open_from < sys.maxsize:
            self._check_end(host)

    @staticmethod
    def _check_damage(host: ObservedHost) -> None:
        assert host.parts is not None
        protocol = host.parts.replica.protocol
        for slots in protocol.log.faulty:
            held = next((slot for slot in protocol.log.held if slot in slots), None)
            if held is not None:
                raise RuleBroken("rule 5", f"{host.name} holds slot {held} and takes it for damaged")

    @staticmethod
    def _check_end(host: ObservedHost) -> None:
        assert host.parts is not None
        protocol = host.parts.replica.protocol
        is_known = not host.disk.image.lost_since_load and not protocol.writes.out
        if is_known and not any(slots.stop == sys.maxsize for slots in protocol.log.faulty):
            raise RuleBroken("rule 5", f"{host.name} has taken its damage to end, and did not write that down")

    @staticmethod
    def _check_covered(host: ObservedHost) -> None:
        assert host.parts is not None
        protocol = host.parts.replica.protocol
        covered = protocol.learning.covered
        if any(slots.start <= covered for slots in protocol.log.faulty):
            raise RuleBroken("rule 5", f"{host.name} keeps damage that its snapshot of slot {covered} covers")
