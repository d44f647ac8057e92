"""Snapshots in transfer, checked piece by piece: what is staged under a name is what the maker of the snapshot wrote.

Checksums find a wrongly assembled snapshot only once it is complete, and the node then fetches it again: nothing unsafe
happens, and the fault would not show. So each step is checked.

* The bytes staged under the name of a snapshot equal, from the beginning, the bytes that its maker staged.
* A chunk is marked as the last one exactly where the snapshot ends.
* A snapshot is installed only above everything that was handed to the machine.
"""

from __future__ import annotations

from paxospp.messages import SnapshotChunk
from paxospp.model import Slot, SnapshotMeta
from paxospp.testing.simulation.judges.observed import ObservedHost
from paxospp.testing.simulation.rule_broken import RuleBroken

_RENAMED = "-2"
"""Suffix of a snapshot that replaces a damaged copy of itself."""


class SnapshotRules:
    """Remembers every snapshot that was ever staged completely."""

    def __init__(self) -> None:
        self._whole: dict[str, bytes] = {}

    def on_staged(self, meta: SnapshotMeta, offset: int, data: bytes) -> None:
        """Check the next piece of ``meta`` that some node stages."""
        whole = self._find(meta.id)
        if whole is not None and whole[offset : offset + len(data)] != data:
            raise RuleBroken(
                "10",
                f"what is staged as {meta.id} of slot {meta.slot} from byte {offset} on is not what its maker wrote",
            )

    def on_committed(self, meta: SnapshotMeta, data: bytes) -> None:
        """Check the complete snapshot ``meta``, staged by its maker or by a node that fetched it."""
        whole = self._find(meta.id)
        if whole is None:
            self._whole[meta.id] = data
        elif whole != data:
            raise RuleBroken("10", f"{meta.id} of slot {meta.slot} is staged as something else than its maker wrote")

    def on_chunk(self, host: ObservedHost, chunk: SnapshotChunk) -> None:
        """Check a piece of a snapshot that ``host`` sends."""
        whole = self._find(chunk.id)
        if whole is not None and chunk.last and chunk.offset + len(chunk.data) != len(whole):
            raise RuleBroken(
                "10",
                f"{host.name} marks a chunk of {chunk.id} as the last one, which ends at "
                f"{chunk.offset + len(chunk.data)} of {len(whole)} bytes",
            )

    def on_installed(self, host: ObservedHost, slot: Slot) -> None:
        """Check that ``host`` replaces its state by a peer's state of ``slot`` only if that is newer."""
        assert host.runtime is not None
        delivered = host.runtime.replica.delivered
        if slot <= delivered:
            raise RuleBroken("9", f"{host.name} installs a snapshot of slot {slot}, and has applied {delivered}")

    def _find(self, id: str) -> bytes | None:
        found = self._whole.get(id)
        while found is None and id.endswith(_RENAMED):
            id = id.removesuffix(_RENAMED)
            found = self._whole.get(id)
        return found
