"""A running node: one replica with its storage, links, server and callers, wired together.

``Runtime`` makes the parts in the order of their dependencies and passes on what one part reports and others need:
frames and calls come in from ``rpc``, and the driver reports what the engine and the machine did.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence

from paxospp.config import NodeConfig
from paxospp.engine.handlers.learning import stored_membership
from paxospp.engine.output import SettledRead
from paxospp.engine.replica import Replica
from paxospp.errors import PaxosppError, UnavailableError
from paxospp.events import Diverged, Event, LeaderChanged
from paxospp.execution.executor import Executor
from paxospp.messages import ForwardRuns, Message, ProtocolMessage, Sender, SnapshotChunk, SnapshotRequest
from paxospp.model import Entry, Membership, NodeId, Slot
from paxospp.node.default_arguments import DefaultArguments
from paxospp.node.driver import Driver
from paxospp.node.engine_settings import settings_of
from paxospp.node.environment import Environment
from paxospp.node.freshness import Freshness
from paxospp.node.inbox import Inbox
from paxospp.node.loading import LoadedStorage
from paxospp.node.local import LocalCalls
from paxospp.node.observer import NO_NODE_OBSERVER, NodeObserver
from paxospp.node.progress import ProgressLog
from paxospp.node.queries import Queries
from paxospp.node.recovery import Recovered
from paxospp.node.remote import RemoteCalls
from paxospp.node.remote_feeds import RemoteFeeds
from paxospp.node.snapshots.coordinator import SnapshotCoordinator
from paxospp.node.status import NodeStatus, encode_status, notes_of
from paxospp.node.watch import Watches
from paxospp.node.writer import InlineWrites, Writer
from paxospp.rpc.server import Server
from paxospp.sessions.table import RunAnswer
from paxospp.state_machine import describe
from paxospp.storage.contract import DurableState
from paxospp.wire.frames import FrameDecoder, MalformedFrameError
from paxospp.wire.v1 import client_pb2 as pb

CLOSE_RPC_S = 0.6
CLOSE_STORAGE_S = 1.0

_log = logging.getLogger("paxospp.node")


class Runtime:
    """One replica, its storage, its links, its server and its callers.

    It is the driver's ``DriverClient``: the driver reports here, and the report goes to the parts that it concerns. The
    writer and the driver report nothing before ``start``, when all parts exist.
    """

    def __init__(
        self,
        loaded: LoadedStorage,
        recovered: Recovered,
        config: NodeConfig,
        environment: Environment,
        *,
        on_event: Callable[[Event], None],
        on_failed: Callable[[Exception], None],
        observer: NodeObserver = NO_NODE_OBSERVER,
    ) -> None:
        """Wire up a node around a loaded storage and what was recovered from it; nothing runs before ``start``.

        Args:
            on_event: called with each event of this node.
            on_failed: called once, when the storage, the machine or a rule of the protocol failed. The node
                sends nothing from then on; its owner calls ``end``.
        """
        identity, state, executor = recovered.identity, loaded.state, recovered.executor
        loop, pacing = environment.loop, environment.pacing
        self.name = identity.name
        self.address = identity.cluster[identity.name]
        self._cluster = identity.cluster
        self._frames = FrameDecoder(self.name)
        self._loop = loop
        self.tell = on_event
        self._report_failure = on_failed
        self._observer = observer
        self._cause: Exception | None = None
        self._diverged: Diverged | None = None
        self._dropped: Counter[str] = Counter()
        self._waiting_for_ready: list[asyncio.Future[None]] = []
        self._started = False
        self._ended: Callable[[], UnavailableError] | None = None

        caller = environment.make_caller(environment.random_bytes(16))
        self.executor = executor
        self.replica = environment.make_replica(
            identity,
            state,
            settings_of(config),
            environment.new_random(),
            memberships=memberships_of(executor, state),
            applied=executor.applied,
            boot_time=lambda _: environment.boot_time(),
            observer=observer,
        )
        self._replay_log = ReplayLog(self.name, executor, self.replica, loop.time)
        self._writer = Writer(
            loaded,
            start_worker=environment.start_worker,
            on_persisted=self.on_persisted,
            on_failed=self.on_failed,
            inline=InlineWrites() if environment.owns_loop else None,
            observer=observer,
        )
        self.links = environment.make_links(config, lambda: self.replica.sender)
        self.driver = Driver(
            self.replica, executor, self._writer, self.links, loop=loop, client=self, pacing=pacing, observer=observer
        )
        freshness = Freshness(self.replica, executor)
        defaults = DefaultArguments(executor.machine)
        self.local = LocalCalls(
            self.replica,
            executor,
            config,
            caller,
            loop=loop,
            random_bytes=environment.random_bytes,
            advance_soon=self.driver.advance_soon,
            why_unavailable=self._why_unavailable,
            freshness=freshness,
            defaults=defaults,
            observer=observer,
        )
        self.queries = Queries(
            executor,
            self.driver,
            bytes_max=config.inbox_bytes_max,
            loop=loop,
            boot_time=environment.boot_time,
            why_unavailable=self._why_unavailable,
            pacing=pacing,
            observer=observer,
        )
        self.inbox = Inbox(
            self.driver,
            executor,
            self._writer,
            self.links,
            config,
            self.local,
            loop=loop,
            unix_time_us=environment.unix_time_us,
            observer=observer,
        )
        self.remote = RemoteCalls(
            self.replica, executor, self.inbox, self.queries, config, self._cluster, freshness, defaults
        )
        self.snapshots = SnapshotCoordinator(
            self.replica,
            executor,
            self._writer,
            self.driver,
            config,
            loop=loop,
            random=environment.new_random(),
            restored_bytes=recovered.restored_bytes,
            current=state.snapshot,
            send=self.links.send,
            on_installed=self.local.on_installed,
            on_event=on_event,
            pacing=pacing,
            observer=observer,
        )
        self.watches = Watches(
            self.replica, executor, self._writer, loop=loop, on_damage=self.driver.on_damage, observer=observer
        )
        self.server = Server(
            on_frame=self.on_frame,
            calls=self.remote,
            feeds=RemoteFeeds(self.replica, self.watches),
            status=self._encoded_status,
            take_snapshot=self._take_snapshot,
            ready=lambda: self.is_ready,
        )

    def start(self) -> None:
        """Begin to take part; the server is open. Frames that came earlier were dropped."""
        self._started = True
        self.links.set_peers(self._cluster)
        self.driver.start()

    # Messages from peers.

    def on_frame(self, data: bytes) -> None:
        """Decode a frame that came over a link, and handle its messages."""
        if not self._started or self.driver.stopped:
            return
        try:
            sender, messages = self._frames.decode(data)
        except MalformedFrameError as error:
            self._count_malformed(error)
            return
        self.receive(sender, messages)

    def receive(self, sender: Sender, messages: Sequence[Message]) -> None:
        """Handle the messages of one frame."""
        protocol: list[ProtocolMessage] = []
        for message in messages:
            if isinstance(message, ForwardRuns):
                self._on_forwarded(sender, message)
            elif isinstance(message, (SnapshotRequest, SnapshotChunk)):
                self._on_snapshot_message(sender, message)
            else:
                protocol.append(message)
        self.driver.receive(sender, protocol)

    def _on_snapshot_message(self, sender: Sender, message: SnapshotRequest | SnapshotChunk) -> None:
        own = self.replica.sender
        # A node without a cluster, or one that lost its disk, may ask for a snapshot but not send one.
        lacks_cluster_id = not sender.cluster_id and isinstance(message, SnapshotChunk)
        if lacks_cluster_id or (own.cluster_id and sender.cluster_id and sender.cluster_id != own.cluster_id):
            self._dropped["snapshots of another cluster"] += 1
        elif sender.group != own.group or sender.node not in self._cluster or sender.node == self.name:
            self._dropped["snapshots of an unknown sender"] += 1
        elif not self.driver.stopped:
            self.snapshots.on_message(sender, message)

    def _count_malformed(self, error: MalformedFrameError) -> None:
        reason = f"frame: {error.reason}"
        self._dropped[reason] += 1
        if self._dropped[reason] == 1:
            _log.warning("node %s: dropped a malformed frame: %s; status counts further ones", self.name, error.reason)

    def _on_forwarded(self, sender: Sender, message: ForwardRuns) -> None:
        own = self.replica.sender
        if not own.cluster_id or sender.cluster_id != own.cluster_id or sender.group != own.group:
            self._dropped["runs of another cluster"] += len(message.runs)
        elif sender.node not in self._cluster or sender.node == self.name:
            self._dropped["runs of an unknown sender"] += len(message.runs)
        else:
            self.inbox.on_forwarded(sender, message.runs)

    # Reports of the writer and the driver.

    def on_persisted(self, token: int) -> None:
        self._observer.persisted(token)
        self.driver.on_persisted(token)

    def on_answers(self, answers: Sequence[RunAnswer]) -> None:
        self.inbox.on_answers(answers)

    def on_applied(self, entry: Entry) -> None:
        self.snapshots.on_applied(entry)

    def on_read_settled(self, ready: SettledRead) -> None:
        self.queries.on_read_settled(ready)

    def on_snapshot_needed(self, peer: NodeId) -> None:
        self.snapshots.on_needed(peer)

    def on_event(self, event: Event) -> None:
        if isinstance(event, LeaderChanged):
            self.local.on_leader_changed()
            self.remote.on_leader_changed()
        elif isinstance(event, Diverged):
            self._diverged = event
        self.tell(event)

    def advance(self) -> None:
        """Let each part do what became possible, callers first."""
        self.local.on_advance()
        if not self.driver.installing:
            self.queries.advance()
        self.inbox.advance()
        self.remote.advance()
        self.watches.advance()
        self.snapshots.advance()
        if self._replay_log.lasts:
            self._replay_log.update()
        if self._waiting_for_ready and self.is_ready:
            waiting, self._waiting_for_ready = self._waiting_for_ready, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    def on_failed(self, cause: Exception) -> None:
        if self._cause is None and self._ended is None:
            self._cause = cause
            self._report_failure(cause)

    # What callers and operators ask.

    @property
    def is_ready(self) -> bool:
        """Whether there is a leader and this node has applied everything that it knows to be decided."""
        replica = self.replica
        return (
            replica.leader is not None and replica.membership is not None and self.executor.applied >= replica.decided
        )

    async def wait_ready(self, timeout_s: float | None) -> None:
        """Return when ``is_ready``; raise UnavailableError after ``timeout_s``, or when the node ends."""
        if self._ended is not None:
            raise self._ended()
        if self.is_ready:
            return
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting_for_ready.append(future)
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            raise UnavailableError(f"not ready within {timeout_s:g} s: {self._why_unavailable()}") from None
        finally:
            if future in self._waiting_for_ready:
                self._waiting_for_ready.remove(future)

    def _notes(self) -> tuple[str, ...]:
        notes = notes_of(self.replica, self.executor, stopped=self._cause, diverged=self._diverged)
        return (*notes, *self.snapshots.notes())

    def _why_unavailable(self) -> str:
        return "; ".join(self._notes()) or f"{self.replica.leader} leads but a majority does not answer"

    def status(self) -> NodeStatus:
        """Return what this node knows about itself now; also after it had to stop."""
        replica, executor = self.replica, self.executor
        membership = replica.membership
        members = {NodeId(member.name): member.address for member in membership.members} if membership else {}
        # The addresses given at this start are newer than those in the log, which are from the bootstrap.
        members.update(self._cluster)
        dropped = Counter(self._dropped)
        dropped.update(replica.dropped)
        dropped.update(self.inbox.dropped)
        dropped.update({f"not sent to {peer}": count for peer, count in self.links.dropped.items()})
        members[self.name] = self.address
        return NodeStatus(
            name=self.name,
            address=self.address,
            role=replica.role_name,
            ballot=replica.ballot,
            leader=replica.leader,
            decided=replica.decided,
            applied=executor.applied,
            first=replica.first,
            digest=executor.digest.hex(),
            cluster_id=replica.cluster_id.hex(),
            members=members,
            connected=tuple(sorted(self.links.connected())),
            notes=self._notes(),
            dropped=dict(dropped),
        )

    def _encoded_status(self) -> bytes:
        return encode_status(self.status(), describe(self.executor.machine))

    async def _take_snapshot(self) -> pb.TakeSnapshotResponse:
        try:
            taken = await self.snapshots.take()
        except PaxosppError as error:
            return pb.TakeSnapshotResponse(node=self.name, problem=str(error))
        return pb.TakeSnapshotResponse(node=self.name, slot=taken.slot, size_bytes=taken.size_bytes)

    # The end.

    def end(self, error: Callable[[], UnavailableError]) -> None:
        """Send nothing more and fail every open call with ``error``; ``close`` then frees the resources."""
        self._ended = error
        self.driver.stop()
        self.snapshots.end(error)
        for future in self._waiting_for_ready:
            if not future.done():
                future.set_exception(error())
        self._waiting_for_ready.clear()
        self.local.end(error)
        self.queries.end(error)
        self.watches.end(error)
        self.remote.end()
        self.inbox.end()

    async def close(self) -> None:
        """Close the links, the server and the storage, each within its time limit."""
        done = await asyncio.gather(
            asyncio.wait_for(self.links.close(), CLOSE_RPC_S),
            asyncio.wait_for(self.server.close(), CLOSE_RPC_S),
            return_exceptions=True,
        )
        for problem in done:
            if isinstance(problem, BaseException):
                _log.error("node %s: closing its links or its server failed: %r", self.name, problem)
        if not await self._writer.close(CLOSE_STORAGE_S):
            _log.error(
                "node %s: the storage did not close within %s s; its thread is left behind", self.name, CLOSE_STORAGE_S
            )


def memberships_of(executor: Executor, state: DurableState) -> Sequence[tuple[Slot, Membership]]:
    """Return the memberships known without reading the log: from the snapshot, else from the storage's meta values."""
    if executor.memberships:
        return executor.memberships
    stored = stored_membership(state.meta)
    return () if stored is None else [(Slot(1), stored)]


class ReplayLog:
    """Reports to ``logging`` how far a node has replayed the decided log after its start, once that takes a second."""

    def __init__(self, name: NodeId, executor: Executor, replica: Replica, clock: Callable[[], float]) -> None:
        self.lasts = True
        self._executor = executor
        self._replica = replica
        self._progress = ProgressLog(name, "applying the log", clock)

    def update(self) -> None:
        """Report how far the executor is; ``lasts`` is False once everything decided is applied."""
        applied, decided = self._executor.applied, self._replica.decided
        self.lasts = applied < decided
        self._progress.at(f"slot {applied} of {decided}")
