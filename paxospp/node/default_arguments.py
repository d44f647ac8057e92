"""Filling in the default arguments that a call by name left out, before the command is proposed.

A default that changes in the code must not change what the log means, so the default in force is written to the log.
"""

from __future__ import annotations

from paxospp.state_machine import StateMachine, complete_call, describe, pack_call


class DefaultArguments:
    """Fills in the defaults of a machine's commands; commands without defaults cost next to nothing."""

    def __init__(self, machine: StateMachine) -> None:
        self._machine = machine
        commands = {} if machine.full_control else describe(machine)["commands"]
        self._prefixes = frozenset(
            pack_call(name, b"")
            for name, parameters in commands.items()
            if any(has_default for _, _, has_default in parameters)
        )
        """The beginnings of the payloads of commands that have defaults."""

    def fill_in(self, payload: bytes) -> bytes:
        """Return ``payload``, which was checked, with all its arguments."""
        if self._prefixes and payload and payload[: payload[0] + 1] in self._prefixes:
            return complete_call(self._machine, payload)
        return payload

    def fill_in_all(self, payloads: list[bytes]) -> list[bytes]:
        """Return all payloads with all their arguments: the same list if nothing was missing."""
        if not self._prefixes:
            return payloads
        completed = [self.fill_in(payload) for payload in payloads]
        return payloads if completed == payloads else completed
