"""The rooms of a simulated node: those of a real one, as far as they do not touch the world.

``Parts``, with its driver, front door, local, remote and query rooms, its executor and its replica,
is the one that ``paxospp.Node`` is made of. Replaced are only the event loop (``VirtualLoop``), the
threads (``VirtualWriter``), the links (``VirtualLinks``) and the server, which nobody dials; what
the front door, the queries and the executor do is looked at as they do it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from paxospp.config import NodeConfig
from paxospp.engine.output import ReadReady
from paxospp.engine.settings import Identity
from paxospp.execution.executor import Executor
from paxospp.execution.instances import is_own
from paxospp.execution.sessions import RunOutcome
from paxospp.messages import Message
from paxospp.model import Entry, NodeId, Slot, SnapshotMeta
from paxospp.node.parts import Parts
from paxospp.rpc.peers import PeerLinks
from paxospp.rpc.server import Server
from paxospp.state_machine import StateMachine
from paxospp.storage.contract import DurableState
from paxospp.testing.machine_checks.comparison import disturb_sets
from paxospp.testing.simulation.bounds import check_log
from paxospp.testing.simulation.broken import Broken
from paxospp.testing.simulation.calling import WatchedCaller
from paxospp.testing.simulation.disk import VirtualStorage
from paxospp.testing.simulation.rebirth import loosen
from paxospp.testing.simulation.values import with_unix_time
from paxospp.testing.simulation.virtual_time import VirtualLoop
from paxospp.testing.simulation.writing import VirtualWriter

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


class VirtualParts(Parts):
    """What a node is made of, on virtual time, links and disks."""

    def __init__(self, host: Host, loaded: Loaded, writer: VirtualWriter) -> None:
        self._host = host
        self._sharing: dict[bool, list[object]] = {False: [], True: []}
        """Who shares the ticket that was drawn last, by round or by lease."""
        assert host.loop is not None
        super().__init__(
            loaded.identity,
            loaded.state,
            writer,
            loaded.executor._machine,
            host.world.plan.config,
            loop=host.loop,
            on_event=host.on_event,
            on_failed=host.fail,
            stopped_by=lambda: host.cause,
            executor=loaded.executor,
            restored_bytes=loaded.restored_bytes,
            boot_time=host.boot_time,
        )
        self.local._caller = WatchedCaller(host.world.history, host.random)
        self.front._propose = self._propose
        publish = self.driver.publish

        def watched_publish(meta: SnapshotMeta, first: Slot, then: Callable[[], None]) -> None:
            check_log(host, meta.slot, first)
            publish(meta, first, then)

        self.driver.publish = watched_publish  # type: ignore[method-assign]
        ask_all, on_asked = self.queries.ask_all, host.world.history.on_asked

        def watched(requests: Sequence[bytes], *arguments: Any) -> None:
            for request in requests:
                on_asked(request)
            ask_all(requests, *arguments)

        self.queries.ask_all = watched  # type: ignore[method-assign, assignment]
        self.queries._read = self._watched_read

    def _watched_read(self, ticket: int, lease: bool) -> None:
        protocol, cluster, host = self.replica._protocol, self.replica._cluster, self._host
        if lease and protocol.leading and protocol.lease.is_held(host.name, cluster.voters, host.boot_time()):
            host.world.coverage["a read was confirmed by a lease"] += 1
        lane = self.queries._by_lease if lease else self.queries._by_round
        self._sharing[lease] = list(lane.asked or ())
        self.driver.read(ticket, lease)

    def _on_readable(self, ready: ReadReady) -> None:
        """A ticket came back: what the query room takes its state for, as of when, is what it is (13)."""
        before = self.queries._freshest
        for lane in self.queries._lanes:
            if lane.ticket == ready.ticket and lane.asked is not None and lane.asked != self._sharing[lane.lease]:
                raise Broken("B32", f"{self._host.name} confirms a query by a ticket that was drawn before it came")
        super()._on_readable(ready)
        freshest, host = self.queries._freshest, self._host
        if freshest is not None and freshest is not before:
            host.world.history.check_fresh(host.name, freshest.slot, host.world_time_of(freshest.begun_at))

    def _propose(self, value: bytes, awaited_elsewhere: bool) -> None:
        """Proposes what the front door made, with the virtual wall clock in it."""
        self.driver.propose(with_unix_time(value, self._host.unix_time()), awaited_elsewhere)

    def on_frame(self, data: bytes) -> None:
        """Bytes that came over a link."""
        self._on_frame(data)

    def _make_random(self) -> Random:
        return Random(self._host.random.getrandbits(64))

    def _make_links(self, config: NodeConfig) -> PeerLinks:
        return VirtualLinks(self._host)

    def _make_server(self) -> Server:
        return NoServer()


class WatchedExecutor(Executor):
    """The executor, with everything it does looked at."""

    def __init__(self, host: Host, machine: StateMachine) -> None:
        super().__init__(machine)
        self._host = host
        self._rebirth = host.world.plan.rebirth
        self._chance = host.rebirths
        self._watch_commands()

    def _watch_commands(self) -> None:
        inner = self._apply_command
        host = self._host
        trouble = host.world.troubles.on_command

        def apply(payload: bytes, context: Any) -> bytes:
            host.executed += 1
            trouble(host)
            return inner(payload, context)

        self._apply_command = apply

    def _apply_any(self, payload: bytes, context: Any) -> bytes:
        self._host.executed += is_own(payload)  # of the machine beside the user's, which meets no trouble
        return super()._apply_any(payload, context)

    def apply(self, entry: Entry) -> Sequence[RunOutcome]:
        history = self._host.world.history
        self._host.world.invariants.on_apply(self._host, entry)
        self._host.executed = 0
        outcomes = super().apply(entry)
        history.on_applied(self._host, self, entry, outcomes)
        if self._rebirth and self._chance.random() < self._rebirth:
            self.live_again()
        return outcomes

    def _finish_restore(self, state: Any, stopped: Any) -> None:
        super()._finish_restore(state, stopped)
        if state is not None:
            # Equal sets need not iterate alike, and a machine must not depend on it: let it show.
            disturb_sets(getattr(self._machine, "__dict__", {}), Random(f"{self._host.world.seed} sets {self.applied}"))
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
        fresh = WatchedExecutor(self._host, self._host.world.plan.machine())
        fresh.restore(self.encode_snapshot())
        loosen(fresh._machine)
        self.__dict__.update(fresh.__dict__)
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


class NoServer(Server):
    """Nobody dials a virtual node."""

    def __init__(self) -> None:
        """There is no port."""
