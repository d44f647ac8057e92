"""The machine that stands beside the user's on every node: bare Paxos instances, and leases.

An *instance* has a name and, once somebody's proposal was decided, one value for ever; whoever
proposes later learns that one. It is the face of the C++ library Paxospp (``Start``, ``Status``,
``Done``), told in a replicated state machine: the first ``decide`` that is applied chooses, and the
log makes it the same one everywhere. Forgetting frees the value and leaves a mark of 16 bytes, so
that a late proposal can never decide a forgotten instance a second time.

Leases are switched here because they have to be switched for all nodes at the same slot.

It is a state machine like any user's, under names of its own: ``paxospp.decide`` in the log is
``decide`` here (``own_call``). It never reads a clock.

Reference: Lamport, "Paxos Made Simple" (2001), section 2: choosing a value.
"""

from __future__ import annotations

from hashlib import blake2b

from paxospp.calls import LEASE_MAX_S, LEASE_MIN_S
from paxospp.state_machine import RESERVED_PREFIX, StateMachine, command, query

_PREFIX = RESERVED_PREFIX.encode()
_PREFIX_BYTES = len(_PREFIX)
_MARK_BYTES = 16


class ForgottenError(Exception):
    """The instance was forgotten, and is never decided again."""


class Instances(StateMachine):
    """What the log knows beside the user's machine; its state is in every snapshot."""

    chosen: dict[str, bytes]
    """Encoded values by the instances' names."""
    forgotten: set[bytes]
    lease_us: int
    """For how long an answer to the leader's heartbeat binds who gave it; 0 while leases are off."""

    def __init__(self) -> None:
        self.chosen = {}
        self.forgotten = set()
        self.lease_us = 0

    @command
    def decide(self, name: str, value: bytes) -> bytes:
        """The value of the instance: ``value``, unless another one was chosen before."""
        chosen = self.chosen.get(name)
        if chosen is None:
            if _mark(name) in self.forgotten:
                raise ForgottenError(f"the instance {name!r} was decided and forgotten")
            chosen = self.chosen[name] = value
        return chosen

    @command
    def forget(self, name: str) -> bool:
        """Free the instance's value; False, and no effect, if there is none."""
        if self.chosen.pop(name, None) is None:
            return False
        self.forgotten.add(_mark(name))
        return True

    @query
    def decided(self, name: str) -> bytes | None:
        """The value of the instance; None if none was chosen yet, or if it was forgotten."""
        return self.chosen.get(name)

    @command
    def set_lease(self, lease_us: int) -> None:
        """Switch leases of that many microseconds on, everywhere; 0 switches them off."""
        if lease_us and not LEASE_MIN_S * 1e6 <= lease_us <= LEASE_MAX_S * 1e6:
            raise ValueError(f"a lease lasts {LEASE_MIN_S:g} to {LEASE_MAX_S:g} seconds, not {lease_us / 1e6:g}")
        self.lease_us = lease_us


def is_own(payload: bytes) -> bool:
    """Whether a command or query is for this machine; raw bytes that look so are not."""
    return payload.startswith(_PREFIX, 1) and payload[0] > _PREFIX_BYTES


def own_call(payload: bytes) -> bytes:
    """A payload named ``paxospp.…`` as this machine takes it: without that prefix."""
    return bytes([payload[0] - _PREFIX_BYTES]) + payload[1 + _PREFIX_BYTES :]


def _mark(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=_MARK_BYTES).digest()
