"""What the engine asks of its node: one value per call, whose fields stand in the order to honour.

**What may leave when** is decided here and nowhere else: ``leaves_at_once`` says which message
may go before the write it came with has returned. Everything else waits.

Reference: the Ready structure of etcd's raft, whose two send queues this keeps apart too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from paxospp.events import Event
from paxospp.messages import (
    Accept,
    CatchUp,
    Decided,
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
class ReadRange:
    """Entries wanted from storage: answer with ``replica.on_read(token, entries)``.

    Read with ``storage.read(start, stop, max_bytes)``. When it raises ``TrimmedError``, answer
    with no entries; when it raises ``CorruptedError``, with no entries and its ``slots`` as
    ``faulty``, or with the whole range if it names none.
    """

    token: int
    start: Slot
    stop: Slot
    max_bytes: int


@dataclass(slots=True, frozen=True, kw_only=True)
class ReadReady:
    """The outcome of ``replica.read(ticket)``: serve it once ``slot`` is applied; None: not confirmed."""

    ticket: int
    slot: Slot | None


@dataclass(slots=True)
class Output:
    """What is to be done after one call of the replica, field by field, in this order.

    1. ``send_now`` leaves at once.
    2. ``persist``, if not None, is handed to the storage as write number ``token``. Writes keep
       their order and may be merged with ``merge``; then ``replica.on_persisted(token)`` with the
       highest token whose write returned.
    3. ``send_after_persist`` leaves when write ``token`` and all earlier ones have returned, also
       when ``persist`` is None (then ``token`` is the last write handed out before).
    4. ``decided`` is applied, in this order; it waits for no write.
    5. ``reads`` are begun when write ``token`` and all earlier ones have returned: what memory let go
       of may stand on disk under an older ballot until then. ``readable``; 6. ``events``; 7. call
       ``on_tick`` no later than ``wake_at``.

    ``snapshot_from``: slots this replica needs are trimmed everywhere it asked; fetch that peer's
    snapshot, unless one is being fetched. ``diverged_at``: a majority has another digest there than
    this replica, which must serve nobody any more.
    """

    send_now: list[Send] = field(default_factory=list)
    persist: WriteBatch | None = None
    token: int = 0
    send_after_persist: list[Send] = field(default_factory=list)
    decided: list[Entry] = field(default_factory=list)
    reads: list[ReadRange] = field(default_factory=list)
    readable: list[ReadReady] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    snapshot_from: NodeId | None = None
    diverged_at: Slot | None = None
    wake_at: float = 0.0

    def send(self, to: NodeId, message: ProtocolMessage) -> None:
        """Queue ``message`` where the rule of ``leaves_at_once`` wants it."""
        queue = self.send_now if leaves_at_once(message) else self.send_after_persist
        queue.append(Send(to, message))


def leaves_at_once(message: ProtocolMessage) -> bool:
    """Whether ``message`` may leave before the writes of its own Output have returned.

    Accept, Heartbeat, decided entries and catch-up say nothing about this replica's disk; the
    answer to a heartbeat carries the promise in memory and is read as that. Prepare, Promise,
    Accepted, Nack and whatever is not named here wait.
    """
    return isinstance(message, (Accept, Heartbeat, HeartbeatAnswer, Decided, CatchUp, ReadRequest, ReadAnswer))


def value_bytes(batch: WriteBatch) -> int:
    """How many bytes the values in ``batch`` have."""
    return sum([len(entry.value) for entry in batch.accepted])


def merge(batches: Sequence[WriteBatch]) -> WriteBatch:
    """One batch that leaves the storage as ``batches`` in their order would.

    Of two writes of a slot the later stands; the greatest promise, decided and trim; meta key by
    key; the lowest end of damage; synced if any is; at most one of them may name a snapshot.
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
