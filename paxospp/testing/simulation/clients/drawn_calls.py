"""What clients call: the workload's calls, some of those of the machine beside it, and how old a read may be.

Own calls (``decide``, ``forget``, ``decided``, leases on and off) travel as ``paxospp.calls`` sends
them. A weak read is one of the two kinds that a node may answer without asking anybody: by lease,
which has to be as good as any, and within a bound of seconds.

Reference: CONTRACTS section 4; FAULTS B33.
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
        """How old the state may be that a read is answered from, by the world's clock; None: not at all."""
        if self.consistency == "local":
            return float("inf")
        if isinstance(self.consistency, Bounded):
            return self.consistency.seconds * (1 + DRIFT_BOUND)
        return None


class CallDrawer:
    """Draws them, each kind from a stream of its own."""

    def __init__(self, plan: RunPlan, machine_class: type[StateMachine]) -> None:
        self._plan = plan
        self._machine_class = machine_class
        self._random = Random(f"{plan.seed} calls")
        self._own = Random(f"{plan.seed} own calls of clients")
        self._strength = Random(f"{plan.seed} strength of reads")
        self._count = 0

    def next(self) -> Drawn:
        """The next call."""
        plan = self._plan
        payload, is_read = encode_call(self._machine_class, plan.workload(self._random))
        self._count += 1
        # Early and often: what is switched twice meets writes of the first time still under way.
        if plan.lease_us and (self._count == 3 or self._own.random() < (0.3 if self._count < 12 else 0.02)):
            payload, is_read = self._lease().payload, False
        elif plan.own_calls and self._own.random() < plan.own_calls:
            payload, is_read = self._instance()
        return Drawn(bytes(bytearray(payload)), is_read, self._consistency())  # an object that nobody else holds

    @staticmethod
    def set_lease(duration_us: int) -> Drawn:
        """The call that makes leases so long, in microseconds; 0: there are none."""
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
