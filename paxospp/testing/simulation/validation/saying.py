"""The output of a call of a replica: the model must allow each message in that state.

``validator`` checks, when a message leaves, that it does not leave too early.
"""

from __future__ import annotations

from itertools import chain
from typing import assert_never

from paxospp.engine.rules.heartbeat_rounds import ANNOUNCEMENT
from paxospp.messages import (
    Accept,
    Accepted,
    CatchUp,
    DecidedEntries,
    Heartbeat,
    HeartbeatAnswer,
    Nack,
    Prepare,
    Promise,
    ProtocolMessage,
    ReadAnswer,
    ReadRequest,
    Sender,
)
from paxospp.model import Entry
from paxospp.testing.simulation.validation.judged import Judged
from paxospp.testing.simulation.validation.projecting import (
    ballot_of,
    optional,
    pvalue_of,
)
from paxospp.testing.specification import damage, learning, leases, phase_1
from paxospp.testing.specification.messages import (
    ModelAccepted,
    Name,
    Round,
    Vouch,
)

_SECOND = 1_000_000


class Saying(Judged):
    """Compares what a call says with the node of the model."""

    def _say_once(self, message: ProtocolMessage) -> None:
        """Look at ``message`` once: a message to several peers is one object."""
        if id(message) not in self._said:
            self._said.add(id(message))
            self._say(message)

    def _say(self, message: ProtocolMessage) -> None:
        promised = self._node.memory.promised
        match message:
            case Accept():
                self._announce(message.decided_up_to)
            case Prepare():
                ballot = ballot_of(message.ballot)
                self._take(f"asks again for promises to {ballot}", lambda step: phase_1.ask_again(step, ballot))
            case Heartbeat():
                if optional(message.promised) != promised:
                    raise self._broken(f"says that it promised {message.promised}")
                if message.leading is not None:
                    if ballot_of(message.leading) != self._node.own_ballot:
                        raise self._broken(f"says that it leads under {message.leading}")
                    self._announce(message.decided_up_to)
                    self._vouch(message.vouched_up_to, None)
                    if message.round != ANNOUNCEMENT:
                        self._begin_round(message.round)
            case HeartbeatAnswer():
                if optional(message.promised) != promised:
                    raise self._broken(f"answers that it promised {message.promised}")
                sender = self._call.sender
                assert sender is not None
                self._vouch(message.vouched_up_to, (sender.node, sender.incarnation, sender.boot))
                if message.lease:
                    self._grant(sender, message.lease / _SECOND)
            case DecidedEntries():
                for entry in message.entries:
                    self._teach(entry)
            case Nack():
                if optional(message.promised) != promised:
                    raise self._broken(f"refuses with {message.promised}")
            case Accepted():
                said = ModelAccepted(self._node.incarnation, ballot_of(message.ballot), message.slot)
                waiting = chain.from_iterable(write.sends for write in self._node.writes)
                if said not in self._system.sent[self._name] and said not in waiting:
                    raise self._broken(f"says {said}, and has not accepted")
            case Promise() | CatchUp() | ReadRequest() | ReadAnswer():
                pass  # requests claim nothing; ``Validator`` checks promises, and the judges of reads check answers
            case _:
                assert_never(message)

    def _announce(self, decided: int) -> None:
        self._take(f"announces {decided}", lambda step: learning.announce(step, decided))

    def _vouch(self, bound: int, to: tuple[Name, int, int] | None) -> None:
        """Take the action of vouching for ``bound``; 0: the message vouches for nothing.

        The bound was computed before the call learned by an older leader's announcement, if it did so. That makes no
        difference: the promises report what an older leader knows decided, and a leader that vouches has decided all of
        it.
        """
        if not bound:
            return
        self._take(f"vouches for {bound}", lambda step: damage.vouch(step, to))
        own = self._node.own_ballot
        if own is None or Vouch(own, bound, to) not in self._system.sent[self._name]:
            raise self._broken(f"vouches for {bound}")

    def _begin_round(self, number: int) -> None:
        self._take("begins a round", lambda step: leases.begin_round(step, number))
        own = self._node.own_ballot
        assert own is not None
        self._records.rounds[self._name, self._replica.identity.boot, number] = Round(own, number, self._node.clock)

    def _grant(self, sender: Sender, length: float) -> None:
        heartbeat = self._call.message
        round = None
        if isinstance(heartbeat, Heartbeat):
            round = self._records.rounds.get((sender.node, sender.boot, heartbeat.round))
        if round is None:
            raise self._broken(f"grants a lease in answer to {heartbeat}, which no leader sent")
        self._take(f"grants a lease to {sender.node}", lambda step: leases.grant(step, sender.node, round, length))

    def _teach(self, entry: Entry) -> None:
        """Send a decided entry; it may have been confirmed under a higher ballot since it was read."""
        self._take(f"teaches slot {entry.slot}", lambda step: learning.teach(step, entry.slot, pvalue_of(entry)))

    def _hand_out(self) -> None:
        """Check the entries for the state machine: in order, and as they are decided."""
        for entry in self._output.decided:
            if entry.slot != self._boot.applied + 1 or not self._node.knows_decided(entry.slot):
                raise self._broken(f"hands out slot {entry.slot} after {self._boot.applied}")
            held = self._node.memory.entries.get(entry.slot)
            if held is not None and held.value != pvalue_of(entry).value:
                raise self._broken(f"hands out {entry}, and holds {held}")
            self._boot.applied = entry.slot
            self._boot.under[entry.slot] = ballot_of(entry.ballot)
