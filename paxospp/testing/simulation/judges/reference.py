"""The reference: one machine that runs every command once, in the order of the log, without replicas or sessions.

Beside it are the instances of ``decide``, as on every node; commands named ``paxospp.…`` go there.
"""

from __future__ import annotations

from collections.abc import Callable

from paxospp.execution.built_in_machine import BuiltInMachine, is_built_in, without_prefix
from paxospp.execution.exceptions import describe
from paxospp.model import Slot
from paxospp.sessions.runs import Commands
from paxospp.state_machine import OUTCOME_RESULT, Context, StateMachine, encode_raised, set_context
from paxospp.testing.simulation.rule_broken import RuleBroken


class Reference:
    """The machine with which every result is compared."""

    def __init__(self, machine: StateMachine) -> None:
        self.machine = machine
        self.unix_time = 0
        """Wall clock in microseconds, as the commands of the current slot see it."""
        self._built_in = BuiltInMachine()
        self._values: dict[str, bytes] = {}
        """The value that was decided first for each instance."""
        self._cluster_id = b""

    def found(self, cluster_id: bytes) -> None:
        self._cluster_id = cluster_id

    def begin(self, commands: Commands, slot: Slot) -> Callable[[int, bytes], bytes]:
        """Return a function that runs the command at a position of the value in ``slot``."""
        self.unix_time = max(self.unix_time, commands.unix_time)
        time = self.unix_time / 1_000_000
        machine = self.machine

        def run(position: int, payload: bytes) -> bytes:
            context = Context(slot, position, time, self._cluster_id)
            try:
                if is_built_in(payload):
                    return b"\x00" + self._apply_built_in(payload, context)
                if machine.full_control:
                    set_context(machine, context)
                    return b"\x00" + machine.apply(payload[1:], context)
                return b"\x00" + machine.apply(payload, context)
            except Exception as error:
                return encode_raised(*describe(error))

        return run

    def _apply_built_in(self, payload: bytes, context: Context) -> bytes:
        """Run the command, and check that decided instances keep their value: the nodes run this code, too."""
        result = self._built_in.apply(without_prefix(payload), context)
        for name, value in self._built_in.chosen.items():
            first = self._values.setdefault(name, value)
            if first != value:
                raise RuleBroken(
                    "agreement", f"the instance {name!r} is decided as {value!r}, and was decided as {first!r} before"
                )
        return result

    def answer(self, request: bytes, slot: Slot) -> bytes:
        context = Context.of_query(slot, self.unix_time / 1_000_000)
        if is_built_in(request):
            set_context(self._built_in, context)
            return self._built_in.answer(without_prefix(request))
        set_context(self.machine, context)
        return self.machine.answer(request[1:] if self.machine.full_control else request)


assert OUTCOME_RESULT == 0
