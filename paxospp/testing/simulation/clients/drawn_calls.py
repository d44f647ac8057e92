"""The calls that clients make: those of the workload, some built-in ones, and how old a read may be.

Built-in calls (``decide``, ``forget``, ``decided``, leases on and off) are encoded as ``paxospp.calls`` encodes them. A
weak read is one that a node may answer alone: by lease, which has to be as fresh as a linearizable read, or from a
state that is at most some seconds old.

Reference: bug B33.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from paxospp.calls import Bounded, Consistency
from paxospp.engine.rules.lease import DRIFT_BOUND
from paxospp.state_machine import StateMachine
from paxospp.state_machine.payload import encode_untyped
from paxospp.testing.simulation.plan import RunPlan
from paxospp.testing.workload import encode_call

_NAMES = ("one", "two", "three")
_BOUNDS_S = (0.0, 0.2, 2.0)


class Drawn(NamedTuple):
    """A call to make."""

    payload: bytes
    is_read: bool
    consistency: Consistency

    @property
    def age_s(self) -> float | None:
        """The greatest age, in seconds, of the state that a read may see; None: the read is linearizable."""
        if self.consistency == "local":
            return float("inf")
        if isinstance(self.consistency, Bounded):
            return self.consistency.seconds * (1 + DRIFT_BOUND)
        return None


class CallDrawer:
    """Draws calls, each kind from a random stream of its own."""

    def __init__(self, plan: RunPlan, machine_class: type[StateMachine]) -> None:
        self._plan = plan
        self._machine_class = machine_class
        self._random = Random(f"{plan.seed} calls")
        self._own = Random(f"{plan.seed} own calls of clients")
        self._strength = Random(f"{plan.seed} strength of reads")
        self._count = 0

    def next(self) -> Drawn:
        """Draw the next call."""
        plan = self._plan
        payload, is_read = encode_call(self._machine_class, plan.workload(self._random))
        self._count += 1
        # Early and often: a lease that is switched twice meets writes of the first switch that are still under way.
        if plan.lease_us and (self._count == 3 or self._own.random() < (0.3 if self._count < 12 else 0.02)):
            payload, is_read = self._lease().payload, False
        elif plan.own_calls and self._own.random() < plan.own_calls:
            payload, is_read = self._instance()
        return Drawn(bytes(bytearray(payload)), is_read, self._consistency())  # an object with an identity of its own

    @staticmethod
    def set_lease(duration_us: int) -> Drawn:
        """Return the call that sets the length of leases, in microseconds; 0: no leases."""
        return Drawn(encode_untyped("paxospp.set_lease", [duration_us]), False, "linearizable")

    def _instance(self) -> tuple[bytes, bool]:
        name = self._own.choice(_NAMES)
        match self._own.randrange(8):
            case 0:
                return encode_untyped("paxospp.forget", [name]), False
            case 1 | 2 | 3:
                return encode_untyped("paxospp.decided", [name]), True
            case _:
                return encode_untyped("paxospp.decide", [name, self._own.randbytes(4)]), False

    def _lease(self) -> Drawn:
        lease_us = self._plan.lease_us
        if self._count > 3:
            lease_us = self._own.choice((lease_us, lease_us, lease_us // 2, 0))
        return self.set_lease(lease_us)

    def _consistency(self) -> Consistency:
        if self._strength.random() >= self._plan.weak_reads:
            return "linearizable"
        match self._strength.randrange(4):
            case 0:
                return "local"
            case 1:
                return Bounded(self._strength.choice(_BOUNDS_S))
            case _:
                return "lease"
