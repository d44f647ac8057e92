"""Mutants of learning and reading: what counts as decided, and what may be read when."""

from __future__ import annotations

from tests.mutants.mutant import Mutant, Patch

_LEARNER = "paxospp.engine.rules.learner"
_LEARNING = "paxospp.engine.handlers.learning"
_PROTOCOL = "paxospp.engine.protocol"
_READS = "paxospp.engine.handlers.reads"
_READING = "paxospp.engine.rules.pending_reads"
_FETCHING = "paxospp.engine.rules.fetching"
_QUERIES = "paxospp.node.queries"

MUTANTS = (
    # Learning.
    Mutant(
        "an announcement covers what was accepted under older ballots",
        "Rule 4: a value that was not chosen is applied.",
        (
            Patch(
                _LEARNER,
                "        return entry is not None and entry.ballot >= self._announced_under\n",
                "        return entry is not None\n",
            ),
        ),
    ),
    Mutant(
        "announcements of two leaders are taken for one",
        "Rule 4: slots that the newer leader announced are decided under the ballot of the older one.",
        (
            Patch(
                _LEARNER,
                "        if self._announced_under is not None and ballot < self._announced_under:\n"
                '            self._observer.reached("learner: an announcement of an older leader comes late")\n'
                "            return\n",
                "        if self._announced_under is not None and ballot != self._announced_under:\n"
                "            self._announced_under = min(ballot, self._announced_under)\n"
                "            self._announced_up_to = max(self._announced_up_to, decided_up_to)\n"
                "            return\n",
            ),
        ),
    ),
    Mutant(
        "a hole is stepped over",
        "Invariant 9: a slot above the hole is applied first.",
        (
            Patch(
                _LEARNER,
                "        self.wanted = max(self.wanted, self.decided)\n        return",
                "        self.wanted = max(self.wanted, self.decided)\n"
                "        if Slot(self.decided + 2) in self._decided_above:\n"
                "            self.decided = Slot(self.decided + 2)\n"
                "        return",
            ),
        ),
    ),
    Mutant(
        "a hole is never asked for",
        "B14: a follower that missed a slot stays behind for ever.",
        (
            Patch(
                _LEARNING,
                "        request = self.fetching.ask(hole, None if leader is None else leader.node, out.now)\n",
                "        request: tuple[NodeId, CatchUp] | None = None\n",
            ),
        ),
    ),
    Mutant(
        "a hole is asked for once",
        "B14: if the request or its answer is lost, the hole stays.",
        (Patch(_FETCHING, "        self.due_at = self._request.expires_at\n", '        self.due_at = float("inf")\n'),),
    ),
    Mutant(
        "any answer to a catch-up is believed",
        "Rule 4: entries that a peer accepted are taken for decided.",
        (
            Patch(
                _LEARNING,
                "        stop = Slot(min(wanted.stop, self.decided + 1))\n        entries",
                "        stop = Slot(min(wanted.stop, self._log.last + 1))\n        entries",
            ),
        ),
    ),
    # Reading.
    Mutant(
        "an older round confirms a read",
        "B32: the answer to a round that began before the read does not confirm it.",
        (Patch(_READING, "            if batch.round <= round:\n", "            if True:\n"),),
    ),
    Mutant(
        "a read needs no quorum",
        "B30: a deposed leader answers from old state.",
        (
            Patch(
                _READING,
                "        done = [batch for batch in self._batches if voters.is_quorum(batch.answered_by)]\n",
                "        done = list(self._batches)\n",
            ),
        ),
    ),
    Mutant(
        "a read is confirmed by answers under any ballot",
        "Rule 6: only answers under exactly the leader's ballot count.",
        (
            Patch(
                _PROTOCOL,
                "        if isinstance(self.role, Leading) and votes and answer.promised == self.role.ballot:\n",
                "        if isinstance(self.role, Leading) and votes:\n",
            ),
            Patch(
                _PROTOCOL,
                "        ballot = highest_ballot(message)\n",
                "        ballot = None if isinstance(message, HeartbeatAnswer) else highest_ballot(message)\n",
            ),
        ),
    ),
    Mutant(
        "a read is confirmed by an incarnation without a vote",
        "B16, rule 6: a wiped node answers the leader that its previous incarnation helped to depose.",
        (
            Patch(
                _PROTOCOL,
                "        if isinstance(self.role, Leading) and votes and answer.promised == self.role.ballot:\n",
                "        if isinstance(self.role, Leading) and answer.promised == self.role.ballot:\n",
            ),
        ),
    ),
    Mutant(
        "a new leader reads below what it recovered",
        "B31: the read misses what the previous leader acknowledged.",
        (
            Patch(
                _READS,
                "        read = Read(requester, Slot(max(self._learning.decided, leading.recovered_up_to)))\n",
                "        read = Read(requester, self._learning.decided)\n",
            ),
        ),
    ),
    Mutant(
        "a read is confirmed while damage may hide what was chosen",
        "Rule 6, B20: a slot that is not clean may hold a write that was acknowledged.",
        (
            Patch(
                _READS,
                "        if not leading.sees_the_end(self._cluster.voters):\n",
                "        if False:\n",
            ),
        ),
    ),
    Mutant(
        "an answer to an earlier boot's round counts",
        "Rule 6: each boot counts rounds from 1, so the answer may be taken for one to a later round.",
        (
            Patch(
                _PROTOCOL,
                "        if answer.nonce != self._identity.nonce or not self.heartbeats.rounds.on_answer(",
                "        if not self.heartbeats.rounds.on_answer(",
            ),
        ),
    ),
    Mutant(
        "a read within a bound is as old as its confirmation",
        "Rule 6: the read may miss writes that were acknowledged while it was being confirmed.",
        (
            Patch(
                _QUERIES,
                "                self._freshest = _Confirmed(ready.slot, lane.begun_at)\n",
                "                self._freshest = _Confirmed(ready.slot, self._boot_time())\n",
            ),
        ),
    ),
    Mutant(
        "a bounded read is served however old its state",
        "The state is older than the caller allows.",
        (
            Patch(
                _QUERIES,
                "            and self._boot_time() - freshest.begun_at <= seconds\n",
                "",
            ),
        ),
    ),
    Mutant(
        "a read is served before its slot is applied",
        "Invariant 13: a read misses writes that were acknowledged before it.",
        (Patch(_QUERIES, "            if unserved.slot > applied:\n", "            if unserved.slot < 0:\n"),),
    ),
    Mutant(
        "a query joins the ticket that is out",
        "B32, invariant 13: the round of that ticket began before the query arrived.",
        (
            Patch(
                _QUERIES,
                "        lane.waiting.append(batch)\n",
                "        (lane.waiting if lane.asked is None else lane.asked).append(batch)\n",
            ),
        ),
    ),
)
