"""The rooms of a simulated node: those of a real one, as far as they do not touch the world.

``Parts``, with its driver, front door, local, remote and query rooms, its executor and its replica, is the one that
``paxospp.Node`` is made of. Other are only the event loop (``VirtualLoop``), the threads (``VirtualWorker``), the
links (``VirtualLinks``), the clocks and chance, which are passed in, as is the observer; the server has no port.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from paxospp.engine.replica import Replica
from paxospp.engine.settings import Identity
from paxospp.execution.executor import Apply, Executor
from paxospp.messages import Message
from paxospp.model import Entry, NodeId
from paxospp.node.parts import Parts
from paxospp.node.writer import Writer
from paxospp.rpc.peers import PeerLinks
from paxospp.sessions.table import RunOutcome
from paxospp.state_machine import Context, StateMachine
from paxospp.storage.contract import DurableState
from paxospp.testing.machine_checks.state_comparison import disturb_sets
from paxospp.testing.simulation.calling import WatchedCaller
from paxospp.testing.simulation.rebirth import loosen
from paxospp.testing.simulation.storage import VirtualStorage
from paxospp.testing.simulation.validation.watched import WatchedReplica
from paxospp.testing.simulation.virtual_time import VirtualLoop

if TYPE_CHECKING:
    from paxospp.testing.simulation.host import Host


class Loaded(NamedTuple):
    """What a start has found on disk."""

    life: VirtualLoop
    identity: Identity
    state: DurableState
    storage: VirtualStorage
    executor: WatchedExecutor
    restored_bytes: int


def virtual_parts(host: Host, loaded: Loaded, writer: Writer) -> Parts:
    """What a node is made of, on virtual time, links and disks."""
    assert host.loop is not None
    validator = host.world.validator
    return Parts(
        loaded.identity,
        loaded.state,
        writer,
        loaded.executor.machine,
        host.world.plan.config_of(host.index),
        loop=host.loop,
        on_event=host.on_event,
        on_failed=host.fail,
        stopped_by=lambda: host.cause,
        executor=loaded.executor,
        restored_bytes=loaded.restored_bytes,
        boot_time=host.boot_time,
        unix_time=host.unix_time,
        links=VirtualLinks(host),
        caller=WatchedCaller(host.world.history, host.random),
        draw_random=lambda: Random(host.random.getrandbits(64)),
        make_replica=Replica if validator is None else partial(WatchedReplica, judge=validator),
        pacing=host.world.plan.pacing,
        observer=host.observer,
    )


class WatchedExecutor(Executor):
    """The executor, with everything it does looked at."""

    def __init__(self, host: Host, machine: StateMachine) -> None:
        super().__init__(machine, host.observer, around=self._around)
        self._host = host
        self._rebirth = host.world.plan.rebirth
        self._chance = host.rebirths

    def _around(self, apply: Apply, is_own: bool) -> Apply:
        """Count commands; those of the machine beside the user's meet no trouble."""

        def counted(payload: bytes, context: Context) -> bytes:
            host = self._host
            host.executed += 1
            if not is_own:
                host.world.troubles.on_command(host)
            return apply(payload, context)

        return counted

    def apply(self, entry: Entry) -> Sequence[RunOutcome]:
        history = self._host.world.history
        self._host.world.invariants.on_apply(self._host, entry)
        self._host.executed = 0
        outcomes = super().apply(entry)
        history.on_applied(self._host, self, entry, outcomes)
        if self._rebirth and self._chance.random() < self._rebirth:
            self.live_again()
        return outcomes

    def on_restored(self) -> None:
        # Equal sets need not iterate alike, and a machine must not depend on it: let it show.
        disturb_sets(getattr(self.machine, "__dict__", {}), Random(f"{self._host.world.seed} sets {self.applied}"))
        self._host.world.history.on_restored(self._host, self)
        self._host.applied = self.applied

    def answer(self, request: bytes) -> bytes:
        history = self._host.world.history
        try:
            answer = super().answer(request)
        except Exception:
            history.on_read(request, self, None)
            raise
        history.on_read(request, self, answer)
        return answer

    def live_again(self) -> None:
        """Pass the whole state through a snapshot into a new machine, as a restart from one does."""
        snapshot = list(self.encode_snapshot())
        machine = self._host.world.plan.machine()
        Executor.__init__(self, machine, self._host.observer, around=self._around)
        self.restore(snapshot)
        loosen(machine)
        self._host.world.coverage["a state went through a snapshot"] += 1


class VirtualLinks(PeerLinks):
    """Says what the node says into the virtual network."""

    def __init__(self, host: Host) -> None:
        # Not the base's: nothing is dialled.
        self.dropped = Counter()
        self._host = host
        self._network = host.world.network

    def set_peers(self, addresses: Mapping[NodeId, str]) -> None:
        """The network knows everybody."""

    def send(self, to: NodeId, message: Message) -> None:
        self._network.send(self._host, to, message)

    def connected(self) -> frozenset[NodeId]:
        return frozenset()

    def reset(self, peer: NodeId) -> None:
        """Keep-alive does it."""
