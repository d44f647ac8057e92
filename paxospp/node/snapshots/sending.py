"""Sending the current snapshot to peers, one chunk per request.

A request names the snapshot and the offset; a peer repeats it when the request or its answer was lost. While a peer is
being sent a snapshot, the log above the snapshot's slot is kept, because the peer needs that log next. A peer that is
busy installing keeps asking for the chunk after the end, so that this node knows.

Reference: Ongaro's thesis (2014), chapter 5.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from paxospp.errors import CorruptedError
from paxospp.markers import NO_MARKERS, Markers
from paxospp.messages import SnapshotChunk, SnapshotRequest
from paxospp.model import Ballot, NodeId, Slot, SnapshotMeta
from paxospp.node.writer import Writer
from paxospp.storage.contract import SnapshotReader

_READ_BYTES = 1 << 20
GONE = SnapshotChunk(slot=Slot(0), id="", offset=0, data=b"", last=False)
"""The answer when this node does not have the requested snapshot."""

_log = logging.getLogger("paxospp.node")


@dataclass(slots=True)
class _Transfer:
    """The snapshot that one peer is being sent."""

    asked_at: float
    since: Slot
    """The slot of the snapshot that was current when the transfer began; the one being sent is not older."""
    reading: bool = False
    reader: SnapshotReader | None = None
    meta: SnapshotMeta | None = None
    offset: int = 0
    """The offset in the snapshot at which ``ahead`` begins."""
    ahead: bytearray = field(default_factory=bytearray)
    """Bytes that were read and not sent yet."""
    ended: bool = False
    last_sent: SnapshotChunk | None = None

    def close(self) -> None:
        if self.reader is not None:
            self.reader.close()
            self.reader = None


class SnapshotSender:
    """Sends the current snapshot to the peers that ask for it.

    ``on_none`` is called when a peer needs a snapshot and there is none, or only one that is too old; ``on_damaged``
    when the current one is damaged.
    """

    def __init__(
        self,
        name: NodeId,
        writer: Writer,
        *,
        loop: asyncio.AbstractEventLoop,
        chunk_bytes_max: int,
        send: Callable[[NodeId, SnapshotChunk], None],
        current: Callable[[], Slot],
        ballot: Callable[[SnapshotMeta], Ballot | None],
        on_none: Callable[[], None],
        on_damaged: Callable[[Exception], None],
        idle_s: float,
        observer: Markers = NO_MARKERS,
    ) -> None:
        """Set up.

        Args:
            current: return the slot of the current snapshot; 0 without one.
            ballot: return a bound for the ballots under which the slots of a snapshot were decided, if it is known.
            idle_s: after this long without a request for a chunk, sending to the peer ends.
        """
        self._observer = observer
        self._idle_s = idle_s
        self._name = name
        self._writer = writer
        self._loop = loop
        self._chunk_bytes_max = chunk_bytes_max
        self._send = send
        self._current = current
        self._ballot = ballot
        self._on_none = on_none
        self._on_damaged = on_damaged
        self._transfers: dict[NodeId, _Transfer] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False

    @property
    def held(self) -> Slot | None:
        """The first slot that a peer will need after the snapshot it is being sent; None if no peer is sent one."""
        return min((Slot(transfer.since + 1) for transfer in self._transfers.values()), default=None)

    def on_request(self, peer: NodeId, request: SnapshotRequest) -> None:
        """Answer with a chunk, or with ``GONE``."""
        if self._ended:
            return
        transfer = self._transfers.get(peer)
        if transfer is None:
            transfer = self._transfers[peer] = _Transfer(self._loop.time(), self._current())
            self._set_timer()
        transfer.asked_at = self._loop.time()
        if transfer.reading:
            self._observer.reached("sending: a chunk is asked for again while it is read")
            return  # the answer to the first request is being read
        if not request.id:
            transfer.since = self._current()
        sent = transfer.last_sent
        if sent is not None and (sent.id, sent.offset) == (request.id, request.offset):
            self._observer.reached("sending: a chunk is sent again")
            self._send(peer, sent)
            return
        self._read(peer, transfer, request)

    def _read(self, peer: NodeId, transfer: _Transfer, request: SnapshotRequest) -> None:
        worker = self._writer.worker_for("snapshot chunks")
        transfer.reading = True

        def job() -> None:
            try:
                chunk = self._chunk(transfer, request)
            except Exception as error:
                worker.call_on_loop(self._on_chunk, peer, transfer, None, error)
            else:
                worker.call_on_loop(self._on_chunk, peer, transfer, chunk, None)

        worker.put(job)

    def _chunk(self, transfer: _Transfer, request: SnapshotRequest) -> SnapshotChunk | None:
        """Read the requested chunk, in the thread; None if this node does not have the snapshot."""
        fits = transfer.meta is not None and transfer.meta.id == request.id and transfer.offset <= request.offset
        if transfer.reader is None or not fits:
            transfer.close()
            transfer.reader = self._writer.storage.open_snapshot()
            transfer.meta = None if transfer.reader is None else transfer.reader.meta
            transfer.offset, transfer.ended = 0, False
            transfer.ahead.clear()
        reader, meta = transfer.reader, transfer.meta
        if reader is None or meta is None or request.id not in ("", meta.id):
            return None
        if meta.slot < request.covers:
            transfer.meta = None
            return None
        # Skip what the peer received in an earlier transfer, before the connection was lost.
        skip = request.offset - transfer.offset
        while True:
            part = min(skip, len(transfer.ahead))
            del transfer.ahead[:part]
            transfer.offset += part
            skip -= part
            # Read one byte more than a chunk, to know whether it is the last one.
            if transfer.ended or (not skip and len(transfer.ahead) > self._chunk_bytes_max):
                break
            data = reader.read(_READ_BYTES)
            transfer.ended = not data
            transfer.ahead += data
        data = bytes(transfer.ahead[: self._chunk_bytes_max])
        last = transfer.ended and len(data) == len(transfer.ahead)
        return SnapshotChunk(slot=meta.slot, id=meta.id, offset=request.offset, data=data, last=last)

    def _on_chunk(
        self, peer: NodeId, transfer: _Transfer, chunk: SnapshotChunk | None, problem: Exception | None
    ) -> None:
        transfer.reading = False
        if self._ended:
            transfer.close()
            return
        if chunk is not None:
            chunk = replace(chunk, ballot=self._ballot(SnapshotMeta(chunk.slot, chunk.id)))
        transfer.last_sent = chunk
        if chunk is not None:
            self._observer.reached("sending: a chunk is sent")
            self._send(peer, chunk)
            return
        self._forget(peer)
        self._send(peer, GONE)
        if isinstance(problem, CorruptedError):
            self._observer.reached("sending: the current snapshot is damaged")
            self._on_damaged(problem)
        elif problem is not None:
            self._observer.reached("sending: the current snapshot cannot be read")
            _log.warning("node %s: cannot read the current snapshot to send it to %s: %s", self._name, peer, problem)
        elif transfer.meta is None:
            self._observer.reached("sending: there is no snapshot that helps")
            self._on_none()
        else:
            self._observer.reached("sending: another snapshot has taken the place of the one asked for")

    def _forget(self, peer: NodeId) -> None:
        transfer = self._transfers.pop(peer, None)
        if transfer is not None and not transfer.reading:
            transfer.close()

    def _set_timer(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(self._idle_s, self._on_timer)

    def _on_timer(self) -> None:
        """End the transfers whose peers no longer ask."""
        self._timer = None
        until = self._loop.time() - self._idle_s
        for peer in [
            peer for peer, transfer in self._transfers.items() if transfer.asked_at <= until and not transfer.reading
        ]:
            self._observer.reached("sending: a peer that asks no more is forgotten")
            self._forget(peer)
        if self._transfers:
            self._set_timer()

    def end(self) -> None:
        """End all transfers."""
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        for peer in list(self._transfers):
            self._forget(peer)
