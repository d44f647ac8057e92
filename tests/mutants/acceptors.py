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
        "B1: a restart forgets what was promised.",
        (Patch(_ACCEPTOR, "        return WriteBatch(promised=ballot)\n", "        return WriteBatch()\n"),),
    ),
    Mutant(
        "a Promise leaves before its write",
        "B2: it is answered from what a crash may take.",
        _leaves_at_once("Promise"),
    ),
    Mutant(
        "an Accepted leaves before its write",
        "B2: it is counted, and a crash takes it back.",
        _leaves_at_once("Accepted"),
    ),
    Mutant(
        "a Prepare leaves before its write",
        "B8: the ballot is used again after a crash.",
        _leaves_at_once("Prepare"),
    ),
    Mutant(
        "an Accepted for what is being written leaves at once",
        "B2 (b): the second of two equal Accepts has nothing to write, and its answer waits for nothing.",
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
        "Invariant 4: the promise drops to whatever is prepared.",
        (
            Patch(_ACCEPTOR, "        if self._has_promised_above(prepare.ballot):\n", "        if False:\n"),
            _NO_PROMISE_CHECK,
        ),
    ),
    Mutant(
        "stepping down forgets the promise",
        "B5: in memory, until the next start.",
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
        "Rule 4, B3: what is held is newer than what is promised.",
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
        "Rule 4: a later candidate takes another value for newer.",
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
        "a promise is silent about what is damaged",
        "B20: faulty passes for none.",
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
        "Rule 2: its report ends after one part.",
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
        "Rule 2: what was accepted above and lost counts as none.",
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
        "Rule 2: what was accepted since it was sent counts as none.",
        (Patch(_LOG, "ballot <= self._booted_with:", "ballot < self._booted_with:"),),
    ),
    Mutant(
        "of two writes of a slot the earlier stands",
        "Section 5: merging batches turns their order round.",
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
        "B3: of merged batches only the last one's promise is written.",
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
        "Section 5: synced if any is; here if the last one is.",
        (
            Patch(
                _OUTPUT,
                "        sync=sync,\n",
                "        sync=batches[-1].sync,\n",
            ),
        ),
    ),
)
