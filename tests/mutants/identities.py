"""Mutants of who may speak: incarnations, boots, clusters, frames."""

from __future__ import annotations

from tests.mutants.mutant import Mutant, Patch

_ADMISSION = "paxospp.engine.rules.admission"
_IDENTITY = "paxospp.node.identity"
_ADMISSION = "paxospp.engine.rules.admission"
_CODEC = "paxospp.wire.frames"

MUTANTS = (
    Mutant(
        "a wiped disk votes",
        "B16, D12: votes are counted by the name of a node, whatever its incarnation.",
        (
            Patch(
                "paxospp.engine.rules.voters",
                "        return self._incarnations.get(name) == incarnation\n",
                "        return name in self._incarnations\n",
            ),
        ),
    ),
    Mutant(
        "a wiped disk keeps its incarnation",
        "B16, rule 8: the incarnation comes from the node's name and not from its storage.",
        (
            Patch(
                _IDENTITY,
                "random_bits(63) | 1, self._names)\n",
                "random_bits(63) and int.from_bytes(self._name.encode(), 'big'), self._names)\n",
            ),
        ),
    ),
    Mutant(
        "a boot is not counted",
        "Rule 8: a restarted node looks like its own clone.",
        (Patch(_IDENTITY, "        boot = self._boot + 1\n", "        boot = self._boot or 1\n"),),
    ),
    Mutant(
        "another node's disk is taken",
        "D13: two swapped disks are not noticed.",
        (Patch(_IDENTITY, "        if stored.name != self._name:\n", "        if not stored.name:\n"),),
        # No run shows harm: the swapped disk is an incarnation without a vote, so what it says has no effect.
        seen_by="tests/node/test_small_parts.py::test_a_storage_of_another_name_or_cluster_is_refused",
    ),
    Mutant(
        "a rolled-back disk is admitted",
        "B17: a peer does not check whether a restarted node has forgotten a promise.",
        (
            Patch(
                _ADMISSION,
                "            known.refused = _what_it_forgot(known, message)\n",
                "            known.refused = None\n",
            ),
        ),
    ),
    Mutant(
        "messages of another cluster are heard",
        "B19: messages arrive over a reused address.",
        (
            Patch(
                _ADMISSION,
                "    if sender.cluster_id and me.cluster_id and sender.cluster_id != me.cluster_id:\n",
                "    if not sender.node:\n",
            ),
        ),
    ),
    Mutant(
        "a ballot may be claimed by anybody",
        "Rule 8: only the owner of a ballot may send messages under it.",
        (
            Patch(
                _ADMISSION,
                "    if claimed is not None and (claimed.node != ",
                "    if claimed is not None and not sender.node and (claimed.node != ",
            ),
            Patch(
                _ADMISSION,
                "    if me.cluster_id and not voters.has(sender.node, sender.incarnation) and ",
                "    if not sender.node and not voters.has(sender.node, sender.incarnation) and ",
            ),
        ),
    ),
    Mutant(
        "the checksum of a frame is not checked",
        "N9: a flipped bit becomes a message.",
        (
            Patch(
                _CODEC,
                "    if checksum != frame.checksum:\n",
                "    if checksum < 0:\n",
            ),
        ),
    ),
)
