"""Calls with nothing to agree on: checked, encoded, applied and answered in one loop, and nothing else.

What a loop does of these in a second no cluster of it can exceed; how much of it is left says what
agreeing, storing and sending cost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import replace

from paxospp.calls import Calls, Consistency
from paxospp.cli.bench.case import Case
from paxospp.cli.bench.load import Load
from paxospp.cli.bench.machine import MACHINE
from paxospp.plugins import PluginRegistry
from paxospp.state_machine import Context, StateMachine, check_command, check_query, prepare, set_context

_WARM_UP_S = 0.05
_SECONDS = 0.25
_IN_FLIGHT_MAX = 1024
"""More are not faster, and would not be answered in so short a time."""


class Alone(Calls):
    """A state machine in this loop; what is called in one turn is answered in the next."""

    def __init__(self, machine: StateMachine) -> None:
        self._call_timeout_s = None
        self._machine = prepare(machine)
        self._loop = asyncio.get_running_loop()
        self._context = Context(1, 0, 0.0)
        self._commands: list[tuple[bytes, asyncio.Future[bytes]]] = []
        self._queries: list[tuple[bytes, asyncio.Future[bytes]]] = []
        set_context(machine, self._context)

    def _execute(self, payload: bytes, timeout_s: float | None) -> Awaitable[bytes]:
        check_command(self._machine, payload)
        return self._queue(self._commands, payload)

    def _query(self, request: bytes, consistency: Consistency, timeout_s: float | None) -> Awaitable[bytes]:
        check_query(self._machine, request)
        return self._queue(self._queries, request)

    def _queue(self, queue: list[tuple[bytes, asyncio.Future[bytes]]], call: bytes) -> Awaitable[bytes]:
        if not self._commands and not self._queries:
            self._loop.call_soon(self._turn)
        answer: asyncio.Future[bytes] = self._loop.create_future()
        queue.append((call, answer))
        return answer

    def _turn(self) -> None:
        commands, queries, self._commands, self._queries = self._commands, self._queries, [], []
        machine, context = self._machine, self._context
        for payload, answer in commands:
            answer.set_result(machine.apply(payload, context))
        for request, answer in queries:
            answer.set_result(machine.answer(request))


async def calls_per_s(case: Case) -> float:
    """How many calls of ``case`` one loop does alone in a second in which it has a core to itself."""
    work = replace(case.works()[0], in_flight=min(case.in_flight, _IN_FLIGHT_MAX))
    seconds = _SECONDS
    while True:
        load = Load.of(Alone(PluginRegistry(()).machine(MACHINE)()), work)
        await load.prepare()
        begin = time.monotonic() + _WARM_UP_S
        tally = await load.run(begin, begin + seconds)
        if tally.latencies.total and tally.cpu_s:
            return tally.latencies.total / tally.cpu_s
        seconds *= 2  # this process was not run meanwhile
