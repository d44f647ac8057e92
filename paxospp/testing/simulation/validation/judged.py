"""One call of a replica, with the node of the model that it concerns."""

from __future__ import annotations

from collections.abc import Callable

from paxospp.engine.output import Output
from paxospp.engine.replica import Replica
from paxospp.model import Entry
from paxospp.testing.simulation.rule_broken import RuleBroken
from paxospp.testing.simulation.validation.followed import RULE, Followed, describe
from paxospp.testing.simulation.validation.records import Records
from paxospp.testing.simulation.validation.watched import ReplicaCall
from paxospp.testing.specification.messages import (
    Name,
)
from paxospp.testing.specification.state import ModelNode
from paxospp.testing.specification.step import ModelStep


class Judged:
    """One call, with the node that it concerns."""

    def __init__(self, system: Followed, records: Records, replica: Replica, call: ReplicaCall, output: Output) -> None:
        self._system = system
        self._records = records
        self._boot = records.boots[replica.identity.name]
        self._replica = replica
        self._protocol = replica.protocol
        self._call = call
        self._output = output
        self._name: Name = replica.identity.name
        self._sender: Name = None if call.sender is None else call.sender.node
        self._sends = [*output.send_now, *output.send_after_persist]
        self._said: set[int] = set()
        """Identities of the messages that were looked at already."""
        self._written: dict[int, Entry] = {}
        if output.persist is not None:
            self._written = {entry.slot: entry for entry in output.persist.accepted}

    @property
    def _node(self) -> ModelNode:
        return self._system.nodes[self._name]

    def _take(self, what: str, act: Callable[[ModelStep], None]) -> None:
        self._system.take(self._name, f"{self._call.what}: {what}", act, token=self._output.token)

    def _broken(self, what: str) -> RuleBroken:
        return RuleBroken(RULE, f"{self._name} {self._call.what}: {what}\n{describe(self._node)}")
