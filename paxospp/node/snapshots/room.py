"""The room of snapshots: one at a time is taken or fetched, published, and the log trimmed behind it.

The driver tells what was applied, the engine which peer's snapshot is needed; messages come from
peers. What happens to storage and machine happens in threads of ``Writer``; everything here is
on the loop. While one is installed, the driver holds applying and queries.

References: Ongaro's thesis (2014), chapter 5; Liskov and Cowling, "Viewstamped
Replication Revisited" (2012), 5.2.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from random import Random

from paxospp.config import NodeConfig
from paxospp.engine.replica import Replica
from paxospp.engine.rules.covered import Covered
from paxospp.errors import CorruptedError, StorageError, UnavailableError
from paxospp.events import Event, FaultFound, SnapshotInstalled, SnapshotTaken
from paxospp.execution.executor import Executor
from paxospp.markers import UNWATCHED, Markers
from paxospp.messages import Message, Sender, SnapshotChunk, SnapshotRequest
from paxospp.model import Ballot, Entry, NodeId, Slot, SnapshotMeta
from paxospp.node.driver import Driver
from paxospp.node.pacing import PACING, Pacing
from paxospp.node.snapshots.fetching import Fetcher
from paxospp.node.snapshots.policy import Policy
from paxospp.node.snapshots.restoring import read_into
from paxospp.node.snapshots.sending import Sender as ChunkSender
from paxospp.node.snapshots.taking import Taker
from paxospp.node.writer import Writer

RETRY_FACTOR_MAX = 60
"""How many times as long as the first pause after a failure the last one is: the disk may be full."""

_log = logging.getLogger("paxospp.node")


class Snapshots:
    """Everything a node does with snapshots."""

    def __init__(
        self,
        replica: Replica,
        executor: Executor,
        writer: Writer,
        driver: Driver,
        config: NodeConfig,
        *,
        loop: asyncio.AbstractEventLoop,
        random: Random,
        restored_bytes: int,
        current: SnapshotMeta | None,
        peers: Callable[[], Sequence[NodeId]],
        send: Callable[[NodeId, Message], None],
        on_installed: Callable[[], None],
        on_event: Callable[[Event], None],
        pacing: Pacing = PACING,
        observer: Markers = UNWATCHED,
    ) -> None:
        """``current`` is the storage's current snapshot, restored or found damaged."""
        self._observer = observer
        self._name = replica.identity.name
        self._replica = replica
        self._executor = executor
        self._writer = writer
        self._driver = driver
        self._loop = loop
        self._interval_s = config.snapshot_interval_s
        self._on_installed = on_installed
        self._on_event = on_event
        self._policy = Policy(config, first=replica.first, applied=executor.applied, snapshot_bytes=restored_bytes)
        self._size_bytes = restored_bytes
        self._current = current
        self._ballots: dict[SnapshotMeta, Ballot] = {}
        """Under which ballots the slots of the current snapshot, and of the one before, were decided at most."""
        if current is not None and executor.ballot is not None:
            self._ballots[current] = executor.ballot
        self._taker = Taker(
            self._name,
            executor,
            writer,
            loop=loop,
            pause_max_s=config.heartbeat_interval_s,
            piece_bytes=pacing.snapshot_piece_bytes,
            draw=random.getrandbits,
            on_staged=self._on_staged,
            on_failed=self._on_taking_failed,
            observer=observer,
        )
        self._sender = ChunkSender(
            self._name,
            writer,
            loop=loop,
            chunk_bytes_max=config.chunk_bytes_max,
            send=send,
            current=lambda: Slot(0) if self._current is None else self._current.slot,
            ballot=lambda meta: self._ballots.get(meta),
            on_none=self._on_none,
            on_damaged=self._on_damaged,
            idle_s=pacing.sending_idle_s,
            observer=observer,
        )
        self._fetcher = Fetcher(
            writer,
            loop=loop,
            resend_interval_s=config.resend_interval_s,
            keep_asking_s=pacing.keep_asking_s,
            peers=peers,
            send=send,
            name=self._own_name,
            on_ballot=driver.meet_snapshot,
            on_whole=self._on_whole,
            on_failed=self._on_fetching_failed,
            observer=observer,
        )
        self._publishing = False
        self._installing = False
        self._caught_up_at: Slot | None = None
        """After an installation, until this replica holds what the others had decided by then."""
        self._refused_at = Slot(0)
        self._refused_by: set[NodeId] = set()
        """Who has trimmed what comes after that slot, which is the last this replica knows decided."""
        self._wanted = False
        self._rest_until = 0.0
        self._first_retry_s = self._retry_s = pacing.snapshot_retry_s
        self._failure: str | None = None
        self._waiting: list[tuple[Slot, asyncio.Future[SnapshotTaken]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._ended: Callable[[], UnavailableError] | None = None

    # What the driver tells.

    def on_applied(self, entry: Entry) -> None:
        """It is applied now."""
        self._policy.count(entry.slot, len(entry.value))
        if self._timer is None:
            self._timer = self._loop.call_later(self._interval_s, self._on_interval)

    def on_turn(self) -> None:
        """Take a snapshot if one is due, and let go of what is not needed any more."""
        if (self._policy.due or self._wanted) and self._may_take:
            self._take()
        if self._caught_up_at is not None and self._replica.delivered >= self._caught_up_at:
            self._caught_up_at = None
            self._fetcher.end()
        if self._fetcher.source is not None:
            slot = self._fetcher.slot
            if slot is not None and not self._fetcher.is_whole and slot <= self._replica.delivered:
                self._observer.reached("snapshots: the log has caught up with the one that is being fetched")
                self._fetcher.discard()

    @property
    def is_fetching(self) -> bool:
        """Whether a peer's snapshot is being fetched or installed."""
        return self._fetcher.source is not None

    @property
    def kept_from(self) -> Slot | None:
        """The first slot that stays for a peer that is being sent a snapshot; None when nobody is."""
        return self._sender.held

    @property
    def rests_until(self) -> float:
        """Until this time of the loop no snapshot is begun, because one failed."""
        return self._rest_until

    @property
    def _is_busy(self) -> bool:
        fetching = self._fetcher.source is not None or self._fetcher.is_staging
        return self._taker.busy or self._publishing or self._installing or fetching

    @property
    def _may_take(self) -> bool:
        return not self._is_busy and self._reaches_current and self._loop.time() >= self._rest_until

    @property
    def _reaches_current(self) -> bool:
        """Whether the applied state is at least as new as the current snapshot.

        It is older after a start from the log, which happens when that snapshot is damaged. A storage refuses to
        replace a snapshot by an older one.
        """
        return self._current is None or self._executor.applied >= self._current.slot

    def on_needed(self, peer: NodeId) -> None:
        """The replica needs slots that ``peer`` has trimmed."""
        if self._caught_up_at is not None:
            if not self._is_gone_everywhere(peer):
                return
            self._observer.reached("snapshots: what follows the one just installed is gone everywhere")
            self._caught_up_at = None
            self._fetcher.end()
        if not self._is_busy and self._loop.time() >= self._rest_until:
            _log.info("node %s: fetching a snapshot from %s", self._name, peer)
            # Where ours is damaged, no storage lets an older one take its place.
            own = Slot(0) if self._current is None else self._current.slot
            self._fetcher.begin(peer, covers=max(own, Slot(self._replica.delivered + 1)))

    def _is_gone_everywhere(self, peer: NodeId) -> bool:
        """Whether what comes after the snapshot just installed is gone at its source as well, as it is at ``peer``.

        The source was started anew, or gave up. Where it does not answer at all, it is known by the
        others being asked again, as they are once everybody was.
        """
        decided = self._replica.decided
        if decided != self._refused_at:
            self._refused_at = decided
            self._refused_by.clear()
        if peer == self._fetcher.source or peer in self._refused_by:
            return True
        self._refused_by.add(peer)
        return False

    def on_message(self, sender: Sender, message: SnapshotRequest | SnapshotChunk) -> None:
        """A peer of this cluster asks, or answers."""
        if isinstance(message, SnapshotRequest):
            if self._publishing and not message.id:
                self._observer.reached("snapshots: a peer asks while a new one is being published")
                return  # asked again in a moment; the log behind the former one is just being trimmed
            self._sender.on_request(sender.node, message)
        else:
            self._fetcher.on_chunk(sender, message)

    # Taking.

    def take(self) -> asyncio.Future[SnapshotTaken]:
        """Take a snapshot of at least what is applied now; the future of it, current."""
        future: asyncio.Future[SnapshotTaken] = self._loop.create_future()
        applied = self._executor.applied
        if self._ended is not None:
            future.set_exception(self._ended())
        elif self._fetcher.source is not None or self._installing:
            future.set_exception(UnavailableError("this node is just installing a peer's snapshot"))
        elif not applied:
            future.set_exception(UnavailableError("nothing was applied here yet"))
        elif applied == self._policy.snapshot_slot and not self._publishing:
            future.set_result(self._taken())
        else:
            self._waiting.append((applied, future))
            self._wanted = True
            self._rest_until = 0.0
            self._driver.want_turn()
        return future

    def _taken(self) -> SnapshotTaken:
        return SnapshotTaken(node=self._name, slot=self._policy.snapshot_slot, size_bytes=self._size_bytes)

    def _take(self) -> None:
        self._wanted = False
        if not self._policy.changed:
            self._policy.due = False
            self._tell_waiting()
            return
        self._policy.begin()
        self._taker.begin()

    def _on_interval(self) -> None:
        self._timer = None
        if self._policy.changed and self._ended is None:
            self._wanted = True
            self._driver.want_turn()

    def _on_staged(self, meta: SnapshotMeta, ballot: Ballot | None, size_bytes: int) -> None:
        if self._ended is not None:
            return
        if ballot is not None:
            self._keep_ballot(meta, ballot)
        self._publishing = True
        self._policy.taken(size_bytes)
        self._size_bytes = size_bytes
        first = self._policy.keep_from(self._sender.held)
        self._driver.publish(meta, first, lambda: self._on_published(meta))

    def _keep_ballot(self, meta: SnapshotMeta, ballot: Ballot) -> None:
        """A reader that was opened before may still read the former snapshot."""
        self._ballots = {known: under for known, under in self._ballots.items() if known == self._current}
        self._ballots[meta] = ballot

    def _on_published(self, meta: SnapshotMeta) -> None:
        self._publishing = False
        self._current = meta
        self._went_well()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._on_event(self._taken())
        self._tell_waiting()

    def _tell_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for applied, future in waiting:
            if applied > self._policy.snapshot_slot:
                self._waiting.append((applied, future))
            elif not future.done():
                future.set_result(self._taken())
        if self._waiting:
            self._wanted = True
            self._driver.want_turn()

    def _on_taking_failed(self, error: Exception) -> None:
        if self._ended is not None:
            return
        self._policy.failed()
        self._rest(f"a snapshot of slot {self._executor.applied} cannot be taken: {error}", None, error)
        waiting, self._waiting = self._waiting, []
        for _, future in waiting:
            if not future.done():
                future.set_exception(StorageError(f"the snapshot cannot be taken: {error}"))

    def _went_well(self) -> None:
        self._failure = None
        self._retry_s = self._first_retry_s

    def _rest(self, reason: str, peer: NodeId | None, error: Exception) -> None:
        """Something failed that may go well later."""
        self._observer.reached("snapshots: one failed, and the next one waits")
        self._failure = reason
        self._rest_until = self._loop.time() + self._retry_s
        if self._retry is not None:
            self._retry.cancel()
        self._retry = self._loop.call_later(self._retry_s, self._driver.want_turn)
        self._retry_s = min(2 * self._retry_s, RETRY_FACTOR_MAX * self._first_retry_s)
        _log.error("node %s: %s", self._name, reason, exc_info=error)
        self._on_event(FaultFound(node=self._name, peer=peer, reason=reason))

    # Sending.

    def _on_none(self) -> None:
        """A peer needs one, or a newer one than there is."""
        if self._policy.changed:
            self._observer.reached("snapshots: one is taken because a peer needs it")
            self._wanted = True
            self._driver.want_turn()

    def _on_damaged(self, error: Exception) -> None:
        """The current one is no good: the next one heals that."""
        self._on_event(FaultFound(node=self._name, peer=None, reason=f"the snapshot cannot be read: {error}"))
        self._policy.snapshot_slot = Slot(0)
        self._wanted = True
        self._driver.want_turn()

    # Fetching and installing.

    def _own_name(self, meta: SnapshotMeta) -> SnapshotMeta:
        """One that this node has already, damaged, comes under another name, or nothing would take its place."""
        if meta != self._current:
            return meta
        self._observer.reached("snapshots: a damaged one is to be replaced by itself")
        return SnapshotMeta(meta.slot, f"{meta.id[:46]}-2")

    def _on_fetching_failed(self, peer: NodeId, error: Exception) -> None:
        if self._ended is None:
            self._rest(f"the snapshot of {peer} cannot be taken over: {error}", peer, error)

    def _on_whole(self, covered: Covered, size_bytes: int) -> None:
        if self._ended is not None:
            return
        meta = covered.meta
        cluster_id = self._replica.cluster_id or self._fetcher.cluster_id
        if covered.governing.cluster_id != cluster_id:
            self._observer.reached("snapshots: one of another cluster is refused")
            peer = self._fetcher.source or self._name
            self._fetcher.discard()
            self._on_fetching_failed(peer, CorruptedError("it is of another cluster"))
        elif meta.slot <= self._replica.delivered:
            self._observer.reached("snapshots: the log has caught up with one that is whole")
            self._fetcher.discard()
        else:
            self._installing = True
            self._keep_ballot(meta, covered.ballot)
            self._current = meta
            self._size_bytes = size_bytes
            self._driver.hold()
            # First on disk, then in the machine: a crash in between is a start from that snapshot.
            self._driver.install(covered, lambda: self._restore(covered))

    def _restore(self, covered: Covered) -> None:
        meta = covered.meta
        worker = self._writer.beside("snapshots")
        storage, writer = self._writer.storage, self._writer
        restoring = self._executor.begin_restore()

        def job() -> None:
            try:
                reader = storage.open_snapshot()
                if reader is None or reader.meta != meta:
                    raise StorageError(f"the snapshot {meta.id} of slot {meta.slot} was published and is not there")
                read_into(restoring, reader, self._name, stop=lambda: writer.closed)
            except Exception as error:
                worker.tell(restored, error)
            else:
                worker.tell(restored, None)

        def restored(error: Exception | None) -> None:
            if self._ended is not None:
                return
            restoring.finish()
            if error is not None:
                self._observer.reached("snapshots: an installed one cannot be restored, and the node stops")
                self._driver.fail(error)
                return
            self._executor.meet(covered.ballot)
            self._on_restored(meta)

        worker.put(job)

    def _on_restored(self, meta: SnapshotMeta) -> None:
        self._observer.reached("snapshots: a peer's one is installed and restored")
        source = self._fetcher.source or self._name
        self._installing = False
        self._went_well()
        self._policy.installed(meta.slot, self._size_bytes)
        self._driver.release(meta.slot)
        self._on_event(SnapshotInstalled(node=self._name, slot=meta.slot, source=source))
        self._on_installed()
        self._tell_waiting()
        # Its source keeps the log behind the snapshot for as long as it is asked for more.
        self._caught_up_at = self._replica.wanted
        self._driver.want_turn()

    # What status asks.

    def notes(self) -> list[str]:
        """What is not as it should be, in sentences."""
        notes = []
        if self._installing:
            notes.append(f"is installing a snapshot of slot {self._fetcher.slot} from {self._fetcher.source}")
        elif self._fetcher.source is not None and self._caught_up_at is None:
            received = self._fetcher.received_bytes
            notes.append(f"is fetching a snapshot from {self._fetcher.source}, {received / 1e6:.1f} MB so far")
        if self._failure is not None:
            notes.append(self._failure)
        return notes

    # The end.

    def end(self, error: Callable[[], UnavailableError]) -> None:
        """Nothing is begun any more; what is under way in a thread ends with its piece."""
        self._ended = error
        for timer in (self._timer, self._retry):
            if timer is not None:
                timer.cancel()
        self._sender.end()
        self._fetcher.end()
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(error())
        self._waiting.clear()
