"""Mutants of what an acceptor promises, accepts, learns and reports, and of when it may say so."""

from __future__ import annotations

from tests.mutants.mutant import Mutant, Patch

_ACCEPTOR = "paxospp.engine.rules.acceptor"
_LOG = "paxospp.engine.rules.log"
_OUTPUT = "paxospp.engine.output"
_PROTOCOL = "paxospp.engine.protocol"

_LEAVES_AT_ONCE = "    return isinstance(message, (Accept, Heartbeat, "
_NO_PROMISE_CHECK = Patch(_ACCEPTOR, "        check_promise_rises(self.promised, ballot)\n", "")


def _leaves_at_once(kind: str) -> tuple[Patch, ...]:
    mutated = f'    return type(message).__name__ == "{kind}" or isinstance(message, (Accept, Heartbeat, '
    return (Patch(_OUTPUT, _LEAVES_AT_ONCE, mutated),)


MUTANTS = (
    Mutant(
        "a promise is not persisted",
        "B1: a restart forgets the promise.",
        (Patch(_ACCEPTOR, "        return WriteBatch(promised=ballot)\n", "        return WriteBatch()\n"),),
    ),
    Mutant(
        "a Promise leaves before its write",
        "B2: the answer rests on a write that a crash may lose.",
        _leaves_at_once("Promise"),
    ),
    Mutant(
        "an Accepted leaves before its write",
        "B2: the leader counts an acceptance that a crash may lose.",
        _leaves_at_once("Accepted"),
    ),
    Mutant(
        "a Prepare leaves before its write",
        "B8: the ballot is used again after a crash.",
        _leaves_at_once("Prepare"),
    ),
    Mutant(
        "an Accepted for what is being written leaves at once",
        "B2: a second, equal Accept writes nothing, so its answer leaves before the first write returns.",
        (
            Patch(
                "paxospp.node.driver",
                "            if output.token <= self._writer.persisted:\n",
                "            if output.persist is None or output.token <= self._writer.persisted:\n",
            ),
        ),
    ),
    Mutant(
        "an older ballot is accepted",
        "Rule 1: an acceptor accepts below its promise.",
        (
            Patch(_ACCEPTOR, "        if self._has_promised_above(accept.ballot):\n", "        if False:\n"),
            Patch(
                _ACCEPTOR,
                "        promise = self.promise(accept.ballot)\n",
                "        promise = self.promise(max(accept.ballot, self.promised or accept.ballot))\n",
            ),
        ),
    ),
    Mutant(
        "an older ballot is promised",
        "Invariant 4: any Prepare lowers the promise.",
        (
            Patch(_ACCEPTOR, "        if self._has_promised_above(prepare.ballot):\n", "        if False:\n"),
            _NO_PROMISE_CHECK,
        ),
    ),
    Mutant(
        "stepping down forgets the promise",
        "B5: the promise drops in memory, until the next start.",
        (
            Patch(
                _PROTOCOL,
                "        self._take_role(Following())\n",
                "        self._take_role(Following())\n        self.acceptor.promised = None\n",
            ),
        ),
    ),
    Mutant(
        "learning does not raise the promise",
        "Rule 4, B3: a stored entry has a higher ballot than the promise.",
        (
            Patch(
                _ACCEPTOR,
                "        if self.promised is None or entry.ballot > self.promised:\n",
                "        if False:\n",
            ),
        ),
    ),
    Mutant(
        "what is learned is stored under the slot's own older ballot",
        "Rule 4: a later candidate may take another value for the newer one.",
        (
            Patch(
                _ACCEPTOR,
                "        self.log.store(entry)\n        if self.promised is None",
                "        if held is not None:\n"
                "            entry = Entry(entry.slot, held.ballot, entry.kind, entry.value)\n"
                "        self.log.store(entry)\n        if self.promised is None",
            ),
        ),
    ),
    Mutant(
        "what is learned replaces what was accepted under a higher ballot",
        "Invariant 5: a slot's accepted ballot drops.",
        (
            Patch(
                _ACCEPTOR,
                "        if held is not None and held.ballot >= entry.ballot:\n            check_same_value(entry.slot",
                "        if held is not None and held.ballot == entry.ballot:\n            check_same_value(entry.slot",
            ),
        ),
    ),
    Mutant(
        "a promise does not report damaged slots",
        "B20: a faulty slot is taken for an empty one.",
        (
            Patch(
                _ACCEPTOR,
                "        faulty = tuple(slots for slots in self.log.faulty if slots.stop > decided + 1)\n",
                "        faulty: tuple[range, ...] = ()\n",
            ),
        ),
    ),
    Mutant(
        "a promise reports the newest entries only",
        "Rule 2: the report ends after its first part.",
        (
            Patch(
                _ACCEPTOR,
                "                parts=len(parts),\n",
                "                parts=1,\n",
            ),
            Patch(
                _ACCEPTOR,
                "            for number, entries in enumerate(parts)\n",
                "            for number, entries in [(0, parts[-1])]\n",
            ),
        ),
    ),
    Mutant(
        "an open-ended damage ends where the leader is",
        "Rule 2: lost acceptances above that slot count as none.",
        (
            Patch(
                "paxospp.engine.rules.leader",
                "        return Slot(decided + self.alpha)\n",
                "        return decided\n",
            ),
        ),
    ),
    Mutant(
        "a heartbeat from before the restart ends damage",
        "Rule 2: lost acceptances that are newer than the heartbeat count as none.",
        (Patch(_LOG, "ballot <= self._booted_with:", "ballot < self._booted_with:"),),
    ),
    Mutant(
        "the earlier of two writes of a slot wins",
        "Merged batches must keep the order of their writes.",
        (
            Patch(
                _OUTPUT,
                "    for batch in batches:\n",
                "    for batch in reversed(batches):\n",
            ),
        ),
    ),
    Mutant(
        "merging forgets a promise",
        "B3: only the last of the merged batches writes its promise.",
        (
            Patch(
                _OUTPUT,
                "        promised=promised,\n",
                "        promised=batches[-1].promised,\n",
            ),
        ),
    ),
    Mutant(
        "merging forgets to sync",
        "A merged batch must be synced if any of its batches is; here only the last one decides.",
        (
            Patch(
                _OUTPUT,
                "        sync=sync,\n",
                "        sync=batches[-1].sync,\n",
            ),
        ),
    ),
)
