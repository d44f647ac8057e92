"""The environment of a simulated node, and its executor.

A simulated node is the ``Runtime`` of a real one. Only its environment differs: the event loop (``VirtualLoop``), the
threads (``VirtualWorker``), the links (``VirtualLinks``), the clocks and the randomness. Its server has no port.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from random import Random

from paxospp.engine.replica import Replica
from paxospp.execution.executor import Apply, Executor
from paxospp.messages import Message
from paxospp.model import Entry, NodeId
from paxospp.node.environment import Environment
from paxospp.sessions.table import RunAnswer
from paxospp.state_machine import Context, StateMachine
from paxospp.testing.machine_checks.state_comparison import disturb_sets
from paxospp.testing.simulation.clients.watched_caller import WatchedCaller
from paxospp.testing.simulation.validation.watched import WatchedReplica
from paxospp.testing.simulation.world.node_host import NodeHost
from paxospp.testing.simulation.world.set_order import reorder_sets
from paxospp.testing.simulation.world.virtual_storage import VirtualStorage
from paxospp.testing.simulation.world.virtual_worker import virtual_worker


def virtual_environment(host: NodeHost, storage: VirtualStorage) -> Environment:
    """Return what a boot of ``host`` runs in: virtual time, links and disks."""
    assert host.loop is not None
    validator = host.world.validator
    return Environment(
        loop=host.loop,
        boot_time=host.boot_time,
        unix_time_us=host.unix_time,
        new_random=lambda: Random(host.random.getrandbits(64)),
        start_worker=lambda role: virtual_worker(host, storage, role),
        make_links=lambda config, sender: VirtualLinks(host),
        random_bits=host.random_bits,
        random_bytes=host.random.randbytes,
        make_caller=lambda random: WatchedCaller(host.world.history, random),
        make_replica=Replica if validator is None else partial(WatchedReplica, judge=validator),
        pacing=host.world.plan.pacing,
    )


class WatchedExecutor(Executor):
    """The executor, which reports everything that it does to the judges."""

    def __init__(self, host: NodeHost, machine: StateMachine) -> None:
        super().__init__(machine, host.observer, around=self._around)
        self._host = host
        self._reload_chance = host.world.plan.reload_chance
        self._chance = host.reloads

    def _around(self, apply: Apply, is_built_in: bool) -> Apply:
        """Count commands; faults hit the user's commands only, not those of the instances beside the machine."""

        def counted(payload: bytes, context: Context) -> bytes:
            host = self._host
            host.executed += 1
            if not is_built_in:
                host.world.injector.on_command()
            return apply(payload, context)

        return counted

    def apply(self, entry: Entry) -> Sequence[RunAnswer]:
        self._host.world.invariants.on_apply(self._host, entry)
        self._host.executed = 0
        outcomes = super().apply(entry)
        self._host.world.applied_log.on_applied(self._host, self, entry, outcomes)
        if self._reload_chance and self._chance.random() < self._reload_chance:
            self.reload()
        return outcomes

    def on_restored(self) -> None:
        # Equal sets may iterate in another order, and a machine must not depend on it: make the order differ.
        disturb_sets(getattr(self.machine, "__dict__", {}), Random(f"{self._host.world.seed} sets {self.applied}"))
        self._host.world.applied_log.on_restored(self._host, self)
        self._host.record.applied = self.applied

    def answer(self, request: bytes) -> bytes:
        history = self._host.world.history
        try:
            answer = super().answer(request)
        except Exception:
            history.on_read(request, self, None)
            raise
        history.on_read(request, self, answer)
        return answer

    def reload(self) -> None:
        """Pass the whole state through a snapshot into a new machine, as a restart from a snapshot does."""
        snapshot = list(self.encode_snapshot())
        machine = self._host.world.plan.machine()
        Executor.__init__(self, machine, self._host.observer, around=self._around)
        self.restore(snapshot)
        reorder_sets(machine)
        self._host.world.coverage["a state went through a snapshot"] += 1


class VirtualLinks:
    """Links that send into the virtual network."""

    dropped: Mapping[NodeId, int] = {}

    def __init__(self, host: NodeHost) -> None:
        self._host = host
        self._network = host.world.network

    def set_peers(self, addresses: Mapping[NodeId, str]) -> None:
        """Do nothing: the network knows all nodes."""

    def send(self, to: NodeId, message: Message) -> None:
        self._network.send(self._host, to, message)

    def connected(self) -> frozenset[NodeId]:
        return frozenset()

    async def close(self) -> None:
        """Do nothing: the network outlives the node."""
