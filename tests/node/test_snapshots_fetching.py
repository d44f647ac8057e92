"""Fetching a snapshot, with peers played by hand: which peer is asked for what, and which answers count."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from paxospp_memory import MemoryStorage

from paxospp import NodeId, Slot, SnapshotMeta
from paxospp.engine.rules.covered import Covered
from paxospp.errors import CorruptedError
from paxospp.execution.snapshot import SnapshotHead, write_snapshot
from paxospp.messages import Sender, SnapshotChunk, SnapshotRequest
from paxospp.model import Ballot, Member, Membership
from paxospp.node.snapshots.fetching import SAME_PEER_TRIES, Fetcher
from paxospp.node.snapshots.sending import GONE
from paxospp.node.worker import run_in
from paxospp.node.writer import Writer
from tests.cluster.embedding import run
from tests.node.writing import open_writer

N2, N3, N4 = NodeId("n2"), NodeId("n3"), NodeId("n4")
CLUSTER = bytes(16)
CHUNK = 100
RESEND_S = 0.02


LOW, HIGH = Ballot(3, N2, 2), Ballot(5, N3, 3)


def snapshot(slot: int, filling: bytes, ballot: Ballot | None = LOW) -> bytes:
    members = (Member(NodeId("n1"), "127.0.0.1:1", 1),)
    membership = Membership(
        cluster_id=CLUSTER, group=0, alpha=8, session_expiry_s=60, replaces=Slot(0), members=members
    )
    head = SnapshotHead(Slot(slot), 0, 0, -1, b"d" * 16, ((Slot(1), membership.to_bytes()),), 0, ballot=ballot)
    return b"".join(write_snapshot(head, [], [filling * 1000]))


class Peers:
    """Records the fetcher's requests and answers them when the test says so."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[tuple[NodeId, SnapshotRequest]] = asyncio.Queue()
        self.holds: dict[NodeId, tuple[str, int, bytes]] = {}
        self.whole: list[SnapshotMeta] = []
        self.covered: list[Covered] = []
        self.met: list[Ballot] = []
        self.ballot: Ballot | None = None
        """The ballot that every chunk names."""
        self.gives_up = False
        """Whether the log has caught up when the first chunk arrives."""
        self.failed: list[Exception] = []
        self.fetcher: Fetcher
        self.writer: Writer

    def send(self, peer: NodeId, request: SnapshotRequest) -> None:
        self.asked.put_nowait((peer, request))

    def answer(self, peer: NodeId, request: SnapshotRequest) -> None:
        """Answer ``request`` like a peer that holds only this snapshot."""
        id, slot, data = self.holds[peer]
        chunk = GONE
        if request.id in ("", id):
            part = data[request.offset : request.offset + CHUNK]
            last = request.offset + len(part) == len(data)
            chunk = SnapshotChunk(
                slot=Slot(slot), id=id, offset=request.offset, data=part, last=last, ballot=self.ballot
            )
        self.fetcher.on_chunk(Sender(CLUSTER, 0, peer, 1, 1, 1), chunk)

    def on_ballot(self, ballot: Ballot) -> None:
        self.met.append(ballot)
        if self.gives_up:
            self.fetcher.discard()

    def on_whole(self, covered: Covered, size: int) -> None:
        self.whole.append(covered.meta)
        self.covered.append(covered)

    async def answered(self, count: int) -> list[tuple[NodeId, SnapshotRequest]]:
        """Answer ``count`` requests and return them."""
        requests = []
        for _ in range(count):
            peer, request = await self.asked.get()
            self.answer(peer, request)
            requests.append((peer, request))
        return requests

    async def serve(self) -> None:
        """Answer all requests until the snapshot is complete or the fetch has failed."""
        async with asyncio.timeout(10):
            while not self.whole and not self.failed:
                if self.asked.empty():
                    await asyncio.sleep(0.001)
                else:
                    await self.answered(1)


@asynccontextmanager
async def fetching(*, resend_interval_s: float = 5.0) -> AsyncIterator[Peers]:
    peers = Peers()
    writer = peers.writer = await open_writer(lambda: MemoryStorage(""), on_failed=peers.failed.append)
    peers.fetcher = Fetcher(
        writer,
        loop=asyncio.get_running_loop(),
        resend_interval_s=resend_interval_s,
        keep_asking_s=5.0,
        peers=[N2, N3, N4],
        send=peers.send,
        name=lambda meta: meta,
        on_ballot=peers.on_ballot,
        on_whole=peers.on_whole,
        on_failed=lambda peer, error: peers.failed.append(error),
    )
    try:
        yield peers
    finally:
        peers.fetcher.end()
        assert await writer.close(5.0)


def test_when_its_source_falls_silent_a_fetch_continues_at_a_peer_with_the_same_snapshot() -> None:
    async def main() -> None:
        async with fetching(resend_interval_s=RESEND_S) as peers:
            peers.holds = dict.fromkeys((N2, N3, N4), ("same", 7, snapshot(7, b"x")))
            peers.fetcher.begin(N2, covers=Slot(1))
            await peers.answered(3)
            silent = [await peers.asked.get() for _ in range(SAME_PEER_TRIES)]
            assert {peer for peer, _ in silent} == {N2}
            (first,) = await peers.answered(1)
            assert first == (N3, SnapshotRequest(id="same", offset=3 * CHUNK))
            await peers.serve()
            assert peers.fetcher.source == N3
            assert peers.whole == [SnapshotMeta(Slot(7), "same")]

    run(main)


def test_a_fetch_starts_over_only_if_no_peer_has_the_same_snapshot_any_more() -> None:
    async def main() -> None:
        async with fetching() as peers:
            peers.holds = dict.fromkeys((N2, N3, N4), ("other", 9, snapshot(9, b"y")))
            peers.holds[N2] = ("first", 7, snapshot(7, b"x"))
            peers.fetcher.begin(N2, covers=Slot(1))
            await peers.answered(3)
            peers.holds[N2] = ("newer", 8, snapshot(8, b"z"))
            asked = await peers.answered(4)
            stopped = SnapshotRequest(id="first", offset=3 * CHUNK)
            assert asked[:3] == [(N2, stopped), (N3, stopped), (N4, stopped)]
            peer, request = asked[3]
            assert request == SnapshotRequest(id="", offset=0, covers=Slot(1)), "nothing of the former snapshot is kept"
            await peers.serve()
            assert peers.whole == [SnapshotMeta(Slot(peers.holds[peer][1]), peers.holds[peer][0])]

    run(main)


def test_a_peer_that_has_no_snapshot_yet_is_asked_again_for_some_time() -> None:
    """The request makes the peer take one. A fetcher that moved on at once would return to it last of all."""

    async def main() -> None:
        async with fetching(resend_interval_s=RESEND_S) as peers:
            peers.holds = {N2: ("taken", 7, snapshot(7, b"x"))}
            peers.fetcher.begin(N2, covers=Slot(1))
            sender = Sender(CLUSTER, 0, N2, 1, 1, 1)
            peers.fetcher.on_chunk(sender, GONE)
            await peers.asked.get()
            await peers.serve()
            assert peers.whole == [SnapshotMeta(Slot(7), "taken")]
            peers.fetcher.end()

            peers.fetcher.begin(N3, covers=Slot(1))
            async with asyncio.timeout(10):
                while peers.fetcher.source is not None:
                    peers.fetcher.on_chunk(Sender(CLUSTER, 0, N3, 1, 1, 1), GONE)
                    await asyncio.sleep(0.001)

    run(main)


def test_a_fetch_abandoned_while_a_chunk_is_written_counts_as_active_until_the_storage_is_free() -> None:
    async def main() -> None:
        async with fetching() as peers:
            peers.holds = {N2: ("gone", 7, snapshot(7, b"x"))}
            peers.fetcher.begin(N2, covers=Slot(1))
            await peers.answered(1)
            peers.fetcher.discard()
            assert peers.fetcher.source is None
            assert peers.fetcher.is_staging

            worker = peers.writer.worker_for("snapshots")
            create = peers.writer.storage.create_snapshot
            await run_in(worker, lambda: None)  # runs after the chunk is written
            assert not peers.fetcher.is_staging
            (await run_in(worker, lambda: create(SnapshotMeta(Slot(8), "own")))).abort()

    run(main)


def test_a_fetch_ends_if_the_peers_that_answer_have_another_snapshot_and_the_others_are_silent() -> None:
    """Simulator, seed 1001375: it asked an unreachable peer for ever; now the replica starts another fetch."""

    async def main() -> None:
        async with fetching(resend_interval_s=RESEND_S) as peers:
            peers.holds = {N2: ("first", 7, snapshot(7, b"x"))}
            peers.fetcher.begin(N2, covers=Slot(1))
            await peers.answered(3)
            peers.holds[N2] = ("newer", 8, snapshot(8, b"z"))
            await peers.answered(1)
            asked = []
            async with asyncio.timeout(10):
                while peers.fetcher.source is not None:
                    if peers.asked.empty():
                        await asyncio.sleep(0.001)
                    else:
                        asked.append((await peers.asked.get())[0])
            assert set(asked) == {N3, N4}, "each peer that might have it"
            assert not peers.failed

            peers.fetcher.begin(N2, covers=Slot(1))
            await peers.serve()
            assert peers.whole == [SnapshotMeta(Slot(8), "newer")]

    run(main)


def test_repeated_chunks_and_chunks_that_were_not_requested_are_ignored() -> None:
    async def main() -> None:
        async with fetching() as peers:
            peers.holds = dict.fromkeys((N2, N3), ("same", 7, snapshot(7, b"x")))
            peers.holds[N4] = ("other", 9, snapshot(9, b"y"))
            peers.fetcher.begin(N2, covers=Slot(1))
            peers.answer(N4, SnapshotRequest(id="", offset=0))
            assert peers.fetcher.slot is None, "that peer was not asked"
            await peers.answered(1)
            (peer, request) = await peers.asked.get()
            peers.answer(N2, SnapshotRequest(id="same", offset=0))
            peers.answer(N2, SnapshotRequest(id="same", offset=5 * CHUNK))
            peers.answer(N4, SnapshotRequest(id="other", offset=CHUNK))
            assert peers.fetcher.received_bytes == CHUNK
            peers.answer(peer, request)
            await peers.serve()
            assert peers.whole == [SnapshotMeta(Slot(7), "same")]

    run(main)


def test_a_snapshot_that_is_damaged_or_differs_from_its_description_is_refused() -> None:
    async def main() -> None:
        for data in (snapshot(7, b"x")[:-30] + bytes(30), snapshot(8, b"x")):
            async with fetching() as peers:
                peers.holds = {N2: ("same", 7, data)}
                peers.fetcher.begin(N2, covers=Slot(1))
                await peers.serve()
                assert isinstance(peers.failed[0], CorruptedError)
                assert not peers.whole
                assert peers.fetcher.source is None

    run(main)


def test_the_highest_ballot_named_by_the_chunks_or_the_snapshot_is_adopted() -> None:
    async def main() -> None:
        for in_bytes, in_chunks, highest in ((LOW, LOW, LOW), (LOW, HIGH, HIGH), (HIGH, None, HIGH), (None, LOW, LOW)):
            async with fetching() as peers:
                peers.holds = {N2: ("same", 7, snapshot(7, b"x", in_bytes))}
                peers.ballot = in_chunks
                peers.fetcher.begin(N2, covers=Slot(1))
                await peers.serve()
                assert [covered.ballot for covered in peers.covered] == [highest]
                assert peers.met == ([] if in_chunks is None else [in_chunks]), (
                    "the ballot is adopted with the first chunk"
                )

    run(main)


def test_a_snapshot_that_names_no_ballot_is_refused() -> None:
    """Such a snapshot was written by a version of paxospp that did not record the ballots of decisions."""

    async def main() -> None:
        async with fetching() as peers:
            peers.holds = {N2: ("same", 7, snapshot(7, b"x", None))}
            peers.fetcher.begin(N2, covers=Slot(1))
            await peers.serve()
            assert "upgrade the node" in str(peers.failed[0])
            assert not peers.whole

    run(main)


def test_a_fetch_that_the_log_overtakes_at_the_first_chunk_ends_and_another_can_start() -> None:
    """Otherwise the node neither takes nor fetches a snapshot until it is restarted."""

    async def main() -> None:
        async with fetching() as peers:
            peers.holds[N2] = ("late", 7, snapshot(7, b"x"))
            peers.ballot = LOW
            peers.gives_up = True
            peers.fetcher.begin(N2, covers=Slot(1))
            await peers.answered(1)
            assert peers.met == [LOW]
            await asyncio.sleep(0.05)
            assert peers.fetcher.source is None

            peers.gives_up = False
            peers.fetcher.begin(N2, covers=Slot(1))
            await peers.serve()
            assert peers.whole == [SnapshotMeta(Slot(7), "late")]

    run(main)
