"""Fetching a peer's snapshot: chunk by chunk, one request at a time, checked completely before it is used.

After a lost connection fetching continues at the same offset; from another peer only if that peer holds the same
snapshot. If no peer that answers has it any more, another snapshot is begun. Chunks are staged in the storage and
checked as they arrive; until the whole snapshot is proved correct, nothing that this node has is touched.

Reference: Ongaro's thesis (2014), chapter 5.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from paxospp.engine.rules.covered import Covered
from paxospp.errors import CorruptedError
from paxospp.execution.snapshot import SnapshotCheck
from paxospp.markers import NO_MARKERS, Markers
from paxospp.messages import Sender, SnapshotChunk, SnapshotRequest
from paxospp.model import Ballot, NodeId, Slot, SnapshotMeta
from paxospp.node.writer import Writer
from paxospp.storage.contract import SnapshotWriter

SILENCE_MAX_S = 2.0
SAME_PEER_TRIES = 3
"""How many times a silent peer is asked before the next one."""


class _Incoming:
    """A snapshot being fetched; its methods are called in the thread."""

    def __init__(self, meta: SnapshotMeta, named: SnapshotMeta) -> None:
        self.meta = meta
        """The snapshot's name at its source."""
        self.named = named
        """Its name here: the same, unless it is to replace a damaged copy of itself."""
        self.offset = 0
        self.covered: Covered | None = None
        """The slots that the snapshot covers, once all of it has arrived."""
        self._check = SnapshotCheck()
        self._writer: SnapshotWriter | None = None

    def take(self, chunk: SnapshotChunk, create: Callable[[SnapshotMeta], SnapshotWriter]) -> None:
        """Stage and check the next chunk; after the last one the snapshot is durable and proved correct."""
        if self._writer is None:
            self._writer = create(self.named)
        self._check.feed(chunk.data)
        self._writer.write(chunk.data)
        self.offset += len(chunk.data)
        if chunk.last:
            head = self._check.finish()
            if head.applied != self.meta.slot or not head.memberships:
                raise CorruptedError(
                    f"snapshot: it was sent as the snapshot of slot {self.meta.slot}, but is of slot {head.applied}"
                )
            ballots = [ballot for ballot in (head.ballot, chunk.ballot) if ballot is not None]
            if not ballots:
                raise CorruptedError(
                    "snapshot: it does not name a ballot under which its slots were decided: "
                    "upgrade the node that sent it"
                )
            covered = Covered(meta=self.named, ballot=max(ballots), memberships=head.decoded_memberships())
            self._writer.commit()
            self.covered = covered

    def abort(self) -> None:
        if self._writer is not None:
            with suppress(Exception):  # the remains are an orphan, which the next load removes
                self._writer.abort()


class Fetcher:
    """Fetches one snapshot at a time.

    ``on_ballot`` is called when a bound for the ballots of the covered slots is known. ``on_whole(covered,
    size_bytes)`` is called when the snapshot is committed to the storage; ``discard`` or an installation must follow.
    ``on_failed(source, error)`` is called when the snapshot is damaged or cannot be stored.
    """

    def __init__(
        self,
        writer: Writer,
        *,
        loop: asyncio.AbstractEventLoop,
        resend_interval_s: float,
        keep_asking_s: float,
        peers: Sequence[NodeId],
        send: Callable[[NodeId, SnapshotRequest], None],
        name: Callable[[SnapshotMeta], SnapshotMeta],
        on_ballot: Callable[[Ballot], None],
        on_whole: Callable[[Covered, int], None],
        on_failed: Callable[[NodeId, Exception], None],
        observer: Markers = NO_MARKERS,
    ) -> None:
        """Set up; ``name`` returns the name under which a peer's snapshot is stored here."""
        self._observer = observer
        self.source: NodeId | None = None
        """The peer that sends the chunks; None when nothing is being fetched or installed."""
        self.cluster_id = b""
        """The id of the cluster that the source says it belongs to."""
        self._writer = writer
        self._loop = loop
        self._resend_interval_s = resend_interval_s
        self._keep_asking_s = keep_asking_s
        self._peers = peers
        self._send = send
        self._name = name
        self._on_ballot = on_ballot
        self._on_whole = on_whole
        self._on_failed = on_failed
        self._covers = Slot(0)
        self._incoming: _Incoming | None = None
        self.is_staging = False
        """Whether a chunk is being written, even of a snapshot that was given up; a storage stages one at a time."""
        self._whole = False
        self._has_none = False
        self._useless: set[NodeId] = set()
        """The peers that answered that they do not have the snapshot."""
        self._tries = 0
        self._began = 0.0
        """When the first request was sent, by the loop's clock."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def slot(self) -> Slot | None:
        """The slot of the snapshot that is being fetched, once it is known."""
        return None if self._incoming is None else self._incoming.meta.slot

    @property
    def is_whole(self) -> bool:
        """Whether all of the snapshot is here: it is being installed, or was."""
        return self._whole

    @property
    def received_bytes(self) -> int:
        return 0 if self._incoming is None else self._incoming.offset

    @property
    def source_has_none(self) -> bool:
        """Whether nothing has arrived, and the peer that is asked has answered that it has no snapshot that helps."""
        return self._has_none and self._incoming is None

    def begin(self, peer: NodeId, *, covers: Slot) -> None:
        """Fetch the current snapshot of ``peer`` if it covers the slot ``covers``; only when nothing else is staged."""
        self.source = peer
        self._covers = covers
        self._incoming = None
        self._whole = self._has_none = False
        self._useless.clear()
        self._tries = 0
        self._began = self._loop.time()
        self._ask()

    def _ask(self) -> None:
        assert self.source is not None
        incoming = self._incoming
        self._send(
            self.source,
            SnapshotRequest(id="", offset=0, covers=self._covers)
            if incoming is None
            else SnapshotRequest(id=incoming.meta.id, offset=incoming.offset),
        )
        self._set_timer(min(self._resend_interval_s * 2**self._tries, SILENCE_MAX_S))

    def on_chunk(self, sender: Sender, chunk: SnapshotChunk) -> None:
        """Handle a chunk, or the answer that the peer has none; ignore chunks not asked for or received twice."""
        if self.source is None or self.is_staging or self._whole:
            return
        if not chunk.id:
            self._on_gone(sender.node)
            return
        incoming = self._incoming
        if incoming is None:
            if sender.node != self.source or chunk.offset or chunk.slot < self._covers:
                return
            meta = SnapshotMeta(chunk.slot, chunk.id)
            incoming = self._incoming = _Incoming(meta, self._name(meta))
            self.cluster_id = sender.cluster_id
            if chunk.ballot is not None:
                self._observer.reached("fetching: the first chunk tells under which ballots its slots were decided")
                self._on_ballot(chunk.ballot)
                if incoming is not self._incoming:
                    return  # the driver advanced, found that the log has caught up, and discarded this fetch
        if (chunk.id, chunk.slot, chunk.offset) != (incoming.meta.id, incoming.meta.slot, incoming.offset):
            self._observer.reached("fetching: a chunk that was not asked for is passed over")
            return
        if not chunk.data and not chunk.last:
            return
        self.source = sender.node
        self._tries = 0
        self._stage(incoming, chunk)

    def _stage(self, incoming: _Incoming, chunk: SnapshotChunk) -> None:
        self._cancel_timer()
        self.is_staging = True
        worker = self._writer.worker_for("snapshots")
        storage = self._writer.storage

        def job() -> None:
            try:
                incoming.take(chunk, storage.create_snapshot)
            except Exception as error:
                incoming.abort()
                worker.call_on_loop(self._fail, incoming, error)
            else:
                worker.call_on_loop(self._on_staged, incoming)

        worker.put(job)

    def _on_staged(self, incoming: _Incoming) -> None:
        self.is_staging = False
        if incoming is not self._incoming:
            self._observer.reached("fetching: what was staged is not wanted any more")
            self._drop(incoming)
        elif incoming.covered is None:
            self._observer.reached("fetching: there are more chunks to come")
            self._ask()
        else:
            self._observer.reached("fetching: a snapshot is whole")
            self._whole = True
            self._set_timer(self._keep_asking_s)
            self._on_whole(incoming.covered, incoming.offset)

    def _fail(self, incoming: _Incoming, error: Exception) -> None:
        self.is_staging = False
        source = self.source
        if incoming is self._incoming and source is not None:
            self._observer.reached("fetching: a snapshot cannot be staged, or is damaged")
            self.end()
            self._on_failed(source, error)

    def _on_gone(self, peer: NodeId) -> None:
        self._useless.add(peer)
        others = [other for other in self._peers if other not in self._useless]
        if peer != self.source:
            return
        if self._incoming is not None and others:
            self._observer.reached("fetching: its source has it no more, and another peer is asked")
            self.source = others[0]
            self._ask()
        elif self._incoming is not None:
            self._observer.reached("fetching: nobody has it any more, and another one is begun")
            # No peer has that snapshot any more, but this one has another.
            self._drop(self._incoming)
            self.begin(peer, covers=self._covers)
        else:
            self._observer.reached("fetching: the peer that is asked has none that helps")
            # The peer may be taking one, so it is asked again for a while, as if it had been silent.
            self._useless.discard(peer)
            self._has_none = True
            if self._tries + 1 >= SAME_PEER_TRIES or self._loop.time() >= self._began + SILENCE_MAX_S:
                self.end()

    def _on_silence(self) -> None:
        self._timer = None
        if self.source is None:
            return
        if self._whole:
            assert self._incoming is not None
            self._observer.reached("fetching: its source is told that the log behind it will be needed")
            self._send(self.source, SnapshotRequest(id=self._incoming.meta.id, offset=self._incoming.offset))
            self._set_timer(self._keep_asking_s)
            return
        self._tries += 1
        if self._tries >= SAME_PEER_TRIES:
            if self._incoming is None:
                self._observer.reached("fetching: a peer that does not answer is given up before anything came")
                self.end()
                return
            peers = [peer for peer in self._peers if peer not in self._useless]
            if self._useless and self._tries >= SAME_PEER_TRIES + len(peers):
                self._observer.reached("fetching: those who answer have another one, and it is given up")
                # The peers that answer have another snapshot, and those that may have this one are silent. The replica
                # will ask for a snapshot again.
                self.discard()
                return
            if peers:
                self._observer.reached("fetching: its source is silent, and another peer is asked")
                after = peers.index(self.source) + 1 if self.source in peers else 0
                self.source = peers[after % len(peers)]
        self._ask()

    def discard(self) -> None:
        """Stop fetching and drop what was fetched, complete or not."""
        incoming = self._incoming
        self.end()
        if incoming is not None and not self.is_staging:
            self._drop(incoming)

    def _drop(self, incoming: _Incoming) -> None:
        worker = self._writer.worker_for("snapshots")

        def job() -> None:
            incoming.abort()
            worker.call_on_loop(_nothing)

        worker.put(job)

    def end(self) -> None:
        """Stop fetching; a snapshot that was published stays."""
        self.source = None
        self._incoming = None
        self._whole = self._has_none = False
        self._cancel_timer()

    def _set_timer(self, delay_s: float) -> None:
        self._cancel_timer()
        self._timer = self._loop.call_later(delay_s, self._on_silence)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _nothing() -> None:
    """Do nothing: every job reports when it is done, and after this one nothing is to be done."""
