"""What a started node is made of: put together once, taken apart once.

Frames and calls come in from ``rpc`` here and go to the room they concern; what the engine,
the disk or the machine reports goes up to ``Node`` through three callables.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence

from paxospp.config import NodeConfig
from paxospp.engine.handlers.learning import stored_membership
from paxospp.engine.replica import Replica
from paxospp.engine.settings import Identity, Settings
from paxospp.errors import PaxosppError, UnavailableError
from paxospp.events import Diverged, Event, LeaderChanged
from paxospp.execution.executor import Executor
from paxospp.messages import ForwardRuns, Message, ProtocolMessage, Sender, SnapshotChunk, SnapshotRequest
from paxospp.model import Membership, NodeId, Slot
from paxospp.node.current import Current
from paxospp.node.driver import Driver
from paxospp.node.front import FrontDoor
from paxospp.node.local import LocalCalls
from paxospp.node.observer import UNOBSERVED, NodeObserver
from paxospp.node.pacing import PACING, Pacing
from paxospp.node.queries import Queries
from paxospp.node.remote import RemoteCalls
from paxospp.node.remote_feeds import RemoteFeeds
from paxospp.node.snapshots import Progress, Snapshots
from paxospp.node.status import NodeStatus, encode_status, notes_of
from paxospp.node.watch import Watches
from paxospp.node.writer import Writer
from paxospp.rpc.peers import PeerLinks
from paxospp.rpc.server import Server
from paxospp.sessions.caller import Caller
from paxospp.state_machine import StateMachine, describe
from paxospp.storage.contract import DurableState
from paxospp.wire.frames import FrameDecoder, FrameEncoder, MalformedFrameError
from paxospp.wire.v1 import client_pb2 as pb

CLOSE_RPC_S = 0.6
CLOSE_STORAGE_S = 1.0
ANNOUNCE_AFTER_S = 0.002
"""A caller who has its answer makes its next call long before this; whoever waits at a follower is told at once."""

_log = logging.getLogger("paxospp.node")


def unix_time_us() -> int:
    """Return microseconds since 1970, as this machine's wall clock has it."""
    return time.time_ns() // 1000


class Parts:
    """One replica, its storage, its links, its server and its callers."""

    def __init__(
        self,
        identity: Identity,
        state: DurableState,
        writer: Writer,
        machine: StateMachine,
        config: NodeConfig,
        *,
        loop: asyncio.AbstractEventLoop,
        on_event: Callable[[Event], None],
        on_failed: Callable[[Exception], None],
        stopped_by: Callable[[], Exception | None],
        executor: Executor | None = None,
        restored_bytes: int = 0,
        boot_time: Callable[[], float] | None = None,
        unix_time: Callable[[], int] = unix_time_us,
        links: PeerLinks | None = None,
        caller: Caller | None = None,
        draw_random: Callable[[], random.Random] = random.Random,
        make_replica: Callable[..., Replica] = Replica,
        pacing: Pacing = PACING,
        observer: NodeObserver = UNOBSERVED,
    ) -> None:
        """Put a node together around a storage that is open and loaded.

        Args:
            executor: has restored the storage's snapshot, if there is one; it had ``restored_bytes``.
            boot_time: the clock that counts sleep; without it, it is the loop's.
            unix_time: the wall clock, in microseconds since 1970.
            links: carry what the node says; without them it dials its peers.
            caller: numbers the calls made in this process.
            make_replica: takes the arguments of ``Replica``, and returns one that may tell what it is called for.
        """
        self.name = identity.name
        self.address = identity.cluster[identity.name]
        self._frames = FrameDecoder(self.name)
        self._cluster = identity.cluster
        self._machine = machine
        self._writer = writer
        self._loop = loop
        self._on_event = on_event
        self._stopped_by = stopped_by
        self._dropped: Counter[str] = Counter()
        self._wanting_ready: list[asyncio.Future[None]] = []
        self._started = False
        self._ended: Callable[[], UnavailableError] | None = None
        self.executor = Executor(machine, observer) if executor is None else executor
        self.replica = make_replica(
            identity,
            state,
            _settings(config),
            draw_random(),
            memberships=memberships_of(self.executor, state),
            applied=self.executor.applied,
            boot_time=None if boot_time is None else lambda _: boot_time(),
            observer=observer,
        )
        current = Current(self.replica, self.executor)
        self._diverged: Diverged | None = None
        self._catching_up = CatchingUp(self.name, self.executor, self.replica, loop.time)
        self.links = links or self._dialled(config)
        self.driver = Driver(
            self.replica,
            self.executor,
            writer,
            self.links,
            loop=loop,
            on_outcomes=lambda outcomes: self.front.on_outcomes(outcomes),
            on_readable=lambda ready: self.queries.on_readable(ready),
            on_turn=self._on_turn,
            on_applied=lambda entry: self.snapshots.on_applied(entry),
            on_snapshot_needed=lambda peer: self.snapshots.on_needed(peer),
            on_event=self._on_engine_event,
            on_failed=on_failed,
            pacing=pacing,
            observer=observer,
        )
        self.local = LocalCalls(
            self.replica,
            self.executor,
            machine,
            config,
            loop=loop,
            want_turn=self.driver.want_turn,
            why_not=self._why_not,
            current=current,
            caller=caller,
            observer=observer,
        )
        self.queries = Queries(
            self.executor,
            bytes_max=config.inbox_bytes_max,
            loop=loop,
            boot_time=loop.time if boot_time is None else boot_time,
            decided=lambda: self.replica.decided,
            read=self.driver.read,
            want_turn=self.driver.want_turn,
            why_not=self._why_not,
            pacing=pacing,
            observer=observer,
        )
        self.front = FrontDoor(
            self.replica,
            self.executor,
            writer,
            self.links,
            config,
            self.local,
            loop=loop,
            propose=self.driver.propose,
            want_turn=self.driver.want_turn,
            unix_time=unix_time,
            observer=observer,
        )
        self.remote = RemoteCalls(
            self.replica, self.executor, machine, self.front, self.queries, config, identity.cluster, current
        )
        self.snapshots = Snapshots(
            self.replica,
            self.executor,
            writer,
            self.driver,
            config,
            loop=loop,
            random=draw_random(),
            restored_bytes=restored_bytes,
            current=state.snapshot,
            peers=lambda: [name for name in identity.cluster if name != self.name],
            send=self.links.send,
            on_installed=self.local.on_installed,
            on_event=on_event,
            pacing=pacing,
            observer=observer,
        )
        self.watches = Watches(
            self.replica, self.executor, writer, loop=loop, on_damage=self.driver.on_damage, observer=observer
        )
        self.server = Server(
            on_frame=self.on_frame,
            calls=self.remote,
            feeds=RemoteFeeds(self.replica, self.watches),
            status=self._encoded_status,
            take_snapshot=self._take_snapshot,
            ready=lambda: self.is_ready,
        )

    def _dialled(self, config: NodeConfig) -> PeerLinks:
        frames = FrameEncoder()
        return PeerLinks(
            self.name,
            encode=lambda to, messages: frames.encode(self.replica.sender, to, messages),
            queue_bytes_max=config.peer_queue_bytes_max,
            reconnect_max_s=config.reconnect_interval_s,
        )

    def start(self) -> None:
        """Begin to take part; the server is open."""
        self._started = True
        self.links.set_peers(self._cluster)
        self.driver.start()

    # What comes in.

    def on_frame(self, data: bytes) -> None:
        """Bytes that came over a link."""
        if not self._started or self.driver.stopped:
            return
        try:
            sender, messages = self._frames.decode(data)
        except MalformedFrameError as error:
            self._count_malformed(error)
            return
        self.hear(sender, messages)

    def hear(self, sender: Sender, messages: Sequence[Message]) -> None:
        """The messages of one frame."""
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
        # A node that was never founded, or lost its disk, may ask; what a snapshot is of says who sends it.
        nameless = not sender.cluster_id and isinstance(message, SnapshotChunk)
        if nameless or (own.cluster_id and sender.cluster_id and sender.cluster_id != own.cluster_id):
            self._dropped["snapshots of another cluster"] += 1
        elif sender.group != own.group or sender.node not in self._cluster or sender.node == self.name:
            self._dropped["snapshots of an unknown sender"] += 1
        elif not self.driver.stopped:
            self.snapshots.on_message(sender, message)

    def _count_malformed(self, error: MalformedFrameError) -> None:
        self._dropped[f"frame: {error.reason}"] += 1
        if self._dropped[f"frame: {error.reason}"] == 1:
            _log.warning("node %s: dropped a frame that is malformed: %s", self.name, error.reason)

    def _on_forwarded(self, sender: Sender, message: ForwardRuns) -> None:
        own = self.replica.sender
        if not own.cluster_id or sender.cluster_id != own.cluster_id or sender.group != own.group:
            self._dropped["runs of another cluster"] += len(message.runs)
        elif sender.node not in self._cluster or sender.node == self.name:
            self._dropped["runs of an unknown sender"] += len(message.runs)
        else:
            self.front.on_forwarded(sender, message.runs)

    # What the engine reports.

    def _on_turn(self) -> None:
        self.local.on_turn()
        if not self.driver.holding:
            self.queries.on_turn()
        self.front.on_turn()
        self.remote.on_turn()
        self.watches.on_turn()
        self.snapshots.on_turn()
        if self._catching_up.lasts:
            self._catching_up.look()
        if self._wanting_ready and self.is_ready:
            wanting, self._wanting_ready = self._wanting_ready, []
            for future in wanting:
                if not future.done():
                    future.set_result(None)

    def _on_engine_event(self, event: Event) -> None:
        if isinstance(event, LeaderChanged):
            self.front.on_leader_changed()
            self.remote.on_leader_changed()
        elif isinstance(event, Diverged):
            self._diverged = event
        self._on_event(event)

    # What callers and status ask.

    @property
    def is_ready(self) -> bool:
        """Whether somebody leads and this node has applied all that it knows decided."""
        replica = self.replica
        return (
            replica.leader is not None and replica.membership is not None and self.executor.applied >= replica.decided
        )

    async def wait_ready(self, timeout_s: float | None) -> None:
        if self._ended is not None:
            raise self._ended()
        if self.is_ready:
            return
        future: asyncio.Future[None] = self._loop.create_future()
        self._wanting_ready.append(future)
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            raise UnavailableError(f"not ready within {timeout_s:g} s: {self._why_not()}") from None
        finally:
            if future in self._wanting_ready:
                self._wanting_ready.remove(future)

    def _notes(self) -> tuple[str, ...]:
        notes = notes_of(self.replica, self.executor, stopped=self._stopped_by(), diverged=self._diverged)
        return (*notes, *self.snapshots.notes())

    def _why_not(self) -> str:
        notes = self._notes()
        return "; ".join(notes) or f"{self.replica.leader} leads but a majority does not answer"

    def status(self) -> NodeStatus:
        replica, executor = self.replica, self.executor
        membership = replica.membership
        members = {NodeId(member.name): member.address for member in membership.members} if membership else {}
        # The list given at start holds where the members are now; the log, where they were at founding.
        members.update(self._cluster)
        dropped = Counter(self._dropped)
        dropped.update(replica.dropped)
        dropped.update(self.front.dropped)
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
        return encode_status(self.status(), describe(self._machine))

    async def _take_snapshot(self) -> pb.TakeSnapshotResponse:
        try:
            taken = await self.snapshots.take()
        except PaxosppError as error:
            return pb.TakeSnapshotResponse(node=self.name, problem=str(error))
        return pb.TakeSnapshotResponse(node=self.name, slot=taken.slot, size_bytes=taken.size_bytes)

    # The end.

    def end(self, error: Callable[[], UnavailableError]) -> None:
        """Say nothing more and end every call; what is left is to let go of things."""
        self._ended = error
        self.driver.stop()
        self.snapshots.end(error)
        for future in self._wanting_ready:
            if not future.done():
                future.set_exception(error())
        self._wanting_ready.clear()
        self.local.end(error)
        self.queries.end(error)
        self.watches.end(error)
        self.remote.end()
        self.front.end()

    async def close(self) -> None:
        """Close links, server and storage, each within its time."""
        done = await asyncio.gather(
            asyncio.wait_for(self.links.close(), CLOSE_RPC_S),
            asyncio.wait_for(self.server.close(), CLOSE_RPC_S),
            return_exceptions=True,
        )
        for problem in done:
            if isinstance(problem, BaseException):
                _log.error("node %s: closing a part of it failed: %r", self.name, problem)
        if not await self._writer.close(CLOSE_STORAGE_S):
            _log.error(
                "node %s: the storage did not answer within %s s; its thread is left", self.name, CLOSE_STORAGE_S
            )


def memberships_of(executor: Executor, state: DurableState) -> Sequence[tuple[Slot, Membership]]:
    """Who votes, as far as a start knows it without the log: from the snapshot, else from beside the log."""
    if executor.memberships:
        return executor.memberships
    stored = stored_membership(state.meta)
    return () if stored is None else [(Slot(1), stored)]


class CatchingUp:
    """After a start: says how far the log has been applied, while that takes longer than a second."""

    def __init__(self, name: NodeId, executor: Executor, replica: Replica, clock: Callable[[], float]) -> None:
        self.lasts = True
        self._executor = executor
        self._replica = replica
        self._progress = Progress(name, "applying the log", clock)

    def look(self) -> None:
        applied, decided = self._executor.applied, self._replica.decided
        self.lasts = applied < decided
        self._progress.at(f"slot {applied} of {decided}")


def _settings(config: NodeConfig) -> Settings:
    return Settings(
        heartbeat_interval_s=config.heartbeat_interval_s,
        election_timeout_s=config.election_timeout_s,
        resend_interval_s=config.resend_interval_s,
        alpha=config.alpha,
        session_expiry_s=config.session_expiry_s,
        chunk_bytes_max=config.chunk_bytes_max,
        tail_bytes_max=config.tail_bytes_max,
        announce_after_s=ANNOUNCE_AFTER_S,
    )
