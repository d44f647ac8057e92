"""Mutants of the virtual disk: stores that do not keep the contract, under an engine that trusts it."""

from __future__ import annotations

from tests.mutants.mutant import Mutant, Patch

_DISK = "paxospp.testing.simulation.world.disk"
_INJECTOR = "paxospp.testing.simulation.faults.injector"

MUTANTS = (
    Mutant(
        "the disk never syncs",
        "B56: persist returns, and a power cut loses everything.",
        (Patch(_DISK, "        if not last.batch.sync:\n            return ()\n", "        return ()\n"),),
    ),
    Mutant(
        "the disk does not sync every tenth batch",
        "B56: a power cut loses batches for which persist has returned.",
        (
            Patch(
                _DISK,
                "        if not last.batch.sync:\n            return ()\n",
                "        if not last.batch.sync or random.random() < 0.1:\n            return ()\n",
            ),
        ),
    ),
    Mutant(
        "half of a torn batch is kept",
        "B3: a crash leaves the entries of a batch without its promise.",
        (
            Patch(
                _DISK,
                "        if torn and pending and not pending[-1].returned:\n            pending.pop()\n",
                "        if torn and pending and not pending[-1].returned:\n"
                "            half = pending.pop().batch\n"
                "            for entry in half.accepted[: 1 + len(half.accepted) // 2]:\n"
                "                self.image.entries[entry.slot] = entry\n"
                "            self.image.meta.update(half.meta)\n",
            ),
        ),
    ),
    Mutant(
        "damage passes for absence",
        "B20, D6: a record with a wrong checksum is reported as absent.",
        (
            Patch(
                _DISK,
                "            if self.entries.pop(slot, None) is not None:\n",
                "            if self.entries.pop(slot, None) is not None and slot < 0:\n",
            ),
        ),
    ),
    Mutant(
        "the disk has no anchor",
        "B21, D9: a lost end of the log looks as if it had never been written.",
        (
            Patch(
                _DISK,
                "            self.image.damage([entry.slot for entry in batch.accepted])\n            return\n",
                "            pass\n",
            ),
            Patch(
                _DISK,
                "        self.damage([slot for slot in self.entries if slot >= start])\n"
                "        self.open_from = min(self.open_from, start)\n",
                "        for slot in [slot for slot in self.entries if slot >= start]:\n"
                "            del self.entries[slot]\n",
            ),
        ),
    ),
    Mutant(
        "a damaged promise counts as none",
        "B54, D11: both copies of the promise are damaged, and the node starts as if it had promised nothing.",
        (
            Patch(
                _INJECTOR,
                '            image.unreadable = "both copies of the promise are damaged"\n',
                "            image.promised = None\n",
            ),
        ),
    ),
    Mutant(
        "the disk keeps the older of two writes of a slot",
        "A write of a slot must replace what the slot held.",
        (
            Patch(
                _DISK,
                "                image.entries[slot] = entry\n                image.faulty.discard(slot)\n",
                "                image.entries.setdefault(slot, entry)\n"
                "                self.known[slot] = image.entries[slot].ballot\n"
                "                image.faulty.discard(slot)\n",
            ),
        ),
    ),
)
