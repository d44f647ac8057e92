"""A log as a cluster might decide it, drawn from a seed: the calls of a workload, its commands in real entries."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from paxospp.errors import ConfigError, RejectedError
from paxospp.model import Ballot, Entry, Kind, Member, Membership, NodeId, Slot
from paxospp.sessions.runs import Run, encode_commands, encode_run
from paxospp.state_machine import MachineOperation, StateMachine
from paxospp.testing.workload import EncodedCall, Workload, encode_call

_SECOND = 1_000_000
_STEPS_OF_TIME = (0, 1, 1_000, _SECOND, 90 * _SECOND)
_BALLOT = Ballot(1, NodeId("n1"), 1)
_PER_SLOT_MAX = 4
_NOOPS = 0.05


@dataclass(slots=True)
class DrawnCall:
    """One call: ``text`` is the call as a user writes it, ``payload`` as it is encoded."""

    name: str
    text: str
    payload: bytes


@dataclass(slots=True)
class LogStep:
    """One slot with its commands, and the queries to answer once it is applied."""

    entry: Entry
    commands: tuple[DrawnCall, ...]
    queries: list[DrawnCall]

    @property
    def slot(self) -> Slot:
        return self.entry.slot


@dataclass(slots=True)
class DrawnLog:
    """All slots of one seed; slot 1 holds a membership."""

    seed: int
    steps: list[LogStep]

    @property
    def commands(self) -> int:
        return sum(len(step.commands) for step in self.steps)


def draw_log(machine_class: type[StateMachine], workload: Workload, seed: int, calls: int) -> DrawnLog:
    """Return a log of ``calls`` calls of ``workload``, which gets a ``Random(seed)`` of its own.

    With three of four seeds, each slot has one command, so that a failure names the command.

    Raises:
        ConfigError: the workload returned something that is not a call of this machine.
    """
    return _LogDrawer(machine_class, seed).write(workload, calls)


class _LogDrawer:
    def __init__(self, machine_class: type[StateMachine], seed: int) -> None:
        self._class = machine_class
        self._calls = Random(seed)
        self._random = Random(f"{seed} log")
        self._per_slot_max = _PER_SLOT_MAX if seed % 4 == 3 else 1
        self._log_time = self._random.randrange(10 * _SECOND)
        self._unix_time = 1_700_000_000 * _SECOND + self._random.randrange(1000 * _SECOND)
        self._opened = self._log_time
        self._session = self._random.randbytes(16)
        self._number = 1
        self._log = DrawnLog(seed, [self._founding()])

    def write(self, workload: Workload, calls: int) -> DrawnLog:
        waiting: list[DrawnCall] = []
        room = 1
        for _ in range(calls):
            call = workload(self._calls)
            encoded = self._encode(call)
            if encoded.is_query:
                self._propose(waiting)
                self._log.steps[-1].queries.append(_drawn_call(call, encoded))
                continue
            waiting.append(_drawn_call(call, encoded))
            if len(waiting) >= room:
                self._propose(waiting)
                room = self._random.randint(1, self._per_slot_max)
        self._propose(waiting)
        return self._log

    def _encode(self, call: Any) -> EncodedCall:
        try:
            return encode_call(self._class, call)
        except RejectedError as error:
            raise ConfigError(f"the workload returned {call!r}, whose arguments do not fit: {error}") from error

    def _founding(self) -> LogStep:
        membership = Membership(
            cluster_id=self._random.randbytes(16),
            group=0,
            alpha=256,
            session_expiry_s=1_000_000,
            replaces=Slot(0),
            members=(Member(NodeId("n1"), "127.0.0.1:7001", 1),),
        )
        return LogStep(Entry(Slot(1), _BALLOT, Kind.MEMBERSHIP, membership.to_bytes()), (), [])

    def _propose(self, waiting: list[DrawnCall]) -> None:
        if not waiting:
            return
        if self._random.random() < _NOOPS:
            self._append(Kind.NOOP, b"", ())
        step = self._random.choice(_STEPS_OF_TIME)
        self._log_time += step
        self._unix_time += step
        payloads = [call.payload for call in waiting]
        run = Run(self._opened, self._session, self._number, self._number - 1, payloads)
        self._number += len(waiting)
        value = encode_commands(self._log_time, self._unix_time, [encode_run(run)])
        self._append(Kind.COMMANDS, value, tuple(waiting))
        waiting.clear()

    def _append(self, kind: Kind, value: bytes, commands: tuple[DrawnCall, ...]) -> None:
        slot = Slot(len(self._log.steps) + 1)
        self._log.steps.append(LogStep(Entry(slot, _BALLOT, kind, value), commands, []))


def _drawn_call(call: tuple[Any, ...], encoded: EncodedCall) -> DrawnCall:
    operation, *arguments = call
    name = operation.function.__name__ if isinstance(operation, MachineOperation) else str(operation)
    return DrawnCall(name, f"{name}({', '.join(map(repr, arguments))})", encoded.payload)
