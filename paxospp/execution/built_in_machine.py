"""The built-in state machine, which every node runs beside the user's: bare Paxos instances, and leases.

An *instance* has a name and, once a proposal for it was decided, one value for ever; later proposers learn that value.
This is the interface of the C++ library Paxospp (``Start``, ``Status``, ``Done``) as a replicated state machine: the
first ``decide`` that is applied chooses the value, and the log makes it the same everywhere. Forgetting an instance
frees its value and keeps a mark of 16 bytes, so that a late proposal cannot decide it a second time.

Leases are switched here, because they have to be switched at the same slot on all nodes.

The machine is like any user's. Its commands have a prefix of their own: ``paxospp.decide`` in the log is ``decide``
here (``without_prefix``). It never reads a clock.

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
    """The instance was forgotten and can never be decided again."""


class BuiltInMachine(StateMachine):
    """The state that the log decides beside the user's machine; it is part of every snapshot."""

    chosen: dict[str, bytes]
    """Encoded values by the names of the instances."""
    forgotten: set[bytes]
    """Marks of forgotten instances, 16 bytes each."""
    lease_us: int
    """The length of leases in microseconds; 0 while they are off."""

    def __init__(self) -> None:
        self.chosen = {}
        self.forgotten = set()
        self.lease_us = 0

    @command
    def decide(self, name: str, value: bytes) -> bytes:
        """Choose ``value`` unless a value was chosen before, and return the chosen one."""
        chosen = self.chosen.get(name)
        if chosen is None:
            if _mark(name) in self.forgotten:
                raise ForgottenError(f"the instance {name!r} was decided and forgotten")
            chosen = self.chosen[name] = value
        return chosen

    @command
    def forget(self, name: str) -> bool:
        """Free the value of an instance; return False, without any effect, if it has none."""
        if self.chosen.pop(name, None) is None:
            return False
        self.forgotten.add(_mark(name))
        return True

    @query
    def decided(self, name: str) -> bytes | None:
        """Return the value of an instance; None if no value was chosen yet, or if it was forgotten."""
        return self.chosen.get(name)

    @command
    def set_lease(self, lease_us: int) -> None:
        """Switch leases of ``lease_us`` microseconds on for all nodes; 0 switches them off."""
        if lease_us and not LEASE_MIN_S * 1e6 <= lease_us <= LEASE_MAX_S * 1e6:
            raise ValueError(f"a lease must last {LEASE_MIN_S:g} to {LEASE_MAX_S:g} seconds, not {lease_us / 1e6:g}")
        self.lease_us = lease_us


def is_built_in(payload: bytes) -> bool:
    """Return whether a command or query is for the built-in machine; raw bytes that look like one are not."""
    return payload.startswith(_PREFIX, 1) and payload[0] > _PREFIX_BYTES


def without_prefix(payload: bytes) -> bytes:
    """Return a payload named ``paxospp.…`` without that prefix, as the built-in machine takes it."""
    return bytes([payload[0] - _PREFIX_BYTES]) + payload[1 + _PREFIX_BYTES :]


def _mark(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=_MARK_BYTES).digest()
