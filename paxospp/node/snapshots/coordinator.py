"""Coordinates the snapshots of a node: takes or fetches one at a time, makes it current, and trims the log below it.

The driver reports what was applied and which peer's snapshot the replica needs; peers send messages. Work on storage
and machine is done in threads of ``Writer``, everything here on the event loop. While a peer's snapshot is being
installed, the driver applies no entries and answers no queries.

References: Ongaro's thesis (2014), chapter 5; Liskov and Cowling, "Viewstamped Replication Revisited" (2012), 5.2.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from random import Random

from paxospp.config import NodeConfig
from paxospp.engine.replica import Replica
from paxospp.engine.rules.covered import Covered
from paxospp.errors import CorruptedError, StorageError, UnavailableError
from paxospp.events import Event, FaultFound, SnapshotInstalled, SnapshotTaken
from paxospp.execution.executor import Executor
from paxospp.markers import NO_MARKERS, Markers
from paxospp.messages import Message, Sender, SnapshotChunk, SnapshotRequest
from paxospp.model import Ballot, Entry, NodeId, Slot, SnapshotMeta
from paxospp.node.driver import Driver
from paxospp.node.pacing import Pacing
from paxospp.node.snapshots.fetching import Fetcher
from paxospp.node.snapshots.policy import Policy
from paxospp.node.snapshots.restoring import read_into
from paxospp.node.snapshots.sending import SnapshotSender
from paxospp.node.snapshots.taking import Taker
from paxospp.node.writer import Writer

RETRY_FACTOR_MAX = 60
"""The longest pause after a failure, as a multiple of the first one: the disk may be full."""

_log = logging.getLogger("paxospp.node")


class SnapshotCoordinator:
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
        send: Callable[[NodeId, Message], None],
        on_installed: Callable[[], None],
        on_event: Callable[[Event], None],
        pacing: Pacing,
        observer: Markers = NO_MARKERS,
    ) -> None:
        """Set up after a start.

        Args:
            restored_bytes: the size of the snapshot that was restored; 0 without one.
            current: the storage's current snapshot, which was restored or found damaged.
            send: queue a message for a peer.
            on_installed: called when the machine was restored from a peer's snapshot.
        """
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
        """The highest ballot of the slots that the current snapshot covers, and the one before it."""
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
        self._sender = SnapshotSender(
            self._name,
            writer,
            loop=loop,
            chunk_bytes_max=config.chunk_bytes_max,
            send=send,
            current=self._current_slot,
            ballot=self._ballot_of,
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
            peers=[peer for peer in replica.identity.cluster if peer != self._name],
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
        """After an installation, the slot at which this replica will have caught up; None otherwise."""
        self._refused_at = Slot(0)
        self._refused_by: set[NodeId] = set()
        """The peers that have trimmed the slots after ``_refused_at``, the last slot known here to be decided."""
        self._wanted = False
        """Whether to take a snapshot although the policy does not say that one is due."""
        self._rest_until = 0.0
        self._first_retry_s = self._retry_s = pacing.snapshot_retry_s
        self._failure: str | None = None
        self._waiting: list[tuple[Slot, asyncio.Future[SnapshotTaken]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._ended: Callable[[], UnavailableError] | None = None

    # What the driver reports.

    def on_applied(self, entry: Entry) -> None:
        """Count an applied entry, and start the timer for the latest time of the next snapshot."""
        self._policy.count(entry.slot, len(entry.value))
        if self._timer is None:
            self._timer = self._loop.call_later(self._interval_s, self._on_interval)

    def advance(self) -> None:
        """Take a snapshot if one is due, and stop fetching one that is no longer needed."""
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
        """The first slot kept in the log for a peer that is being sent a snapshot; None if no peer is sent one."""
        return self._sender.held

    @property
    def rests_until(self) -> float:
        """Until this time of the loop's clock no snapshot is begun, because one failed."""
        return self._rest_until

    def _current_slot(self) -> Slot:
        return Slot(0) if self._current is None else self._current.slot

    def _ballot_of(self, meta: SnapshotMeta) -> Ballot | None:
        return self._ballots.get(meta)

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

        After a start it is older if that snapshot is damaged and the log was replayed instead. A storage refuses to
        replace a snapshot with an older one.
        """
        return self._current is None or self._executor.applied >= self._current.slot

    def on_needed(self, peer: NodeId) -> None:
        """Fetch the snapshot of ``peer``, which has trimmed slots that the replica needs."""
        if self._caught_up_at is not None:
            if not self._is_gone_everywhere(peer):
                return
            self._observer.reached("snapshots: what follows the one just installed is gone everywhere")
            self._caught_up_at = None
            self._fetcher.end()
        elif self._fetcher.source_has_none and peer != self._fetcher.source:
            # Otherwise each request could end just before a peer without a snapshot is named again.
            self._observer.reached("snapshots: a peer has none that helps, and another one is named")
            self._fetcher.end()
        if not self._is_busy and self._loop.time() >= self._rest_until:
            _log.info("node %s: fetching a snapshot from %s", self._name, peer)
            # A storage refuses to replace even a damaged snapshot with an older one.
            self._fetcher.begin(peer, covers=max(self._current_slot(), Slot(self._replica.delivered + 1)))

    def _is_gone_everywhere(self, peer: NodeId) -> bool:
        """Whether the entries after the snapshot just installed are trimmed at its source too, as they are at ``peer``.

        That happens if the source restarted or gave up on this node. A source that does not answer counts as well: the
        replica asks its peers in rotation, so a second refusal by the same peer means that all of them were asked.
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
        """Handle a request or an answer of a peer in this cluster."""
        if isinstance(message, SnapshotRequest):
            if self._publishing and not message.id:
                self._observer.reached("snapshots: a peer asks while a new one is being published")
                return  # it will ask again; the log after the former snapshot is just being trimmed
            self._sender.on_request(sender.node, message)
        else:
            self._fetcher.on_chunk(sender, message)

    # Taking.

    def take(self) -> asyncio.Future[SnapshotTaken]:
        """Take a snapshot of at least what is applied now; the future is done when it is current."""
        future: asyncio.Future[SnapshotTaken] = self._loop.create_future()
        applied = self._executor.applied
        if self._ended is not None:
            future.set_exception(self._ended())
        elif self._fetcher.source is not None or self._installing:
            future.set_exception(UnavailableError("this node is fetching or installing a peer's snapshot: retry later"))
        elif not applied:
            future.set_exception(UnavailableError("this node has not applied anything yet"))
        elif applied == self._policy.snapshot_slot and not self._publishing:
            future.set_result(self._taken())
        else:
            self._waiting.append((applied, future))
            self._wanted = True
            self._rest_until = 0.0
            self._driver.advance_soon()
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
            self._driver.advance_soon()

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
        """Remember the ballot of a new snapshot, and of the former one, which open readers may still read."""
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
            self._driver.advance_soon()

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
        """Report a failure, and begin no snapshot for a while."""
        self._observer.reached("snapshots: one failed, and the next one waits")
        self._failure = reason
        self._rest_until = self._loop.time() + self._retry_s
        if self._retry is not None:
            self._retry.cancel()
        self._retry = self._loop.call_later(self._retry_s, self._driver.advance_soon)
        self._retry_s = min(2 * self._retry_s, RETRY_FACTOR_MAX * self._first_retry_s)
        _log.error("node %s: %s", self._name, reason, exc_info=error)
        self._on_event(FaultFound(node=self._name, peer=peer, reason=reason))

    # Sending.

    def _on_none(self) -> None:
        """Take a snapshot if it would be newer than the current one, because a peer needs one."""
        if self._policy.changed:
            self._observer.reached("snapshots: one is taken because a peer needs it")
            self._wanted = True
            self._driver.advance_soon()

    def _on_damaged(self, error: Exception) -> None:
        """Replace the damaged current snapshot by taking a new one."""
        self._on_event(
            FaultFound(
                node=self._name,
                peer=None,
                reason=f"the current snapshot cannot be read, so a new one is taken: {error}",
            )
        )
        self._policy.snapshot_slot = Slot(0)
        self._wanted = True
        self._driver.advance_soon()

    # Fetching and installing.

    def _own_name(self, meta: SnapshotMeta) -> SnapshotMeta:
        """Return the name to store a peer's snapshot under: another one if it replaces a damaged copy of itself."""
        if meta != self._current:
            return meta
        self._observer.reached("snapshots: a damaged one is to be replaced by itself")
        return SnapshotMeta(meta.slot, f"{meta.id[:46]}-2")

    def _on_fetching_failed(self, peer: NodeId, error: Exception) -> None:
        if self._ended is None:
            self._rest(f"the snapshot fetched from {peer} cannot be used: {error}", peer, error)

    def _on_whole(self, covered: Covered, size_bytes: int) -> None:
        if self._ended is not None:
            return
        meta = covered.meta
        cluster_id = self._replica.cluster_id or self._fetcher.cluster_id
        if covered.governing.cluster_id != cluster_id:
            self._observer.reached("snapshots: one of another cluster is refused")
            peer = self._fetcher.source or self._name
            self._fetcher.discard()
            self._on_fetching_failed(peer, CorruptedError("it belongs to another cluster"))
        elif meta.slot <= self._replica.delivered:
            self._observer.reached("snapshots: the log has caught up with one that is whole")
            self._fetcher.discard()
        else:
            self._installing = True
            self._keep_ballot(meta, covered.ballot)
            self._current = meta
            self._size_bytes = size_bytes
            self._driver.begin_install()
            # First on disk, then in the machine: after a crash in between, the node starts from that snapshot.
            self._driver.install(covered, lambda: self._restore(covered))

    def _restore(self, covered: Covered) -> None:
        meta = covered.meta
        worker = self._writer.worker_for("snapshots")
        storage, writer = self._writer.storage, self._writer
        restoring = self._executor.begin_restore()

        def job() -> None:
            try:
                reader = storage.open_snapshot()
                if reader is None or reader.meta != meta:
                    raise StorageError(
                        f"the snapshot {meta.id} of slot {meta.slot} was made current, but the storage does not have it"
                    )
                read_into(restoring, reader, self._name, stop=lambda: writer.closed)
            except Exception as error:
                worker.call_on_loop(restored, error)
            else:
                worker.call_on_loop(restored, None)

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
        self._driver.end_install(meta.slot)
        self._on_event(SnapshotInstalled(node=self._name, slot=meta.slot, source=source))
        self._on_installed()
        self._tell_waiting()
        # The source keeps the log after the snapshot as long as this node keeps asking.
        self._caught_up_at = self._replica.wanted
        self._driver.advance_soon()

    # For status.

    def notes(self) -> list[str]:
        """Return what is wrong or under way, in sentences that continue "the node"."""
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
        """Begin nothing more; work in threads ends with its current piece."""
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
