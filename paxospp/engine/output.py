"""What the engine asks of its node: one value per call, whose fields stand in the order to honour.

**What may leave when** is decided here and nowhere else: ``leaves_at_once`` says which message
may go before the write it came with has returned. Everything else waits.

Reference: the Ready structure of etcd's raft, whose two send queues this keeps apart too.
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


class OutputBuilder:
    """``now`` is active time, see ``clock``; ``boot_time`` goes on while this replica does not run, see ``lease``."""

    def __init__(self, now: float, boot_clock: Callable[[float], float] | None = None, driver_now: float = 0.0) -> None:
        """``boot_clock`` makes boot time of ``driver_now``, which is that itself without one; few turns ask for it."""
        self.now = now
        self._boot_clock = boot_clock
        self._driver_now = driver_now
        self.output = Output()
        self.sent_accept = False
        self._batches: list[WriteBatch] = []
        self._then: list[Durable] = []

    def send(self, to: NodeId, message: ProtocolMessage) -> None:
        """Queue ``message``; whether it waits for the writes of this turn is not for us to say."""
        if isinstance(message, Accept):
            self.sent_accept = True
        self.output.send(to, message)

    def send_all(self, to: Iterable[NodeId], message: ProtocolMessage) -> None:
        for peer in to:
            self.send(peer, message)

    def write(self, batch: WriteBatch, then: Durable | None = None) -> None:
        """Hand ``batch`` to the storage; the replica is told ``then`` when it and all earlier ones are durable."""
        if batch is not NOTHING:
            self._batches.append(batch)
            if then is not None:
                self._then.append(then)

    def finish(self, writes: Writes, decided: Slot | None) -> Output:
        """The output, with one merged write; ``decided`` rides along with it if there is one."""
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
        """As of the call: no earlier than the turn began, and before anything of it leaves."""
        return self._driver_now if self._boot_clock is None else self._boot_clock(self._driver_now)

    @property
    def writes(self) -> bool:
        """Whether anything is to be written."""
        return bool(self._batches)
