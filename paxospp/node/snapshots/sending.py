"""Sending the current snapshot to peers, a chunk for each request.

A peer says which snapshot and from which offset; whatever was lost on the way is asked for again
and answered again. The log from the snapshot's slot on is kept while a peer is at it: it needs
that next. A peer that is still busy installing asks for what lies behind the end.

Reference: Ongaro's thesis (2014), chapter 5.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from paxospp.errors import CorruptedError
from paxospp.markers import UNWATCHED, Markers
from paxospp.messages import SnapshotChunk, SnapshotRequest
from paxospp.model import Ballot, NodeId, Slot, SnapshotMeta
from paxospp.node.writer import Writer
from paxospp.storage.contract import SnapshotReader

_READ_BYTES = 1 << 20
GONE = SnapshotChunk(slot=Slot(0), id="", offset=0, data=b"", last=False)

_log = logging.getLogger("paxospp.node")


@dataclass(slots=True)
class _Stream:
    """What one peer is being sent."""

    asked_at: float
    since: Slot
    """The slot of the snapshot that was current when it was opened, at least."""
    reading: bool = False
    reader: SnapshotReader | None = None
    meta: SnapshotMeta | None = None
    offset: int = 0
    """Of what ``ahead`` begins with."""
    ahead: bytearray = field(default_factory=bytearray)
    ended: bool = False
    last_sent: SnapshotChunk | None = None

    def close(self) -> None:
        if self.reader is not None:
            self.reader.close()
            self.reader = None


class Sender:
    """Serves snapshots.

    ``on_none``: one was asked for, and there is none, or too old a one; ``on_damaged``: it cannot be read.
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
        observer: Markers = UNWATCHED,
    ) -> None:
        """``idle_s``: after so long without a request a peer is taken to be done, or gone."""
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
        self._streams: dict[NodeId, _Stream] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False

    @property
    def held(self) -> Slot | None:
        """The first slot that a peer will need after what it is being sent; None when nobody is."""
        return min((Slot(stream.since + 1) for stream in self._streams.values()), default=None)

    def on_request(self, peer: NodeId, request: SnapshotRequest) -> None:
        """Answer with a chunk, or that this snapshot is not to be had here any more."""
        if self._ended:
            return
        stream = self._streams.get(peer)
        if stream is None:
            stream = self._streams[peer] = _Stream(self._loop.time(), self._current())
            self._arm()
        stream.asked_at = self._loop.time()
        if stream.reading:
            self._observer.reached("sending: a chunk is asked for again while it is read")
            return  # asked again meanwhile; the answer is on its way
        if not request.id:
            stream.since = self._current()
        sent = stream.last_sent
        if sent is not None and (sent.id, sent.offset) == (request.id, request.offset):
            self._observer.reached("sending: a chunk is sent again")
            self._send(peer, sent)
            return
        self._read(peer, stream, request)

    def _read(self, peer: NodeId, stream: _Stream, request: SnapshotRequest) -> None:
        worker = self._writer.beside("snapshot chunks")
        stream.reading = True

        def job() -> None:
            try:
                chunk = self._chunk(stream, request)
            except Exception as error:
                worker.tell(self._on_chunk, peer, stream, None, error)
            else:
                worker.tell(self._on_chunk, peer, stream, chunk, None)

        worker.put(job)

    def _chunk(self, stream: _Stream, request: SnapshotRequest) -> SnapshotChunk | None:
        """In the thread: what was asked for; None if it is not to be had."""
        fits = stream.meta is not None and stream.meta.id == request.id and stream.offset <= request.offset
        if stream.reader is None or not fits:
            stream.close()
            stream.reader = self._writer.storage.open_snapshot()
            stream.meta = None if stream.reader is None else stream.reader.meta
            stream.offset, stream.ended = 0, False
            stream.ahead.clear()
        reader, meta = stream.reader, stream.meta
        if reader is None or meta is None or request.id not in ("", meta.id):
            return None
        if meta.slot < request.covers:
            stream.meta = None
            return None
        # What lies before the offset was received before a cut, through another stream than this.
        skip = request.offset - stream.offset
        while True:
            part = min(skip, len(stream.ahead))
            del stream.ahead[:part]
            stream.offset += part
            skip -= part
            # One byte beyond, to know which chunk is the last.
            if stream.ended or (not skip and len(stream.ahead) > self._chunk_bytes_max):
                break
            data = reader.read(_READ_BYTES)
            stream.ended = not data
            stream.ahead += data
        data = bytes(stream.ahead[: self._chunk_bytes_max])
        last = stream.ended and len(data) == len(stream.ahead)
        return SnapshotChunk(slot=meta.slot, id=meta.id, offset=request.offset, data=data, last=last)

    def _on_chunk(self, peer: NodeId, stream: _Stream, chunk: SnapshotChunk | None, problem: Exception | None) -> None:
        stream.reading = False
        if self._ended:
            stream.close()
            return
        if chunk is not None:
            chunk = replace(chunk, ballot=self._ballot(SnapshotMeta(chunk.slot, chunk.id)))
        stream.last_sent = chunk
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
            _log.warning("node %s: its snapshot cannot be read for %s: %s", self._name, peer, problem)
        elif stream.meta is None:
            self._observer.reached("sending: there is no snapshot that helps")
            self._on_none()
        else:
            self._observer.reached("sending: another snapshot has taken the place of the one asked for")

    def _forget(self, peer: NodeId) -> None:
        stream = self._streams.pop(peer, None)
        if stream is not None and not stream.reading:
            stream.close()

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(self._idle_s, self._look)

    def _look(self) -> None:
        """Let go of what nobody asks for any more."""
        self._timer = None
        until = self._loop.time() - self._idle_s
        for peer in [peer for peer, stream in self._streams.items() if stream.asked_at <= until and not stream.reading]:
            self._observer.reached("sending: a peer that asks no more is forgotten")
            self._forget(peer)
        if self._streams:
            self._arm()

    def end(self) -> None:
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        for peer in list(self._streams):
            self._forget(peer)
