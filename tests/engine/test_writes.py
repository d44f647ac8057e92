"""Outstanding writes: what waits in memory for a slow or hung disk is bounded (rule 3)."""

from __future__ import annotations

from paxospp.engine.settings import Settings
from paxospp.messages import Accepted, CatchUp, DecidedEntries
from paxospp.model import Slot
from paxospp.testing.engine_settings import engine_settings

from .words import N1, N2, N3, accept, ballot, entry, founded, lead, sender, sent

TAIL_BYTES_MAX = 1500
VALUE = bytes(300)


def settings() -> Settings:
    return engine_settings(alpha=4, tail_bytes_max=TAIL_BYTES_MAX)


def test_an_acceptor_whose_disk_hangs_stops_accepting_when_its_memory_is_full() -> None:
    """The others decide every slot at once, so the log evicts entries that are not on disk yet."""
    replica = founded(N3, settings=settings())
    taken = 0
    for slot in range(2, 100):
        output = replica.on_message(sender(N1), accept(slot, ballot(1), VALUE, slot - 1), 0.0)
        taken += output.persist is not None and len(output.persist.accepted)
    assert 2 * TAIL_BYTES_MAX <= taken * len(VALUE) <= 2 * TAIL_BYTES_MAX + len(VALUE)
    assert replica.protocol.writes.bytes == taken * len(VALUE)

    replica.on_persisted(replica.protocol.writes.last_token, 0.0)
    assert not replica.protocol.writes.bytes
    slot = 2 + taken
    assert sent(replica.on_message(sender(N1), accept(slot, ballot(1), VALUE, slot - 1), 0.0), Accepted)


def test_an_acceptor_whose_disk_hangs_stops_fetching_when_its_memory_is_full() -> None:
    replica = founded(N3, settings=settings())
    now, told = 0.0, 0
    replica.on_message(sender(N1), accept(99, ballot(1), b"", 98), now)
    while now < 5.0:
        now += 0.01
        for asked in sent(replica.on_tick(now), CatchUp):
            missed = (entry(asked.start, ballot(1), VALUE),)
            replica.on_message(sender(N1), DecidedEntries(entries=missed, decided=Slot(98), first=Slot(1)), now)
            told += 1
    assert told == 2 * TAIL_BYTES_MAX // len(VALUE) + 1

    replica.on_persisted(replica.protocol.writes.last_token, now)
    assert sent(replica.on_tick(now + 1.0), CatchUp)


def test_a_leader_whose_disk_is_slower_than_a_quorums_stops_proposing_when_its_memory_is_full() -> None:
    replica = founded(settings=settings())
    leads_under = lead(replica)
    proposed = 0
    while replica.proposable and proposed < 100:
        proposed += 1
        replica.propose(VALUE, 0.0)
        for peer in (N2, N3):
            replica.on_message(sender(peer), Accepted(ballot=leads_under, slot=Slot(1 + proposed)), 0.0)
    assert replica.decided == 1 + proposed
    assert proposed == 2 * TAIL_BYTES_MAX // len(VALUE) + 1

    replica.on_persisted(replica.protocol.writes.last_token, 0.0)
    assert replica.proposable
