"""Snapshots on their way, judged piece by piece: what is staged under a name is what its maker wrote.

Checksums find a snapshot that was put together wrongly only when all of it is there, and a node that finds one fetches
it again: nothing unsafe happens, and the fault does not show. What is judged here is the step.

* What is staged under the name of a snapshot is, byte by byte from its beginning, what the node that took it staged.
* A chunk is called the last one where the snapshot ends, and nowhere else.
* A snapshot is installed only above everything that was handed out for applying.
"""

from __future__ import annotations

from paxospp.messages import SnapshotChunk
from paxospp.model import Slot, SnapshotMeta
from paxospp.testing.simulation.judges.observed import ObservedHost
from paxospp.testing.simulation.rule_broken import RuleBroken

_RENAMED = "-2"
"""What ends the name of a snapshot that takes the place of itself, because it was damaged where it is."""


class SnapshotRules:
    """Remembers every snapshot that was ever staged whole."""

    def __init__(self) -> None:
        self._whole: dict[str, bytes] = {}

    def on_staged(self, meta: SnapshotMeta, offset: int, data: bytes) -> None:
        """The next piece of ``meta`` is staged somewhere."""
        whole = self._find(meta.id)
        if whole is not None and whole[offset : offset + len(data)] != data:
            raise RuleBroken("10", f"what is staged as {meta.id} of slot {meta.slot} from {offset} on is not of it")

    def on_committed(self, meta: SnapshotMeta, data: bytes) -> None:
        """All of ``meta`` is staged somewhere: by the node that takes it, or by one that fetched it."""
        whole = self._find(meta.id)
        if whole is None:
            self._whole[meta.id] = data
        elif whole != data:
            raise RuleBroken("10", f"{meta.id} of slot {meta.slot} is staged as something else than was taken")

    def on_chunk(self, host: ObservedHost, chunk: SnapshotChunk) -> None:
        """``host`` sends a piece of a snapshot."""
        whole = self._find(chunk.id)
        if whole is not None and chunk.last and chunk.offset + len(chunk.data) != len(whole):
            raise RuleBroken(
                "10",
                f"{host.name} calls a chunk of {chunk.id} the last one, which ends at "
                f"{chunk.offset + len(chunk.data)} of {len(whole)} bytes",
            )

    def on_installed(self, host: ObservedHost, slot: Slot) -> None:
        """``host`` takes the state of a peer as of ``slot``, and gives up its own."""
        assert host.parts is not None
        delivered = host.parts.replica.delivered
        if slot <= delivered:
            raise RuleBroken("9", f"{host.name} installs a snapshot of slot {slot}, and has applied {delivered}")

    def _find(self, id: str) -> bytes | None:
        found = self._whole.get(id)
        while found is None and id.endswith(_RENAMED):
            id = id.removesuffix(_RENAMED)
            found = self._whole.get(id)
        return found
