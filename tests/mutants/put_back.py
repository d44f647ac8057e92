"""Faults of the protocol that the engine once had, put back as mutants.

Reviewers found the first of them by hand after tens of thousands of seeds had not shown them; the last ones had
survived 300 seeds as mutants. The changelog names the scenario or test that shows each fault.
"""

from __future__ import annotations

from tests.mutants.mutant import Mutant, Patch

_ACCEPTOR = "paxospp.engine.rules.acceptor"
_LOG = "paxospp.engine.rules.log"
_ELECTION = "paxospp.engine.rules.election"
_COORDINATOR = "paxospp.node.snapshots.coordinator"
_FETCHING = "paxospp.node.snapshots.fetching"
_HEARTBEATS = "paxospp.engine.rules.heartbeat_rounds"
_LEADING = "paxospp.engine.rules.leader"
_LEASE = "paxospp.engine.rules.lease"
_LEARNING = "paxospp.engine.handlers.learning"
_PROMISES = "paxospp.engine.rules.promises"
_PROTOCOL = "paxospp.engine.protocol"

MUTANTS = (
    Mutant(
        "parts of two answers to one Prepare are mixed",
        "Rule 2: a value that neither part holds is replaced by a no-op.",
        (
            # Answers used to be told apart by start, parts and decided.
            Patch(
                _PROMISES,
                "(self.boot, self.number) < (sender.boot, promise.answer)\n",
                "(self.parts is None or any(_head(part) != _head(promise) for part in self.parts.values()))\n",
            ),
            Patch(
                _PROMISES,
                "        same = (self.boot, self.number) == (sender.boot, promise.answer)\n",
                "        same = True\n",
            ),
            Patch(
                _PROMISES,
                "    return part.start, part.parts, part.decided, part.first, part.last, part.faulty\n",
                "    return part.start, part.parts, part.decided\n",
            ),
        ),
    ),
    Mutant(
        "parts of an answer that was given up stay when another one begins",
        "Rule 2: old parts complete the new answer.",
        (
            Patch(
                _PROMISES,
                "_Answer(sender.incarnation, sender.boot, promise.answer, {})",
                "_Answer(sender.incarnation, sender.boot, promise.answer, dict(answer.parts or {}) if answer else {})",
            ),
            Patch(_PROMISES, " or any(_head(part) != _head(promise) for part in parts.values())", ""),
        ),
    ),
    Mutant(
        "a promise of another incarnation takes the place of the one before",
        "Rule 9: if the answer of the lost incarnation comes last, the cluster is founded with it.",
        (
            Patch(
                _PROMISES,
                "            self._dispute(node)\n",
                "            self._answers.pop(node)\n            self.reports.pop(node, None)\n"
                "            answer = None\n",
            ),
        ),
    ),
    Mutant(
        "a leader or candidate installs a snapshot without meeting its ballot",
        "Rules 1 and 4: it announces under its own, lower ballot what a higher one decided.",
        (
            Patch(_PROTOCOL, "        self.meet(covered.ballot, out)\n", ""),
            # The ballot is adopted with the first chunk already.
            Patch("paxospp.node.snapshots.fetching", "                self._on_ballot(chunk.ballot)\n", ""),
        ),
    ),
    Mutant(
        "an installed snapshot does not raise the promise",
        "Rule 4: a lower ballot may be promised and accepted above it afterwards.",
        (
            Patch(
                _ACCEPTOR,
                "            self.promised = covered.ballot\n        if self.log.last",
                "        if self.log.last",
            ),
        ),
    ),
    Mutant(
        "a snapshot does not say under which ballots it was decided",
        "Rule 4: a node that installs it adopts a ballot that is too low.",
        (
            Patch(
                "paxospp.execution.executor",
                "ballot > self.ballot:\n            self.ballot = ballot",
                "ballot < self.ballot:\n            self.ballot = ballot",
            ),
        ),
    ),
    Mutant(
        "a leader that has not seen the end of the log says where damage ends",
        "Rule 5: an acceptor answers *none* for slots that it had accepted.",
        (
            Patch(
                _LEADING,
                "        if not self.promises.is_clean_from(self.next_slot, voters):\n"
                '            self._observer.reached("leading: it vouches',
                '        if self.promises is None:\n            self._observer.reached("leading: it vouches',
            ),
        ),
    ),
    Mutant(
        "damage is closed before all that was recovered is decided",
        "Rule 5: slots that were recovered and are not decided yet may lie above.",
        (
            Patch(
                _LEADING,
                "        if decided < self.recovered_up_to:\n            self._observer",
                "        if decided < 0:\n            self._observer",
            ),
        ),
    ),
    Mutant(
        "damage is closed one slot early",
        "Rule 5: as many as alpha slots above what is decided may have been accepted.",
        (
            Patch(
                _LEADING,
                "        return Slot(decided + self.alpha)\n",
                "        return Slot(decided + self.alpha - 1)\n",
            ),
        ),
    ),
    Mutant(
        "rounds of heartbeats are taken for consecutive when a grant is counted",
        "Rule 6: an old answer is credited to a later round, and a lease outlives its grants.",
        (
            Patch(
                _LEASE,
                "        sent_at = self._rounds.get(round)\n",
                "        index = round - next(iter(self._rounds), round)\n"
                "        sent_at = list(self._rounds.values())[index] if 0 <= index < len(self._rounds) else None\n",
            ),
        ),
    ),
    Mutant(
        "a grant is counted from the latest round",
        "Rule 6: the grant answered an earlier round.",
        (
            Patch(
                _LEASE,
                "        sent_at = self._rounds.get(round)\n",
                "        sent_at = next(reversed(self._rounds.values()), None)\n",
            ),
        ),
    ),
    Mutant(
        "a founder's own alpha bounds the window of the founding that it completes",
        "Rule 7: it proposes above what the cluster's alpha allows.",
        (
            Patch(
                _PROTOCOL,
                "leading.bootstrap(FOUNDING_SLOT, membership.alpha)",
                "leading.bootstrap(FOUNDING_SLOT, leading.alpha)",
            ),
        ),
    ),
    Mutant(
        "answers of an incarnation without a vote make a replica quorum-connected",
        "Rule 5: a wiped voter keeps a leader without a quorum in place.",
        (
            Patch(
                _HEARTBEATS,
                "            if answered.at > time and voters.has(peer, answered.incarnation)\n",
                "            if answered.at > time and peer in voters.names\n",
            ),
        ),
    ),
    Mutant(
        "answers of a voter whose disk hangs make a replica quorum-connected",
        "Rule 5: a leader without a working quorum keeps the lead.",
        (
            Patch(
                _HEARTBEATS,
                "self.after(time, voters).items() if answer.disk_answers]",
                "self.after(time, voters).items() if answer]",
            ),
        ),
    ),
    Mutant(
        "a leader that cannot decide what it recovered keeps leading",
        "Rule 5: nothing is decided while it leads.",
        (
            Patch(
                _PROTOCOL,
                "        if self._is_stalled(leading, now):\n",
                "        if self._is_stalled(leading, now) and now < 0:\n",
            ),
        ),
    ),
    Mutant(
        "a damaged slot that was applied is answered as if it were there",
        "Liveness: a node that needs the slot is not offered a snapshot.",
        (
            Patch(
                _LEARNING,
                "            first = self._log.end_of_faulty(start)\n",
                "            first = self._log.first\n",
            ),
        ),
    ),
    Mutant(
        "a clean next slot opens the whole window",
        "Rule 2: the slots above it have no clean answers.",
        (
            Patch(
                _LEADING,
                'only the next slot is clean")\n            return 1\n',
                'only the next slot is clean")\n            return room\n',
            ),
        ),
    ),
    Mutant(
        "a newer promise is counted when an older campaign's write returns",
        "Rule 1: the newer promise is not durable yet.",
        (
            Patch(
                _PROTOCOL,
                "                self._promised_durably = ballot\n",
                "                self._promised_durably = self.acceptor.promised\n",
            ),
        ),
    ),
    Mutant(
        "a leader's own late promise does not hold back new values",
        "Rule 2: it proposes over what its own log holds.",
        (
            Patch(
                _PROTOCOL,
                "                    leading.on_late_promise(sender.node, self.cluster.voters)\n",
                "                    if sender is not self._me:\n"
                "                        leading.on_late_promise(sender.node, self.cluster.voters)\n",
            ),
        ),
        # A node sends Prepare only once its own promise is on disk, so in a run no answer comes before that. A
        # replica must handle the other order all the same.
        seen_by="tests/engine/test_leadership.py::test_its_own_promise_may_come_late_and_is_then_treated_like_any_late_promise",
    ),
    Mutant(
        "a late promise is ignored",
        "Rule 2: values that it reports may have been chosen.",
        (
            Patch(
                _PROTOCOL,
                "                    leading.on_late_promise(sender.node, self.cluster.voters)\n",
                "                    leading.promises.clean(leading.next_slot, self.cluster.voters)\n",
            ),
        ),
    ),
    Mutant(
        "of two ballots of one round the first found wins",
        "Rule 2: the value of the higher ballot may be chosen.",
        (
            Patch(
                _PROMISES,
                "        highest = max(accepted, key=lambda entry: entry.ballot)\n",
                "        highest = max(accepted, key=lambda entry: entry.ballot.round)\n",
            ),
        ),
    ),
    Mutant(
        "decided entries of a higher ballot depose nobody",
        "Rule 1: a leader announces under its own ballot what a higher one decided.",
        (
            Patch(
                _PROTOCOL,
                "            if counts or isinstance(message, DecidedEntries):\n",
                "            if counts and not isinstance(message, DecidedEntries):\n",
            ),
        ),
    ),
    # Two faults that profiles of the simulator found.
    Mutant(
        "a leader does not ask again for what only it knows decided and has lost",
        "Rule 4: nothing is applied any more, and no other node can lead.",
        (
            Patch(
                _LEADING,
                "        if lost is not None and not self.promises.is_clean(Slot(lost.start), voters):\n",
                "        if False:\n",
            ),
        ),
        # One in fifty of the seeds whose profile has the script shows it.
        seen_by="tests/engine/test_leadership.py",
    ),
    Mutant(
        "a leader does not ask again for what a lost snapshot covered and only it knows decided",
        "Rule 4: nothing is applied any more, and no other node can lead.",
        (
            Patch(
                _PROTOCOL,
                "        lost = self.learning.lost\n",
                "        lost = self.learning.lost if self.learning.delivered + 1 >= self.log.first else None\n",
            ),
        ),
    ),
    Mutant(
        "a snapshot that the log has outrun at its first chunk is fetched for ever",
        "Rule 4: the node neither takes nor fetches a snapshot until it is restarted.",
        (Patch(_FETCHING, "                if incoming is not self._incoming:\n", "                if False:\n"),),
        seen_by="tests/node/test_snapshots_fetching.py",
    ),
    Mutant(
        "a node asks one peer for a snapshot until it gives up, though another is named meanwhile",
        "Rule 4: two nodes that have no snapshot ask each other for ever, in step, and never the one that has it.",
        (Patch(_COORDINATOR, "        elif self._fetcher.source_has_none and ", "        elif False and "),),
        seen_by="tests/simulation/test_sweep.py::test_two_nodes_without_a_snapshot_do_not_ask_each_other_for_ever",
    ),
    Mutant(
        "an empty slot counts as damaged because one above it is",
        "Rule 2: its node does not answer *none* for it, and a quorum may need that answer.",
        (Patch(_LEARNING, "(not isinstance(purpose, Load) or first >= wanted.stop)", "first > wanted.start"),),
        # A random run shows it only if another node has lost exactly the slot that is empty here.
        seen_by="tests/engine/test_scenarios.py",
    ),
    # Found by review later.
    Mutant(
        "a lease of an earlier boot is handed to another leader",
        "Rule 6: the older leader gets a promise for a new ballot and is elected while the lease lasts.",
        (
            Patch(
                _LEASE,
                "            if self._bound_to is None:\n                self._observer",
                "            if False:\n                self._observer",
            ),
        ),
    ),
    Mutant(
        "a leader that never sees the end of the log keeps leading",
        "Rule 5: nothing is decided although the others are an undamaged quorum.",
        (Patch(_LEADING, " else None if self.sees_the_end(voters) else self.next_slot\n", " else None\n"),),
    ),
    Mutant(
        "a leader that does not get back what it lost keeps leading",
        "Rule 5: nothing is applied although the others are an undamaged quorum.",
        (
            Patch(
                _LEADING,
                "        blocked_by = Slot(lost.start) if lost is not None else",
                "        blocked_by = None if lost is not None else",
            ),
        ),
        # One in twelve of the seeds whose profile has the script shows it.
        seen_by="tests/engine/test_scenarios.py",
    ),
    Mutant(
        "a replica that could not decide leaves the campaign to others for ever",
        "Rule 5: the node that has decided more may be able neither to help nor to lead.",
        (Patch(_ELECTION, "            if self._left_to_others < _WINDOWS_FOR_OTHERS:\n", "            if True:\n"),),
        # A simulated cluster is healed when its faults end, so nothing lasts for ever there.
        seen_by="tests/engine/test_scenarios.py",
    ),
    Mutant(
        "a leader's own damage has no end",
        "Rule 5: its promise never makes a slot clean, although its log holds everything.",
        (Patch(_LOG, "        if not vouched_up_to or not self", "        if True or not self"),),
    ),
    Mutant(
        "where damage ends is not written down",
        "Rule 5: if two of three disks ever lost their ends, no node can lead after all three restart.",
        (
            Patch(
                _LOG,
                "        return WriteBatch(faulty_until=Slot(bound + 1))",
                "        return NOTHING",
            ),
        ),
    ),
    Mutant(
        "a quorum is put together from answers of different times",
        "Rule 5: it deposes a leader that has a quorum.",
        (
            Patch(
                _ELECTION,
                "(self._probe_round, now - self.window_s, voters)",
                '(self._probe_round, float("-inf"), voters)',
            ),
        ),
    ),
    Mutant(
        "an answer of another incarnation counts as the leader's",
        "Rule 8: a leader whose disk was wiped still counts as the leader.",
        (
            Patch(
                _PROTOCOL,
                "            and answer.leader == leader.node\n"
                "            and (leader.node, leader.incarnation) == (sender.node, sender.incarnation)\n",
                "            and leader.node == sender.node\n",
            ),
        ),
        seen_by="tests/engine/test_scenarios.py",
    ),
    Mutant(
        "a slot that a leader proposed again counts as not proposed yet",
        "Rule 3: a late promise makes it propose another value in the slot under the same ballot, and the node stops.",
        (
            Patch(
                _LEADING,
                "        self.next_slot = self._unproposed = Slot(self.next_slot + 1)\n",
                "        self.next_slot = Slot(self.next_slot + 1)\n",
            ),
        ),
        # It takes a lost end of the log that begins above slots without acceptances, and a window that is smaller
        # than one answer to a catch-up.
        seen_by="tests/engine/test_scenarios.py",
    ),
    Mutant(
        "an acceptor whose disk hangs accepts without limit",
        "D16: all of it waits in memory.",
        (Patch(_ACCEPTOR, "        if self._writes.is_behind and not own:\n", "        if False:\n"),),
        # In random runs values are small, and disks rarely hang for long enough.
        seen_by="tests/engine/test_writes.py",
    ),
    Mutant(
        "a node whose disk hangs fetches without limit",
        "D16: all of it waits in memory.",
        (Patch(_LEARNING, "        if disk_is_behind:\n", "        if False:\n"),),
        seen_by="tests/engine/test_writes.py",
    ),
    Mutant(
        "a leader whose disk is slow proposes without limit",
        "D16: a quorum decides without this disk, and all of it waits in memory.",
        (Patch(_PROTOCOL, "        if self.writes.is_behind:\n", "        if False:\n"),),
        seen_by="tests/engine/test_writes.py",
    ),
)
