"""Mutants of the execution and of the node's parts: sessions, snapshots, errors, the way of a write."""

from __future__ import annotations

from tests.mutants.mutant import Mutant, Patch

_DRIVER = "paxospp.node.driver"
_EXECUTOR = "paxospp.execution.executor"
_LEARNING = "paxospp.engine.handlers.learning"
_SESSIONS = "paxospp.sessions.table"
_WRITER = "paxospp.node.writer"

MUTANTS = (
    # Exactly once.
    Mutant(
        "a copy of a command is applied again",
        "B34, invariant 11: a command takes effect twice.",
        (Patch(_EXECUTOR, "                known = session.applied + 1 - run.first\n", "                known = 0\n"),),
    ),
    Mutant(
        "a run is applied over a gap",
        "Invariant 11: the missing run comes later and is taken for a copy.",
        (
            Patch(
                _SESSIONS,
                "        if run.first > expected or last > max(session.applied",
                "        if run.first > expected:\n"
                "            session.outcomes.extend([b''] * (run.first - expected))\n"
                "            session.applied = run.first - 1\n"
                "        if last > max(session.applied",
            ),
        ),
    ),
    Mutant(
        "a session that begins late is opened all the same",
        "Invariant 11: the runs before it come later and are taken for copies.",
        (
            Patch(
                _SESSIONS,
                "            if run.first != 1 or len(run.payloads) > UNACKNOWLEDGED_MAX or self.full:\n",
                "            if len(run.payloads) > UNACKNOWLEDGED_MAX or self.full:\n",
            ),
            Patch(
                _SESSIONS,
                "            session = Session(SessionId(*key), 0, 0, self.log_time, [])\n",
                "            session = Session(SessionId(*key), run.first - 1, run.first - 1, self.log_time, [])\n",
            ),
        ),
    ),
    Mutant(
        "an expired session is opened again",
        "B34: a late copy of its first run opens a new session and is applied again.",
        (
            Patch(
                _SESSIONS,
                "            if not self.horizon < run.opened <= self.log_time or",
                "            if not run.opened <= self.log_time or",
            ),
        ),
    ),
    Mutant(
        "an outcome is dropped before its caller has it",
        "Invariant 11: an outcome is dropped one call too early, and a retry gets no answer.",
        (
            Patch(
                _SESSIONS,
                "        session.acknowledge(run.acknowledged)\n",
                "        session.acknowledge(run.acknowledged + 1)\n",
            ),
        ),
    ),
    Mutant(
        "sessions expire by this node's clock",
        "B35: replicas with different clocks keep different session tables.",
        (
            Patch(
                _DRIVER,
                "            answers = apply(decided[0])\n",
                "            self._executor._sessions.advance(int(self._loop.time() * 1e6), 3_600_000_000)\n"
                "            answers = apply(decided[0])\n",
            ),
        ),
    ),
    Mutant(
        "a caller is given its neighbour's outcome",
        "Invariant 12: outcomes are looked up at the wrong number.",
        (
            Patch(
                _SESSIONS,
                "        kept = self.outcomes[first - acknowledged - 1 : ",
                "        kept = self.outcomes[max(first - acknowledged - 2, 0) : ",
            ),
        ),
    ),
    Mutant(
        "a retried call gets a new number",
        "K1, B34: the retry counts as another command.",
        (
            Patch(
                "paxospp.node.local",
                "            runs = [(run, RUN_COMMANDS_MAX) for run in caller.resend(self._resend_from)]\n",
                "            runs = [(run, RUN_COMMANDS_MAX) for run in caller.resend(self._resend_from)]\n"
                "            for token, number in list(caller._sent.items()):\n"
                "                caller._queued[token] = caller._payloads[number - caller._base]\n"
                "                caller._calls[number - caller._base] = None\n"
                "            caller._sent.clear()\n",
            ),
        ),
    ),
    # Errors.
    Mutant(
        "trouble of one machine counts as a result",
        "P6, B44: one replica answers MemoryError where the others apply the command.",
        (Patch(_EXECUTOR, "                if stops_replica(error):\n", "                if False:\n"),),
    ),
    Mutant(
        "a slot that cannot be applied is skipped",
        "P6: a replica that should stop continues without the slot.",
        (
            Patch(
                _EXECUTOR,
                "            self._apply_commands(slot, entry.value, answers, traces)\n",
                "            try:\n"
                "                self._apply_commands(slot, entry.value, answers, traces)\n"
                "            except ReplicaStoppedError:\n"
                "                self._stopped = None\n",
            ),
        ),
    ),
    Mutant(
        "the digest does not cover results",
        "B44: replicas with different results have equal digests.",
        (Patch("paxospp.execution.digest", "    tail = _encode(traces)\n", "    tail = _encode([])\n"),),
        seen_by="tests/execution/test_executor.py"
        "::test_the_digest_covers_slot_kind_value_and_results_but_not_the_text_of_exceptions",
    ),
    Mutant(
        "the checksum of a value is not checked",
        "A value that was corrupted on the network or on disk is applied.",
        (
            Patch(
                "paxospp.sessions.runs",
                "    if zlib.crc32(body) != checksum:\n",
                "    if checksum < 0:\n",
            ),
        ),
        seen_by="tests/execution/test_executor.py::test_a_damaged_or_unknown_entry_stops_the_replica",
    ),
    # Snapshots.
    Mutant(
        "a snapshot has no sessions",
        "B28: a replica that restores it applies a retry again.",
        (
            Patch(_EXECUTOR, "            sessions=len(self._sessions),\n", "            sessions=0,\n"),
            Patch(
                _EXECUTOR,
                "        return write_snapshot(head, self._sessions.encode(), ",
                "        return write_snapshot(head, [], ",
            ),
        ),
    ),
    Mutant(
        "a snapshot has sessions without outcomes",
        "B28: a retry is not applied again, but gets no answer either.",
        (
            Patch(
                _SESSIONS,
                "        sessions = list(self._sessions.values())\n",
                "        sessions = [\n"
                "            Session(s.id, s.applied, s.applied, s.seen, []) for s in self._sessions.values()\n"
                "        ]\n",
            ),
        ),
    ),
    Mutant(
        "a snapshot forgets which sessions have expired",
        "B28: a restored replica opens an expired session again, and the others do not.",
        (
            Patch(
                _EXECUTOR,
                "            horizon=self._sessions.horizon,\n",
                "            horizon=-1,\n",
            ),
        ),
    ),
    Mutant(
        "a snapshot is named for a later slot than it holds",
        "B27, invariant 10: the log continues one slot too late.",
        (
            Patch(
                "paxospp.node.snapshots.taking",
                "        meta = SnapshotMeta(self._executor.applied, ",
                "        meta = SnapshotMeta(Slot(self._executor.applied + 1), ",
            ),
            Patch(
                "paxospp.node.snapshots.taking",
                "from paxospp.model import Ballot, NodeId, SnapshotMeta\n",
                "from paxospp.model import Ballot, NodeId, Slot, SnapshotMeta\n",
            ),
        ),
    ),
    Mutant(
        "the log is trimmed above the snapshot",
        "B27, invariant 10: a restart finds a gap.",
        (
            Patch(
                _LEARNING,
                "        first = Slot(min(first, meta.slot + 1))\n        out.write",
                "        first = Slot(min(self.delivered + 1, meta.slot + 9))\n        out.write",
            ),
        ),
    ),
    Mutant(
        "installing a snapshot loses what was accepted above it",
        "B4, invariant 7: an acceptor forgets what it accepted.",
        (
            Patch(
                _LEARNING,
                "        self.learner.jump(covered.meta.slot)\n",
                "        self._log._entries.clear()\n"
                "        self._log.bytes = 0\n"
                "        self.learner.jump(covered.meta.slot)\n",
            ),
        ),
    ),
    Mutant(
        "a snapshot counts before it is on disk",
        "B27: the machine runs ahead of a storage that may not have it.",
        (
            Patch(
                "paxospp.node.snapshots.coordinator",
                "            self._driver.install(covered, lambda: self._restore(covered))\n",
                "            self._restore(covered)\n            self._driver.install(covered, lambda: None)\n",
            ),
        ),
    ),
    # The node and its disk.
    Mutant(
        "the log is read while evicted entries are being written",
        "Invariant 7: a decided slot is reported as it was accepted under an older ballot.",
        (Patch(_WRITER, "        if self.persisted < self.submitted:\n", "        if False:\n"),),
    ),
    Mutant(
        "a write that failed counts as done",
        "B22, D3, D4: fsync failed, and the node continues.",
        (
            Patch(
                _WRITER,
                "        token, batch = self._take()\n",
                "        token, batch = self._take()\n        self._out = token\n",
            ),
            Patch(
                _WRITER,
                "        if self._failed or self.closed:\n            return\n        self._failed = True\n",
                "        if self._failed or self.closed:\n            return\n"
                "        if isinstance(error, StorageError):\n            self._done(self._out)\n            return\n"
                "        self._failed = True\n",
            ),
            # The virtual disk's handle refuses further writes after a failure; this patch makes it accept them.
            Patch(
                "paxospp.testing.simulation.world.virtual_storage",
                "            self._failed = True\n",
                "            self._failed = False\n",
            ),
        ),
    ),
    Mutant(
        "a record that cannot be read counts as absent",
        "D5, B20: a read error is taken for an empty slot.",
        (
            Patch(
                _DRIVER,
                "            faulty = self._tell_damage(range(wanted.start, wanted.stop), problem)\n",
                "            self._tell_damage(range(wanted.start, wanted.stop), problem)\n",
            ),
        ),
    ),
)
