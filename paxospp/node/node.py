"""``Node``: a replica inside a program. Its life cycle, and the calls made on it.

The constructor does nothing. ``start`` returns when the storage is loaded and the port is open, and waits for no other
node. ``close`` frees everything within two seconds. A node that has to stop ends its calls as ``close`` does and keeps
the cause; it never restarts itself.

A Node belongs to the event loop that started it. It installs no signal handler, prints nothing and keeps nothing in
module variables.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from paxospp.calls import Calls, Consistency, too_large
from paxospp.config import NodeConfig
from paxospp.errors import ConfigError, RejectedError, UnavailableError
from paxospp.events import Diverged, Event, FaultFound, NodeStarted, NodeStopped, SnapshotTaken
from paxospp.execution.executor import Executor
from paxospp.model import Change, NodeId
from paxospp.node.environment import Environment
from paxospp.node.identity import check_cluster
from paxospp.node.loading import LoadedStorage, load_storage
from paxospp.node.progress import progress_logged
from paxospp.node.recovery import recover
from paxospp.node.runtime import CLOSE_STORAGE_S, Runtime
from paxospp.node.status import NodeStatus, slots_text
from paxospp.plugins import PluginRegistry
from paxospp.plugins.opening import as_machine, check_given_machine, check_given_storage, fitting
from paxospp.rpc.listening import check_listen, split_address
from paxospp.state_machine import NotUnderstoodError, StateMachine, prepare
from paxospp.storage.contract import DurableState, Storage

_log = logging.getLogger("paxospp.node")


class Node(Calls):
    """One member of a cluster, in this process.

    Args:
        name: this node's name, one of the keys of ``cluster``.
        cluster: every member's name, and the address at which its peers and clients reach it. A new cluster is
            bootstrapped with these; an existing one knows its members, and other names are an error at start.
        storage: a URL such as ``file:./data/n1``, or a function that opens a storage.
        machine: an instance, a class or function that makes one, or a name as for ``--machine``.
        listen: the address to bind, when it differs from the advertised one.
        allow_volatile: accept a storage that forgets everything when the process ends, although the cluster has
            other nodes; the node then counts as a new, empty replica at every start.
        plugins: modules, objects, module names or ``FILE.py`` in addition to the installed plug-ins.
        on_event: called on the event loop with each of ``paxospp.events``; must return immediately.
        config: see ``NodeConfig``.

    Raises:
        ConfigError: an argument is not valid.
    """

    _owns_loop = False
    """Whether the event loop does nothing but this node's work; see ``Environment.owns_loop``."""

    def __init__(
        self,
        name: str,
        *,
        cluster: Mapping[str, str],
        storage: str | Callable[[], Storage],
        machine: StateMachine | Callable[[], StateMachine] | str,
        listen: str | None = None,
        allow_volatile: bool = False,
        plugins: Sequence[object] = (),
        on_event: Callable[[Event], None] | None = None,
        config: NodeConfig | None = None,
    ) -> None:
        _check_texts(name, cluster, listen)
        check_given_storage(storage)
        check_given_machine(machine)
        if not isinstance(config, NodeConfig | None):
            raise ConfigError(f"config is a paxospp.NodeConfig, such as NodeConfig(call_timeout_s=5), not {config!r}")
        self._cluster = check_cluster(name, cluster)
        self._name = NodeId(name)
        self._listen = self._cluster[self._name] if listen is None else listen
        split_address(self._listen)
        self._storage = storage
        self._machine = machine
        self._allow_volatile = allow_volatile
        self._plugins = plugins
        self._on_event = on_event
        self._config = NodeConfig() if config is None else config
        self._call_timeout_s = self._config.call_timeout_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runtime: Runtime | None = None
        self._cause: Exception | None = None
        self._closing: asyncio.Task[None] | None = None
        self._stopped = asyncio.Event()

    @property
    def name(self) -> str:
        return self._name

    @property
    def address(self) -> str:
        """The address at which peers and clients reach this node; after ``start`` with the real port instead of 0."""
        return self._cluster[self._name] if self._runtime is None else self._runtime.address

    # Life cycle.

    async def start(self) -> None:
        """Load the storage and open the port; do not wait for other nodes.

        Raises:
            ConfigError: an argument is not valid; nothing was written.
            PluginError: the storage or the machine was not found.
            StorageError: the storage cannot be used; ``LockedError`` if it is open already.
            RuntimeError: the node was started or closed before.
        """
        if self._loop is not None or self._closing is not None:
            raise RuntimeError(f"node {self._name} was started before: a Node starts once, make a new one")
        self._loop = asyncio.get_running_loop()
        runtime = await self._make_runtime()
        try:
            port = await runtime.server.start(self._listen)
            host, _, configured = runtime.address.rpartition(":")
            if configured == "0":
                runtime.address = f"{host}:{port}"
        except BaseException:
            await runtime.close()
            raise
        if self._closing is not None:
            await runtime.close()
            raise RuntimeError(f"node {self._name} was closed while it started")
        self._runtime = runtime
        runtime.start()
        if self._cause is None:
            runtime.tell(NodeStarted(node=self._name, address=runtime.address))

    async def _make_runtime(self) -> Runtime:
        registry = PluginRegistry(self._plugins)
        open_storage = registry.storage(self._storage, self._name) if isinstance(self._storage, str) else self._storage
        machine = self._make_machine(registry)
        prepare(machine)
        # Check the address before anything is written, although the port is opened later and may still be refused.
        await check_listen(self._listen)
        environment = self._make_environment()
        worker = environment.start_worker("writer")
        with progress_logged(self._name, "loading the storage"):
            loaded = await load_storage(
                self._name, lambda: _checked(open_storage()), worker, close_timeout_s=CLOSE_STORAGE_S
            )
        try:
            events = EventSink(self._name, registry, self._on_event)
            return await self._recover(loaded, machine, environment, events)
        except BaseException:
            await loaded.close(CLOSE_STORAGE_S)
            raise

    def _make_environment(self) -> Environment:
        return Environment.real(self._name, owns_loop=self._owns_loop)

    async def _recover(
        self, loaded: LoadedStorage, machine: StateMachine, environment: Environment, events: EventSink
    ) -> Runtime:
        if not loaded.storage.durable and len(self._cluster) > 1 and not self._allow_volatile:
            raise ConfigError(
                f"storage {self._storage!r} forgets everything when the process ends, and {self._name} is one of "
                f"{len(self._cluster)} nodes: use a durable one such as file:, or allow_volatile=True "
                "(--allow-volatile)"
            )
        damaged = _damaged_slots(loaded.state)
        if damaged:
            _log.warning(
                "node %s: its storage has damaged or lost slots, which have to come from another node: %s",
                self._name,
                damaged,
            )
        executor = Executor(machine)
        recovered = await loaded.run(
            lambda storage: recover(
                storage,
                loaded.state,
                name=self._name,
                cluster=self._cluster,
                executor=executor,
                random_bits=environment.random_bits,
            )
        )
        if recovered.damage is not None and loaded.state.snapshot is not None:
            reason = f"the snapshot of slot {loaded.state.snapshot.slot}: {recovered.damage}"
            events.tell(FaultFound(node=self._name, peer=None, reason=reason))
        return Runtime(loaded, recovered, self._config, environment, on_event=events.tell, on_failed=self._on_failed)

    def _make_machine(self, registry: PluginRegistry) -> StateMachine:
        given = self._machine
        if isinstance(given, str):
            given = registry.machine(given)
        machine = given if isinstance(given, StateMachine) else as_machine(given, f"machine={self._machine!r}")()
        if _was_used(machine):
            raise ConfigError(
                f"this {type(machine).__name__} has executed commands before, and the log would be applied on top of "
                "them: give each Node a new instance, or the class"
            )
        return machine

    async def wait_ready(self, timeout: float | None = None) -> None:
        """Return once there is a leader and this node has applied everything it knows to be decided.

        Raises:
            UnavailableError: not within ``timeout`` seconds, or the node ended; the message says what is missing.
        """
        await self._running().wait_ready(timeout)

    async def wait_stopped(self) -> None:
        """Return when the node was closed; raise the cause if it had to stop."""
        self._check_loop()
        await self._stopped.wait()
        if self._cause is not None:
            raise self._cause

    async def close(self) -> None:
        """End the node, within two seconds. Closing twice is allowed.

        Calls that were sent end with OutcomeUnknownError, those not sent yet with UnavailableError.
        """
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._stopped.set()
            return
        self._check_loop()
        await asyncio.shield(self._end())

    def _end(self) -> asyncio.Task[None]:
        """End every call immediately, and free the resources in a task."""
        if self._closing is None:
            assert self._loop is not None
            if self._runtime is not None:
                self._runtime.end(self._why_ended)
            self._closing = self._loop.create_task(self._free_resources(), name=f"paxospp close {self._name}")
        return self._closing

    async def _free_resources(self) -> None:
        try:
            if self._runtime is not None:
                await self._runtime.close()
                self._runtime.tell(NodeStopped(node=self._name, cause=self._cause))
        finally:
            self._stopped.set()

    def _why_ended(self) -> UnavailableError:
        if self._cause is None:
            return UnavailableError(f"node {self._name} is closed")
        error = UnavailableError(f"node {self._name} stopped: {self._cause}")
        error.__cause__ = self._cause
        return error

    def _on_failed(self, cause: Exception) -> None:
        """Stop, because the storage, the machine or a rule of the protocol failed."""
        if self._cause is None and self._closing is None:
            self._cause = cause
            # The text says all there is to say about a log that this machine does not know.
            trace = None if isinstance(cause.__cause__, NotUnderstoodError) else cause
            _log.critical("node %s stops: %s", self._name, cause, exc_info=trace)
            self._end()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # Calls.

    def _execute(self, payload: bytes, timeout_s: float | None) -> Awaitable[bytes]:
        runtime = self._runtime
        if runtime is None or self._closing is not None or asyncio.get_running_loop() is not self._loop:
            runtime = self._running()
        return runtime.local.execute(payload, timeout_s)

    async def _query(self, request: bytes, consistency: Consistency, timeout_s: float | None) -> bytes:
        runtime = self._running()
        if len(request) > self._config.value_bytes_max:
            raise RejectedError(too_large("query", len(request), self._config.value_bytes_max))
        return await runtime.queries.ask(request, timeout_s, consistency)

    async def take_snapshot(self) -> SnapshotTaken:
        """Take a snapshot of at least what is applied now and trim the log below it; return once it is current.

        Nodes also take snapshots by themselves; see ``NodeConfig``.

        Raises:
            UnavailableError: this node ended, has applied nothing, or is fetching or installing a peer's snapshot.
            StorageError: it could not be written; the node goes on.
        """
        return await self._running().snapshots.take()

    def watch(self, start: int | None = None) -> AsyncGenerator[Change, None]:
        """Iterate over every command that took effect, from slot ``start`` on, as this node applies it; without end.

        Results are not in the feed, because they are not in the log; ``decide`` and similar calls are not either.
        ``start`` may be a future slot; without it, the feed begins with the slot applied next.

        Raises:
            ValueError: ``start`` is negative.

        Raises, while iterating:
            TrimmedError: the log begins later, at the error's ``first``; start from ``snapshot_stream`` instead.
            UnavailableError: this node ended.
            CorruptedError: this node's copy of the log is damaged there.
        """
        return self._running().watches.begin(start).changes()

    async def snapshot_stream(self) -> tuple[int, AsyncGenerator[bytes, None]]:
        """Return the slot applied last, and the state of the machine as of it, in chunks for ``restore``.

        Together with ``watch(slot + 1)`` this is all that a copy of the machine needs.

        Raises:
            UnavailableError: this node ended, or is installing a peer's snapshot.
        """
        return self._running().watches.machine_chunks()

    def status(self) -> NodeStatus:
        """Return what this node knows about itself now; also after it had to stop.

        Raises:
            RuntimeError: the node was not started, or not in this event loop.
        """
        self._check_loop()
        if self._runtime is None:
            raise RuntimeError(f"node {self._name} was not started")
        return self._runtime.status()

    def _running(self) -> Runtime:
        self._check_loop()
        if self._closing is not None:
            raise self._why_ended()
        if self._runtime is None:
            raise RuntimeError(f"node {self._name} was not started: use `async with` or await start()")
        return self._runtime

    def _check_loop(self) -> None:
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if self._loop is None:
            raise RuntimeError(f"node {self._name} was not started: use `async with` or await start()")
        if running is not self._loop:
            raise RuntimeError(
                f"node {self._name} belongs to the event loop that started it: from another loop or thread use "
                "paxospp.sync.Node"
            )


class EventSink:
    """Logs the events of one node and passes them to its plug-ins and to ``on_event``."""

    def __init__(self, name: NodeId, registry: PluginRegistry, on_event: Callable[[Event], None] | None) -> None:
        self._name = name
        self._registry = registry
        self._on_event = on_event

    def tell(self, event: Event) -> None:
        """Pass ``event`` on; an exception that it causes is logged and goes no further."""
        _log.log(logging.WARNING if isinstance(event, (FaultFound, Diverged)) else logging.INFO, "%s", event)
        self._registry.notify(event)
        if self._on_event is not None:
            try:
                self._on_event(event)
            except Exception:
                _log.exception("node %s: on_event raised an exception for %s", self._name, type(event).__name__)


def _check_texts(name: object, cluster: object, listen: object) -> None:
    """Raise ConfigError if one of these arguments of ``Node`` has the wrong type."""
    if not isinstance(name, str):
        raise ConfigError(f"the name of a node is a str such as 'n1', not {name!r}")
    if not isinstance(cluster, Mapping):
        raise ConfigError(
            f"cluster is a dict of names and addresses, such as {{'n1': '127.0.0.1:7001'}}, not {cluster!r}"
        )
    for member, address in cluster.items():
        if not isinstance(member, str):
            raise ConfigError(f"cluster: the name of a node is a str such as 'n1', not {member!r}")
        if not isinstance(address, str):
            raise ConfigError(f"cluster: the address of {member} is a str such as '127.0.0.1:7001', not {address!r}")
    if not isinstance(listen, str | None):
        raise ConfigError(f"listen is an address such as '0.0.0.0:7001', not {listen!r}")


def _damaged_slots(state: DurableState) -> str:
    """Return the damaged slots that the snapshot does not cover, such as "3, 5 to 7, 9 and later"."""
    covered = 0 if state.snapshot is None else state.snapshot.slot
    return ", ".join(slots_text(slots) for slots in state.faulty if slots.stop - 1 > covered)


def _was_used(machine: StateMachine) -> bool:
    """Whether an executor has executed a command on this instance."""
    try:
        _ = machine.context
    except RuntimeError:
        return False
    return True


def _checked(storage: object) -> Storage:
    if not isinstance(storage, Storage):
        raise ConfigError(f"opening the storage returned a {type(storage).__name__}, which is not a paxospp.Storage")
    return fitting(storage, type(storage).__name__)
