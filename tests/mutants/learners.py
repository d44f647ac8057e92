"""Mutants of what a replica learns, remembers in memory, reads again and hands on: rules 4 and 8."""

from __future__ import annotations

from tests.mutants.mutant import Mutant, Patch

_ADMISSION = "paxospp.engine.rules.admission"
_FETCHING = "paxospp.engine.rules.fetching"
_VOTERS = "paxospp.engine.rules.voters"
_READS = "paxospp.engine.handlers.reads"
_ELECTION = "paxospp.engine.rules.election"
_BOOTSTRAP = "paxospp.engine.rules.bootstrap"
_ROUNDS = "paxospp.engine.rules.heartbeat_rounds"
_LEARNER = "paxospp.engine.rules.learner"
_LEARNING = "paxospp.engine.handlers.learning"
_LOG = "paxospp.engine.rules.log"
_ADMISSION = "paxospp.engine.rules.admission"
_HEARTBEATS = "paxospp.engine.handlers.heartbeats"
_READING = "paxospp.engine.rules.pending_reads"
_STORAGE_READS = "paxospp.engine.rules.storage_reads"
_ACCEPTING = "paxospp.engine.handlers.accepting"
_WRITES = "paxospp.engine.rules.writes"

MUTANTS = (
    # Learning.
    Mutant(
        "an announcement covers one slot more than it says",
        "Rule 4: that slot may not be decided.",
        (
            Patch(
                _LEARNER,
                "slot > self._announced_up_to:\n            return False",
                "slot > self._announced_up_to + 1:\n            return False",
            ),
            Patch(_LEARNER, "self._announced_up_to <= before:", "self._announced_up_to < before:"),
        ),
    ),
    Mutant(
        "what a follower knows decided is told ahead of the disk",
        "Invariant 9: after a restart a slot that is not decided counts as decided.",
        (
            Patch(
                _LEARNING,
                "        self._hinted = decided\n        return decided\n",
                "        self._hinted = decided\n        return Slot(decided + 1)\n",
            ),
        ),
    ),
    Mutant(
        "a catch-up is answered with what is not decided",
        "Rule 4: an accepted value is sent as a decided one.",
        (
            Patch(
                _LEARNING,
                "        stop = Slot(min(wanted.stop, self.decided + 1))\n",
                "        stop = Slot(wanted.stop)\n",
            ),
        ),
    ),
    Mutant(
        "a snapshot that was installed leaves what was to be applied next as it was",
        "Invariant 9: slots that the snapshot covers are applied again.",
        (Patch(_LEARNER, "        self.delivered = slot\n        self.decided = max", "        self.decided = max"),),
    ),
    Mutant(
        "damage below the current snapshot stays in the log",
        "Liveness: a node that needs such a slot is not told to fetch the snapshot.",
        (
            Patch(
                _LEARNING, "        if ends:\n", "        if not ends:\n            return\n        if ends[0] < 0:\n"
            ),
        ),
    ),
    Mutant(
        "a peer that does not answer is asked again and again",
        "Liveness: another peer could help.",
        (
            Patch(
                _FETCHING,
                "            self._useless.add(late)\n        peer",
                "            self._useless.clear()\n        peer",
            ),
            Patch(
                _FETCHING,
                "        for preferred in (self._helpful, leader):\n",
                "        for preferred in (late, self._helpful, leader):\n",
            ),
        ),
    ),
    # Memory.
    Mutant(
        "undecided entries are evicted from memory",
        "Rule 2: a promise does not report what was evicted.",
        (
            Patch(
                _LOG,
                "while self.bytes > self.bytes_max and self.memory_from <= up_to:",
                "while self.bytes > self.bytes_max and self._entries:",
            ),
        ),
    ),
    Mutant(
        "a value that heals a damaged slot leaves it damaged",
        "Liveness: the slot is never clean again.",
        (
            Patch(
                _LOG,
                "            self.faulty = list(_without(self.faulty, entry.slot))\n",
                "            self.faulty = list(self.faulty)\n",
            ),
        ),
    ),
    Mutant(
        "trimming the log forgets what is damaged above",
        "Rule 2: an acceptor answers *none* for a slot that it had accepted.",
        (
            Patch(
                _LOG,
                "        self.memory_from = max(self.memory_from, first)\n"
                "        self.faulty = [range(max(slots.start, first), slots.stop) "
                "for slots in self.faulty if slots.stop > first]\n",
                "        self.memory_from = max(self.memory_from, first)\n        self.faulty = []\n",
            ),
        ),
    ),
    Mutant(
        "what is read to be applied goes one slot too far",
        "Invariant 1: a value that was accepted and not decided is applied.",
        (
            Patch(
                _LEARNING,
                "        stop = Slot(min(self.decided + 1, self._log.memory_from))\n",
                "        stop = Slot(min(self.decided + 2, self._log.memory_from + 1))\n",
            ),
        ),
    ),
    Mutant(
        "a read of the storage that was answered counts as under way for ever",
        "Liveness: nothing more is read from the storage to be applied.",
        (Patch(_STORAGE_READS, "        return self._out.pop(token)\n", "        return self._out[token]\n"),),
    ),
    Mutant(
        "messages that wait for a write leave when the write before it returns",
        "B2: a leader counts its own acceptance before it is on disk.",
        (
            Patch(
                _WRITES,
                "        while self._out and self._out[0].token <= token:\n",
                "        while self._out and self._out[0].token <= token + 1:\n",
            ),
        ),
    ),
    # Who votes.
    Mutant(
        "the nodes named at the start keep voting after the founding",
        "Rule 9: a wiped disk votes like the one before it.",
        (
            Patch(
                _VOTERS,
                "        self.voters = Majority(membership)\n        self.others",
                "        self.voters = self.voters if isinstance(self.voters, Everyone) else Majority(membership)\n"
                "        self.others",
            ),
        ),
    ),
    Mutant(
        "a blank storage promises any candidate in any slot",
        "Rule 9: a wiped disk answers *none* for slots that its node had accepted.",
        (
            Patch(
                _ACCEPTING,
                "if self._cluster.membership is None and (sender.cluster_id or prepare.start != FOUNDING_SLOT):",
                "if self._cluster.membership is None and not sender.node:",
            ),
        ),
    ),
    Mutant(
        "a founder draws a membership of its own where one was found",
        "Rule 9: two foundings are chosen.",
        (
            Patch(
                _BOOTSTRAP,
                "    if entry is not None and entry.kind is Kind.MEMBERSHIP:\n",
                "    if entry is not None and entry.kind is Kind.COMMANDS:\n",
            ),
        ),
    ),
    Mutant(
        "a new boot is heard before its first heartbeat",
        "Rule 8: a disk that was rolled back is not noticed.",
        (
            Patch(
                _ADMISSION,
                "            known.boot, known.nonce, known.introduced = sender.boot, sender.nonce, False\n",
                "            known.boot, known.nonce, known.introduced = sender.boot, sender.nonce, True\n",
            ),
        ),
    ),
    Mutant(
        "a boot is accused of having forgotten what it never said",
        "Rule 8: a correct replica is no longer heard.",
        (
            Patch(
                _ADMISSION,
                "        if isinstance(message, Accepted) and message.slot > known.accepted_up_to:\n"
                "            known.accepted_up_to = message.slot\n",
                "        if isinstance(message, Accepted) and message.slot >= known.accepted_up_to:\n"
                "            known.accepted_up_to = Slot(message.slot + 1)\n",
            ),
        ),
    ),
    # Elections.
    Mutant(
        "a replica campaigns without having asked anybody",
        "Rule 5: it deposes leaders that others hear.",
        (
            Patch(
                _ELECTION,
                "        if self._probe_round is None:\n            return ElectionStep.PROBE\n",
                "        if self._probe_round is None:\n            return ElectionStep.CAMPAIGN\n",
            ),
        ),
    ),
    Mutant(
        "a replica campaigns however few have answered",
        "Rule 5: a replica without a quorum deposes a leader that has one.",
        (
            Patch(
                _ELECTION,
                "        if not voters.is_quorum([me, *working]):\n            if voters",
                "        if not answers:\n            if voters",
            ),
        ),
    ),
    Mutant(
        "a replica says that its disk answers while it hangs",
        "Rule 5: others count on it.",
        (
            Patch(
                _HEARTBEATS,
                "        return self.writes.oldest_age(now) <= self._window_s\n",
                "        return self.writes.oldest_age(now) >= 0\n",
            ),
        ),
    ),
    Mutant(
        "every round of heartbeats has the same number",
        "Rule 6: an answer from before a read confirms it.",
        (Patch(_ROUNDS, "        self.round += 1\n", "        self.round = 1\n"),),
    ),
    # Reads.
    Mutant(
        "a replica that does not lead confirms reads that are put to it",
        "Rule 6: it may not know writes that were acknowledged.",
        (
            Patch(
                _READS,
                '            self._observer.reached("reads: one is put to a replica that does not lead")\n'
                "            self._answer(requester, None, leading, out)\n",
                '            self._observer.reached("reads: one is put to a replica that does not lead")\n'
                "            self._answer(requester, self._learning.decided, leading, out)\n",
            ),
        ),
    ),
    Mutant(
        "reads that wait are confirmed when their leader steps down",
        "Rule 6: another node may lead and may have decided more.",
        (
            Patch(
                _READS,
                '            self._observer.reached("reads: one is abandoned because its leader steps down")\n'
                "            self._answer(requester, None, None, out)\n",
                '            self._observer.reached("reads: one is abandoned because its leader steps down")\n'
                "            self._answer(requester, self._learning.decided, None, out)\n",
            ),
        ),
    ),
    Mutant(
        "a read joins the round that is out",
        "Rule 6: answers from before the read confirm it.",
        (
            Patch(
                _READING,
                "        self._waiting.append(read)\n",
                "        (self._batches[-1].reads if self._batches else self._waiting).append(read)\n",
            ),
        ),
    ),
)
