"""``Node``: a replica inside somebody's program. Its life cycle, and the calls made on it.

Constructing does nothing. ``start`` returns when the storage is loaded and the port is open,
and waits for nobody; ``close`` leaves nothing behind within two seconds. A node that has to
stop ends its calls as ``close`` does and keeps the cause; it never starts itself again.

A Node lives in the loop that started it. It installs no signal handler, prints nothing and
keeps nothing in modules.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar

from paxospp.calls import Calls, Consistency
from paxospp.config import NodeConfig
from paxospp.errors import ConfigError, CorruptedError, RejectedError, UnavailableError
from paxospp.events import Diverged, Event, FaultFound, NodeStarted, NodeStopped, SnapshotTaken
from paxospp.execution.executor import Executor
from paxospp.model import Change, NodeId, SnapshotMeta
from paxospp.node.boot_time import boot_time
from paxospp.node.identity import StoredIdentity, check_cluster
from paxospp.node.in_place import InPlace
from paxospp.node.pacing import PACING
from paxospp.node.parts import Parts
from paxospp.node.snapshots import Progress, restore_current
from paxospp.node.snapshots.restoring import FIRST_S, damaged
from paxospp.node.status import NodeStatus
from paxospp.node.writer import Writer
from paxospp.plugins import PluginRegistry
from paxospp.plugins.opening import fitting
from paxospp.rpc.listening import check_listen, split_address
from paxospp.state_machine import StateMachine, prepare
from paxospp.storage.contract import DurableState, Storage

T = TypeVar("T")

_log = logging.getLogger("paxospp.node")


class Node(Calls):
    """One member of a cluster, in this process.

    Args:
        name: which of ``cluster`` this node is.
        cluster: every member's name and the address its peers and clients reach it at. It founds
            a new cluster; a founded one knows its members, and other names are an error at start.
        storage: a URL such as ``file:./data/n1``, or a function that opens a storage.
        machine: an instance, a class or function that makes one, or a name as for ``--machine``.
        listen: the address to bind, when it differs from the advertised one.
        allow_volatile: take a storage that forgets at the end of the process for a voter of
            several; it then counts as a new, empty replica at every start.
        plugins: modules, objects, module names or ``FILE.py`` besides those that are installed.
        on_event: called on the loop with each of ``paxospp.events``; must return at once.
        config: see ``NodeConfig``.
    """

    _owns_loop = False
    """Whether the loop does nothing but this node's work, so that it may wait for the disk (``in_place``)."""

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
        self._cluster = check_cluster(name, cluster)
        self._name = NodeId(name)
        self._listen = self._cluster[self._name] if listen is None else listen
        split_address(self._listen)
        self._storage = storage
        self._machine = machine
        self._allow_volatile = allow_volatile
        self._plugins = plugins
        self._observer = on_event
        self._config = NodeConfig() if config is None else config
        self._call_timeout_s = self._config.call_timeout_s
        self._registry: PluginRegistry | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._parts: Parts | None = None
        self._cause: Exception | None = None
        self._closing: asyncio.Task[None] | None = None
        self._stopped = asyncio.Event()

    @property
    def name(self) -> str:
        return self._name

    @property
    def address(self) -> str:
        """Where peers and clients reach this node; with the real port once it has one."""
        return self._cluster[self._name] if self._parts is None else self._parts.address

    # Life.

    async def start(self) -> None:
        """Load the storage and open the port; wait for nobody.

        Raises:
            ConfigError: something given does not fit; nothing was written.
            PluginError: storage or machine are not to be had. StorageError: the store cannot
                be used, ``LockedError`` when somebody else has it open.
        """
        if self._loop is not None or self._closing is not None:
            raise RuntimeError(f"node {self._name} was started before; a Node starts once, make a new one")
        self._loop = asyncio.get_running_loop()
        writer = Writer(
            self._name,
            on_persisted=self._on_persisted,
            on_failed=self._on_failed,
            in_place=InPlace() if self._owns_loop else None,
        )
        parts: Parts | None = None
        try:
            parts = await self._make_parts(writer)
            port = await parts.server.start(self._listen)
            host, _, configured = parts.address.rpartition(":")
            if configured == "0":
                parts.address = f"{host}:{port}"
        except BaseException:
            await (writer.close(1.0) if parts is None else parts.close())
            raise
        if self._closing is not None:
            await parts.close()
            raise RuntimeError(f"node {self._name} was closed while it started")
        self._parts = parts
        parts.start()
        if self._cause is None:
            self._tell(NodeStarted(node=self._name, address=parts.address))

    async def _make_parts(self, writer: Writer) -> Parts:
        self._registry = PluginRegistry(self._plugins)
        open_storage = (
            self._registry.storage(self._storage, self._name) if isinstance(self._storage, str) else self._storage
        )
        machine = self._make_machine(self._registry)
        prepare(machine)
        # Before anything is written; the server binds later, and may then still be refused.
        await check_listen(self._listen)
        state = await self._say_when_long("loading the storage", writer.open(lambda: _checked(open_storage())))
        if not writer.durable and len(self._cluster) > 1 and not self._allow_volatile:
            raise ConfigError(
                f"storage {self._storage!r} forgets everything when the process ends, and {self._name} is one of "
                f"{len(self._cluster)} nodes: use a durable one such as file:, or allow_volatile=True "
                "(--allow-volatile)"
            )
        founding = await writer.first_entry() if state.decided else None
        stored = StoredIdentity(self._name, self._cluster, state, founding)
        executor = Executor(machine)
        restored_bytes = 0
        if state.snapshot is not None:
            restored_bytes = await self._restore(writer, state, state.snapshot, executor)
        for _, membership in executor.memberships[-1:]:
            stored.check_membership(membership)
        identity, batch = stored.begin(self._cluster)
        await writer.persist_now(batch)
        loop = asyncio.get_running_loop()
        return Parts(
            identity,
            state,
            writer,
            machine,
            self._config,
            loop=loop,
            on_event=self._tell,
            on_failed=self._on_failed,
            stopped_by=lambda: self._cause,
            executor=executor,
            restored_bytes=restored_bytes,
            boot_time=boot_time,
            pacing=PACING,
        )

    async def _restore(self, writer: Writer, state: DurableState, meta: SnapshotMeta, executor: Executor) -> int:
        """Take over the storage's snapshot; its size, 0 if it is damaged and the log or a peer's will have to do."""
        try:
            return await writer.run(lambda storage: restore_current(self._name, storage, executor, state.promised))
        except CorruptedError as error:
            if len(self._cluster) == 1 and state.first > 1:
                raise damaged(meta, error) from error
            # Promise and log are whole, so this node votes as before; its state comes from the log or a peer.
            self._tell(FaultFound(node=self._name, peer=None, reason=f"the snapshot of slot {meta.slot}: {error}"))
            return 0

    async def _say_when_long(self, what: str, work: Awaitable[T]) -> T:
        """The result of ``work``; the log says every now and then that it is still under way."""
        progress = Progress(self._name, what)
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait([task], timeout=FIRST_S))[0]:
                progress.at("still at it")
            return task.result()
        finally:
            task.cancel()

    def _make_machine(self, registry: PluginRegistry) -> StateMachine:
        given = self._machine
        if isinstance(given, str):
            given = registry.machine(given)
        machine = given if isinstance(given, StateMachine) else given()
        if not isinstance(machine, StateMachine):
            raise ConfigError(
                f"machine={self._machine!r} gave {type(machine).__name__}, which is no paxospp.StateMachine"
            )
        if _was_used(machine):
            raise ConfigError(
                f"this {type(machine).__name__} has run commands already, and the log would run them on top: "
                "give each Node a new instance, or the class"
            )
        return machine

    async def wait_ready(self, timeout: float | None = None) -> None:
        """Return once somebody leads and this node has applied all it knows decided.

        Raises:
            UnavailableError: not within ``timeout``, or the node ended; the text says what is missing.
        """
        await self._running().wait_ready(timeout)

    async def wait_stopped(self) -> None:
        """Return when the node was closed; raise the cause when it had to stop."""
        self._check_loop()
        await self._stopped.wait()
        if self._cause is not None:
            raise self._cause

    async def close(self) -> None:
        """End: calls under way are unknown, those not sent unavailable. At most two seconds; may come twice."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._stopped.set()
            return
        self._check_loop()
        await asyncio.shield(self._end())

    def _end(self) -> asyncio.Task[None]:
        """End every call at once, and let go of everything in a task of its own."""
        if self._closing is None:
            assert self._loop is not None
            if self._parts is not None:
                self._parts.end(self._why_ended)
            self._closing = self._loop.create_task(self._let_go(), name=f"paxospp close {self._name}")
        return self._closing

    async def _let_go(self) -> None:
        try:
            if self._parts is not None:
                await self._parts.close()
                self._tell(NodeStopped(node=self._name, cause=self._cause))
        finally:
            self._stopped.set()

    def _why_ended(self) -> UnavailableError:
        if self._cause is None:
            return UnavailableError(f"node {self._name} is closed")
        error = UnavailableError(f"node {self._name} stopped: {self._cause}")
        error.__cause__ = self._cause
        return error

    def _on_persisted(self, token: int) -> None:
        if self._parts is not None:
            self._parts.driver.persisted(token)

    def _on_failed(self, cause: Exception) -> None:
        """Storage, machine or a rule of the protocol failed: silence, now."""
        if self._cause is None and self._closing is None:
            self._cause = cause
            _log.critical("node %s stops: %s", self._name, cause, exc_info=cause)
            self._end()

    def _tell(self, event: Event) -> None:
        _log.log(logging.WARNING if isinstance(event, (FaultFound, Diverged)) else logging.INFO, "%s", event)
        if self._registry is not None:
            self._registry.notify(event)
        if self._observer is not None:
            try:
                self._observer(event)
            except Exception:
                _log.exception("on_event of node %s failed to hear %s", self._name, type(event).__name__)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # Calls.

    def _execute(self, payload: bytes, timeout_s: float | None) -> Awaitable[bytes]:
        parts = self._parts
        if parts is None or self._closing is not None or asyncio.get_running_loop() is not self._loop:
            parts = self._running()
        return parts.local.execute(payload, timeout_s)

    async def _query(self, request: bytes, consistency: Consistency, timeout_s: float | None) -> bytes:
        parts = self._running()
        if len(request) > self._config.value_bytes_max:
            raise RejectedError(
                f"the query has {len(request)} bytes, more than value_bytes_max={self._config.value_bytes_max}"
            )
        return await parts.queries.ask(request, timeout_s, consistency)

    async def take_snapshot(self) -> SnapshotTaken:
        """Take a snapshot of at least what is applied now, and trim the log behind it; returns once it is current.

        Nodes take them by themselves, see ``NodeConfig``.

        Raises:
            UnavailableError: this node ended, has applied nothing, or is just installing a peer's.
            StorageError: it could not be written; the node goes on.
        """
        return await self._running().snapshots.take()

    def watch(self, start: int | None = None) -> AsyncGenerator[Change, None]:
        """Every command that took effect, from slot ``start`` on, as this node has applied it; without end.

        Results are not in the log and not in the feed; nor are ``decide`` and its like. ``start`` may
        lie ahead; without it, the feed begins with what is applied next.

        Raises, from the iteration:
            TrimmedError: the log begins later, at its ``first``; ``snapshot_stream`` is what to start from.
            UnavailableError: this node ended. CorruptedError: this node's copy of the log is damaged there.
        """
        return self._running().watches.begin(start).changes()

    async def snapshot_stream(self) -> tuple[int, AsyncGenerator[bytes, None]]:
        """The state of the machine: the slot it is as of, and what ``restore`` of another one takes, in chunks.

        With ``watch(slot + 1)`` it is all that a copy of the machine needs.
        """
        return self._running().watches.machine_chunks()

    def status(self) -> NodeStatus:
        """What this node says of itself now; also after it had to stop."""
        self._check_loop()
        if self._parts is None:
            raise RuntimeError(f"node {self._name} was not started")
        return self._parts.status()

    def _running(self) -> Parts:
        self._check_loop()
        if self._closing is not None:
            raise self._why_ended()
        if self._parts is None:
            raise RuntimeError(f"node {self._name} was not started: use `async with` or await start()")
        return self._parts

    def _check_loop(self) -> None:
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if self._loop is None:
            raise RuntimeError(f"node {self._name} was not started: use `async with` or await start()")
        if running is not self._loop:
            raise RuntimeError(
                f"node {self._name} lives in the event loop that started it; from another loop or thread use "
                "paxospp.sync.Node"
            )


def _was_used(machine: StateMachine) -> bool:
    """Whether an executor has run something on this instance."""
    try:
        _ = machine.context
    except RuntimeError:
        return False
    return True


def _checked(storage: object) -> Storage:
    if not isinstance(storage, Storage):
        raise ConfigError(f"opening the storage returned a {type(storage).__name__}, which is not a paxospp.Storage")
    return fitting(storage, type(storage).__name__)
