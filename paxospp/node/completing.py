"""Commands are complete before they are proposed: what a caller by name left out is filled in here.

A log must not change its meaning when a default does, so the value in force is written into it.
"""

from __future__ import annotations

from paxospp.state_machine import StateMachine, complete_call, describe, pack_call


class Completer:
    """Fills in the defaults of a machine's commands; nearly free for commands that have none."""

    def __init__(self, machine: StateMachine) -> None:
        self._machine = machine
        commands = {} if machine.full_control else describe(machine)["commands"]
        self._prefixes = frozenset(
            pack_call(name, b"")
            for name, parameters in commands.items()
            if any(has_default for _, _, has_default in parameters)
        )

    def complete(self, payload: bytes) -> bytes:
        """``payload``, which was checked, with the defaults that it lacks."""
        if self._prefixes and payload and payload[: payload[0] + 1] in self._prefixes:
            return complete_call(self._machine, payload)
        return payload

    def complete_all(self, payloads: list[bytes]) -> list[bytes]:
        """The same list when nothing is lacking."""
        if not self._prefixes:
            return payloads
        completed = [self.complete(payload) for payload in payloads]
        return payloads if completed == payloads else completed
