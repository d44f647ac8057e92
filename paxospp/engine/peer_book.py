"""Who the peers are: which life of which node may speak, and what it must still remember.

A wiped or swapped disk has another incarnation and does not vote. Within one incarnation boots
rise; two copies of one disk are told apart by their nonces; a boot that remembers less than an
earlier one declared was rolled back. Such senders are dropped, and it is said once.

References: FAULTS D12, D13, B16 to B18; Chandra et al., "Paxos Made Live", 5.1 (disk corruption).
"""

from __future__ import annotations

from dataclasses import dataclass

from paxospp.messages import (
    Accept,
    Accepted,
    Heartbeat,
    HeartbeatAnswer,
    Prepare,
    Promise,
    ProtocolMessage,
    Sender,
)
from paxospp.model import Ballot, NodeId, Slot


@dataclass(slots=True)
class _Life:
    """What one incarnation of one node has said."""

    boot: int
    nonce: int
    promised: Ballot | None = None
    accepted_up_to: Slot = Slot(0)
    introduced: bool = True
    """Whether this boot has shown that it remembers what earlier ones declared."""
    refused: str | None = None


class PeerBook:
    """The lives met since this boot, by name and incarnation."""

    def __init__(self) -> None:
        self._lives: dict[tuple[NodeId, int], _Life] = {}

    def admit(self, sender: Sender, message: ProtocolMessage) -> str | None:
        """Why ``message`` must be dropped; None if it may be heard. Remembers what it declares."""
        key = (sender.node, sender.incarnation)
        life = self._lives.get(key)
        if life is None:
            life = self._lives[key] = _Life(sender.boot, sender.nonce)
        if life.refused is not None:
            return life.refused
        if sender.boot < life.boot:
            return "older boot"
        if sender.boot == life.boot and sender.nonce != life.nonce:
            return "a clone: the same boot of the same storage with another nonce"
        if sender.boot > life.boot:
            life.boot, life.nonce, life.introduced = sender.boot, sender.nonce, False
        if not life.introduced:
            if not isinstance(message, (Heartbeat, HeartbeatAnswer)):
                return "not introduced yet"
            life.refused = _what_it_forgot(life, message)
            if life.refused is not None:
                return life.refused
            life.introduced = True
        _remember(life, message)
        return None


def _what_it_forgot(life: _Life, message: Heartbeat | HeartbeatAnswer) -> str | None:
    if life.promised is not None and (message.booted_with is None or message.booted_with < life.promised):
        return f"rolled back: it once promised {life.promised} and came back with {message.booted_with}"
    if message.remembered < life.accepted_up_to:
        return f"rolled back: it once accepted slot {life.accepted_up_to} and came back with {message.remembered}"
    return None


def _remember(life: _Life, message: ProtocolMessage) -> None:
    if isinstance(message, (Accepted, Accept, Promise, Prepare)):
        if life.promised is None or message.ballot > life.promised:
            life.promised = message.ballot
        if isinstance(message, Accepted) and message.slot > life.accepted_up_to:
            life.accepted_up_to = message.slot
