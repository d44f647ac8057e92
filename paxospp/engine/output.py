"""The output of the engine: what a node has to do after one call, in the order of the fields.

``leaves_at_once`` is the only place that decides which message may be sent before the write of the same call has
returned; every other message waits for the write. ``OutputBuilder`` collects the output while the call is handled.

Reference: the ``Ready`` structure of etcd's raft, which keeps two send queues apart for the same reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from paxospp.engine.rules.log import NOTHING
from paxospp.engine.rules.storage_reads import ReadRange
from paxospp.engine.rules.writes import Durable, Writes
from paxospp.events import Event
from paxospp.messages import (
    Accept,
    CatchUp,
    DecidedEntries,
    Heartbeat,
    HeartbeatAnswer,
    ProtocolMessage,
    ReadAnswer,
    ReadRequest,
)
from paxospp.model import Ballot, Entry, NodeId, Slot, SnapshotMeta
from paxospp.storage.contract import WriteBatch


@dataclass(slots=True, frozen=True)
class Send:
    """One message to one peer."""

    to: NodeId
    message: ProtocolMessage


@dataclass(slots=True, frozen=True, kw_only=True)
class SettledRead:
    """The outcome of ``replica.read(ticket)``: answer it once ``slot`` is applied. None: it was not confirmed."""

    ticket: int
    slot: Slot | None


@dataclass(slots=True)
class Output:
    """The work of a node after one call of the replica, in this order.

    1. Send ``send_now``.
    2. Hand ``persist``, if it is not None, to the storage as write number ``token``. Keep the order of writes; several
       may be merged with ``merge``. When writes have returned, call ``replica.on_persisted`` with the highest token.
    3. Send ``send_after_persist`` when write ``token`` and all earlier ones have returned, even if ``persist`` is None
       (``token`` is then the last write of an earlier call).
    4. Apply ``decided`` in this order, without waiting for any write.
    5. Begin ``log_reads`` when write ``token`` and all earlier ones have returned. Until then the disk may hold an
       entry under an older ballot than the one that was evicted from memory.
    6. Answer the linearizable reads in ``settled_reads``.
    7. Publish ``events``.
    8. Call ``on_tick`` at ``wake_at`` at the latest.

    ``snapshot_from`` names a peer whose snapshot to fetch, unless one is being fetched: all peers that were asked have
    trimmed slots that this replica needs. ``diverged_at`` is a slot where a majority agrees on a digest that differs
    from this replica's; this replica must then stop serving.
    """

    send_now: list[Send] = field(default_factory=list)
    persist: WriteBatch | None = None
    token: int = 0
    send_after_persist: list[Send] = field(default_factory=list)
    decided: list[Entry] = field(default_factory=list)
    log_reads: list[ReadRange] = field(default_factory=list)
    settled_reads: list[SettledRead] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    snapshot_from: NodeId | None = None
    diverged_at: Slot | None = None
    wake_at: float = 0.0

    def send(self, to: NodeId, message: ProtocolMessage) -> None:
        """Queue ``message`` in the list that ``leaves_at_once`` selects."""
        queue = self.send_now if leaves_at_once(message) else self.send_after_persist
        queue.append(Send(to, message))


def leaves_at_once(message: ProtocolMessage) -> bool:
    """Return whether ``message`` may be sent before the write of its own output has returned.

    Accept, Heartbeat, DecidedEntries, CatchUp and the messages of reads claim nothing about this replica's disk. The
    answer to a heartbeat carries the promise in memory, and its receiver treats it as such. Prepare, Promise, Accepted,
    Nack and every message not named here wait.
    """
    return isinstance(message, (Accept, Heartbeat, HeartbeatAnswer, DecidedEntries, CatchUp, ReadRequest, ReadAnswer))


def value_bytes(batch: WriteBatch) -> int:
    """Return the total size of the values in ``batch``, in bytes."""
    return sum([len(entry.value) for entry in batch.accepted])


def merge(batches: Sequence[WriteBatch]) -> WriteBatch:
    """Merge ``batches`` into one batch with the same effect on the storage as all of them in order.

    The later entry of a slot wins; promise, decided and trim are the highest, the end of damage is the lowest; meta is
    merged key by key; the result is synced if any batch is. At most one batch may name a snapshot.
    """
    if len(batches) == 1:
        return batches[0]
    promised: Ballot | None = None
    decided: Slot | None = None
    trim: Slot | None = None
    snapshot: SnapshotMeta | None = None
    accepted: dict[Slot, Entry] = {}
    meta: dict[str, bytes] = {}
    faulty_until: Slot | None = None
    sync = False
    for batch in batches:
        if batch.promised is not None and (promised is None or batch.promised > promised):
            promised = batch.promised
        for entry in batch.accepted:
            accepted.pop(entry.slot, None)
            accepted[entry.slot] = entry
        if batch.decided is not None and (decided is None or batch.decided > decided):
            decided = batch.decided
        if batch.trim is not None and (trim is None or batch.trim > trim):
            trim = batch.trim
        if batch.snapshot is not None:
            assert snapshot is None, "at most one batch of a merge may publish a snapshot"
            snapshot = batch.snapshot
        if batch.meta:
            meta.update(batch.meta)
        if batch.faulty_until is not None and (faulty_until is None or batch.faulty_until < faulty_until):
            faulty_until = batch.faulty_until
        sync = sync or batch.sync
    return WriteBatch(
        promised=promised,
        accepted=tuple(accepted.values()),
        decided=decided,
        trim=trim,
        snapshot=snapshot,
        meta=meta,
        faulty_until=faulty_until,
        sync=sync,
    )


class OutputBuilder:
    """The output of one call while the call is handled, with the two clocks that handlers read."""

    def __init__(self, now: float, boot_clock: Callable[[float], float] | None = None, driver_now: float = 0.0) -> None:
        """Start an empty output.

        Args:
            now: active time in seconds, see ``rules.clock``.
            boot_clock: maps ``driver_now`` to boot time; None if they are the same. It is called only when needed.
            driver_now: the ``now`` that the node passed.
        """
        self.now = now
        self._boot_clock = boot_clock
        self._driver_now = driver_now
        self.output = Output()
        self.sent_accept = False
        self._batches: list[WriteBatch] = []
        self._then: list[Durable] = []

    def send(self, to: NodeId, message: ProtocolMessage) -> None:
        """Queue ``message``; ``leaves_at_once`` decides whether it waits for the write of this output."""
        if isinstance(message, Accept):
            self.sent_accept = True
        self.output.send(to, message)

    def send_all(self, to: Iterable[NodeId], message: ProtocolMessage) -> None:
        for peer in to:
            self.send(peer, message)

    def write(self, batch: WriteBatch, then: Durable | None = None) -> None:
        """Add ``batch`` to the write; the replica handles ``then`` once it and all earlier writes are durable."""
        if batch is not NOTHING:
            self._batches.append(batch)
            if then is not None:
                self._then.append(then)

    def finish(self, writes: Writes, decided: Slot | None) -> Output:
        """Return the output with one merged write. A write also stores the hint ``decided``, if it is not None."""
        batches = self._batches
        if batches:
            if decided is not None:
                batches.append(WriteBatch(decided=decided, sync=False))
            batch = self.output.persist = merge(batches)
            writes.hand_out(self.now, self._then, value_bytes(batch))
        self.output.token = writes.last_token
        return self.output

    @property
    def boot_time(self) -> float:
        """Seconds of the clock that keeps running while the machine sleeps, see ``rules.lease``."""
        return self._driver_now if self._boot_clock is None else self._boot_clock(self._driver_now)

    @property
    def has_writes(self) -> bool:
        """Whether anything has to be written."""
        return bool(self._batches)
