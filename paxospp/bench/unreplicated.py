"""Calls on a state machine that is not replicated: checked, encoded, applied and answered in one process.

A cluster cannot do more calls per second than this in the process that makes them. The distance says what consensus,
storage and network cost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import replace

from paxospp.bench.kv_calls import MACHINE
from paxospp.bench.load_generator import LoadGenerator, LoadSpec
from paxospp.calls import Calls, Consistency
from paxospp.plugins import PluginRegistry
from paxospp.state_machine import Context, StateMachine, check_command, check_query, prepare, set_context

_WARM_UP_S = 0.05
_SECONDS = 0.25
_IN_FLIGHT_MAX = 1024
"""More calls in flight are not faster, and would not all be answered in so short a time."""


class UnreplicatedCalls(Calls):
    """Calls on a state machine in this event loop; calls made in one iteration of the loop are answered in the next."""

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
            self._loop.call_soon(self._answer_queued)
        answer: asyncio.Future[bytes] = self._loop.create_future()
        queue.append((call, answer))
        return answer

    def _answer_queued(self) -> None:
        commands, queries, self._commands, self._queries = self._commands, self._queries, [], []
        machine, context = self._machine, self._context
        for payload, answer in commands:
            answer.set_result(machine.apply(payload, context))
        for request, answer in queries:
            answer.set_result(machine.answer(request))


async def calls_per_s(spec: LoadSpec) -> float:
    """Return how many calls of ``spec`` one process does in a second of processor time."""
    spec = replace(spec, in_flight=min(spec.in_flight, _IN_FLIGHT_MAX))
    seconds = _SECONDS
    while True:
        load = LoadGenerator.for_calls(UnreplicatedCalls(PluginRegistry(()).machine(MACHINE)()), spec)
        await load.prepare()
        begin = time.monotonic() + _WARM_UP_S
        result = await load.run(begin, begin + seconds)
        if result.latencies.total and result.cpu_s:
            return result.latencies.total / result.cpu_s
        seconds *= 2  # the system gave this process no processor time
