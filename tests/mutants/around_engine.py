"""Mutants of what surrounds the engine: snapshots in transfer, callers, instances, effects, watchers."""

from __future__ import annotations

from tests.mutants.mutant import Mutant, Patch

_CALLER = "paxospp.sessions.caller"
_DIGESTS = "paxospp.engine.rules.digests"
_EFFECTS = "paxospp.execution.effects"
_FETCHING = "paxospp.node.snapshots.fetching"
_INSTANCES = "paxospp.execution.built_in_machine"
_MEMBERSHIPS = "paxospp.execution.memberships"
_ROOM = "paxospp.node.snapshots.coordinator"
_SENDING = "paxospp.node.snapshots.sending"
_WATCH = "paxospp.node.watch"

MUTANTS = (
    # Snapshots that are taken, sent, fetched and installed.
    Mutant(
        "every chunk is the last one",
        "Liveness: no fetch ever completes, so a node that needs the snapshot never catches up.",
        (
            Patch(
                _SENDING,
                "        last = transfer.ended and len(data) == len(transfer.ahead)\n",
                "        last = True\n",
            ),
        ),
    ),
    Mutant(
        "a fetch continues at the next peer with another snapshot",
        "The installed snapshot is a mixture of two.",
        (
            Patch(
                _FETCHING,
                "        if (chunk.id, chunk.slot, chunk.offset) != "
                "(incoming.meta.id, incoming.meta.slot, incoming.offset):\n",
                "        if not chunk.offset:\n            chunk = chunk\n"
                "        elif chunk.offset != incoming.offset:\n",
            ),
        ),
    ),
    Mutant(
        "a snapshot that came too late is installed all the same",
        "Invariant 9: slots that were applied meanwhile are lost.",
        (
            # Both checks must go: the first one discards an overtaken snapshot before the second can see it.
            Patch(_ROOM, "is_whole and slot <= self._replica.delivered:\n", "is_whole and slot < 0:\n"),
            Patch(_ROOM, "        elif meta.slot <= self._replica.delivered:\n", "        elif meta.slot < 0:\n"),
        ),
    ),
    Mutant(
        "a snapshot is taken that is older than the damaged one",
        "Liveness: no storage replaces a snapshot by an older one, so the node stops at every start.",
        (Patch(_ROOM, "not self._is_busy and self._reaches_current and", "not self._is_busy and"),),
    ),
    Mutant(
        "commands are applied while a snapshot is being installed",
        "Invariant 9: the commands are applied to the state that is being replaced.",
        (Patch(_ROOM, "            self._driver.begin_install()\n", ""),),
    ),
    # Callers.
    Mutant(
        "a call that was given up leaves a gap",
        "Invariant 11: every later call of its session waits for its number.",
        (
            Patch(
                _CALLER,
                "            self._calls[number - self._base] = None\n",
                "            self._calls[number - self._base] = None\n            self._early.add(number)\n",
            ),
        ),
    ),
    Mutant(
        "a refused call that may be in the log already is said to have no effect",
        "Invariant 11: an earlier copy of the call may be decided.",
        (Patch(_CALLER, "            if number <= self._twice:\n", "            if number < 0:\n"),),
        seen_by="tests/sessions/test_caller.py",
    ),
    Mutant(
        "answers of a run are credited to the calls after it",
        "Invariant 11: a resent run overlaps calls that were answered.",
        (
            Patch(
                _CALLER,
                "            outcomes = outcomes[skip:]\n            first = self._base\n",
                "            first = self._base\n",
            ),
        ),
    ),
    Mutant(
        "a session keeps its numbers when it is lost",
        "Invariant 11: the new session starts with a number other than 1.",
        (
            Patch(
                _CALLER,
                "        self._base = 1  # the lowest number that is not answered; all below are\n",
                "        self._base = getattr(self, '_base', 1)\n",
            ),
        ),
    ),
    # BuiltInMachine, the change feed, memberships and digests.
    Mutant(
        "an instance is decided again",
        "Agreement: the first proposer was told another value.",
        (Patch(_INSTANCES, "        if chosen is None:\n", "        if chosen != value:\n"),),
    ),
    Mutant(
        "a forgotten instance leaves no mark",
        "Agreement: a late proposal decides it a second time.",
        (Patch(_INSTANCES, "        self.forgotten.add(_mark(name))\n", ""),),
    ),
    Mutant(
        "watchers are told of commands that took no effect",
        "The change feed shows a copy as if it had taken effect.",
        (
            Patch(
                _EFFECTS,
                "        self._passed_over.setdefault(slot, {})[index] = count\n",
                "        self._passed_over.setdefault(slot, {})[index] = 0\n",
            ),
        ),
    ),
    Mutant(
        "an installed snapshot forgets which commands took no effect",
        "The change feed shows copies below the snapshot as if they had taken effect.",
        (
            Patch(
                _EFFECTS,
                "        self._passed_over = OrderedDict(stored.passed_over)\n",
                "        self._passed_over = OrderedDict()\n",
            ),
        ),
    ),
    Mutant(
        "changes are told with the time of their own leader",
        "The change feed's time goes back if the clock of a new leader is behind.",
        (Patch(_EFFECTS, "            if since <= slot:\n", "            if since < 0:\n"),),
    ),
    Mutant(
        "a watcher silently skips trimmed slots",
        "The change feed does not tell the watcher that it missed changes.",
        (
            Patch(
                _WATCH,
                "                raise TrimmedError(first)\n",
                "                start = first\n",
            ),
        ),
    ),
    # The simulator cannot show these: its members do not change yet, and it outvotes only replicas that are broken.
    Mutant(
        "a membership that replaces another one than the latest takes effect",
        "Rule 7: two memberships that were proposed at once both take effect.",
        (Patch(_MEMBERSHIPS, "        if membership.replaces != self._decided[-1][0]:\n", "        if False:\n"),),
        seen_by="tests/execution/test_memberships.py",
    ),
    Mutant(
        "a membership that governs is forgotten",
        "Rule 7: a snapshot does not say who votes in the slots above it.",
        (Patch(_MEMBERSHIPS, ".alpha <= applied + 1:\n", ".alpha <= applied + 10:\n"),),
        seen_by="tests/execution/test_memberships.py",
    ),
    Mutant(
        "a replica with the rarer digest stops without a majority against it",
        "A replica stops although no majority disagrees with it.",
        (
            Patch(
                _DIGESTS,
                "        return voters.is_quorum([node for node, digest in known.items() if digest == theirs])\n",
                "        return bool(theirs)\n",
            ),
        ),
        seen_by="tests/engine/test_digests.py",
    ),
)
