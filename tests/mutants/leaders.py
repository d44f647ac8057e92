"""Mutants of candidates and leaders: phase 1, phase 2, ballots, founding, elections."""

from __future__ import annotations

from tests.mutants.mutant import Mutant, Patch

_PROTOCOL = "paxospp.engine.protocol"
_CAMPAIGNING = "paxospp.engine.rules.campaign"
_PROMISES = "paxospp.engine.rules.promises"
_LEADING = "paxospp.engine.rules.leader"
_ELECTION = "paxospp.engine.rules.election"
_BOOTSTRAP = "paxospp.engine.rules.bootstrap"

_CLEAN = "        return slot >= self.undecided_from and not any(slot in slots for slots in self.faulty)\n"
_HIGHEST = "        highest = max(accepted, key=lambda entry: entry.ballot)\n"
_NO_OP = '            return Entry(slot, self.ballot, Kind.NOOP, b"")\n'

MUTANTS = (
    # Phase 1.
    Mutant(
        "a promise to an older ballot counts",
        "B6: answers to an abandoned campaign help to win the next one.",
        (
            Patch(
                _PROTOCOL,
                "            case Campaigning(promises=promises) as campaign if promises.ballot == promise.ballot:\n",
                "            case Campaigning(promises=promises) as campaign:\n",
            ),
        ),
    ),
    Mutant(
        "a promise counts as often as it comes",
        "B7: two copies of one answer count as two answers.",
        (
            Patch(
                _PROMISES,
                "        self.reports: dict[NodeId, PromiseReport] = {}\n",
                "        self.reports: dict[NodeId, PromiseReport] = {}\n        self.times: dict[NodeId, int] = {}\n",
            ),
            Patch(
                _PROMISES,
                "        self.reports[node] = PromiseReport(\n",
                "        self.times[node] = self.times.get(node, 0) + 1\n        self.reports[node] = PromiseReport(\n",
            ),
            Patch(
                _PROMISES,
                "        return voters.is_quorum(self.clean(slot, voters))\n",
                "        return 2 * sum(self.times[node] for node in self.clean(slot, voters)) > len(voters.names)\n",
            ),
            Patch(
                _CAMPAIGNING,
                "        return voters.is_quorum(promises.promised(voters))\n",
                "        promised = promises.promised(voters)\n"
                "        return voters.is_quorum(promised) or (\n"
                "            not founds and 2 * sum(promises.times[name] for name in promised) > len(voters.names)\n"
                "        )\n",
            ),
        ),
    ),
    Mutant(
        "a promise of any incarnation counts",
        "D12: a node whose disk was wiped answers *none* for slots that it had accepted.",
        (
            Patch(
                _PROMISES,
                " if voters.has(node, report.incarnation)]\n",
                " if report and node in voters.names]\n",
            ),
        ),
    ),
    Mutant(
        "a promise counts before all its parts are in",
        "Rule 2: entries in the missing parts are overlooked.",
        (
            Patch(
                _PROMISES,
                "        if len(parts) < promise.parts:\n            return None\n",
                "        if not parts:\n            return None\n",
            ),
        ),
    ),
    Mutant(
        "decided counts as none",
        "B12: a no-op is proposed where an acceptor knows the slot decided.",
        (Patch(_PROMISES, _CLEAN, "        return not any(slot in slots for slots in self.faulty)\n"),),
    ),
    Mutant(
        "faulty counts as none",
        "B20, invariant 16: a damaged acceptor helps to decide another value.",
        (Patch(_PROMISES, _CLEAN, "        return slot >= self.undecided_from\n"),),
    ),
    Mutant(
        "the value of the lowest ballot is proposed",
        "Rule 2, Paxos Made Simple P2c.",
        (Patch(_PROMISES, _HIGHEST, _HIGHEST.replace("max(", "min(")),),
    ),
    Mutant(
        "the value that was reported last is proposed",
        "Rule 2, Paxos Made Simple P2c.",
        (Patch(_PROMISES, _HIGHEST, "        highest = accepted[-1]\n"),),
    ),
    Mutant(
        "what was accepted is not proposed again",
        "Rule 2: a new leader proposes no-ops in slots that hold values.",
        (Patch(_PROMISES, "        if not accepted:\n", "        if True:\n"),),
    ),
    Mutant(
        "a new leader proposes right above what it has decided",
        "Rule 2, invariant 8: slots that phase 1 found are used for new values.",
        (
            Patch(
                _LEADING,
                "        self.recovered_up_to = Slot(max(promises.recovered_up_to, decided))\n",
                "        self.recovered_up_to = decided\n",
            ),
        ),
    ),
    Mutant(
        "gaps are not filled",
        "B13: a slot for which every acceptor answered *none* stays open for ever.",
        (Patch(_PROMISES, _NO_OP, "            return None\n"),),
    ),
    Mutant(
        "a majority that holds one value decides it",
        "B9: it counts acceptances under different ballots.",
        (
            Patch(
                _PROTOCOL,
                "        self._take_role(leading)\n",
                "        self._take_role(leading)\n"
                "        names = len(self.cluster.voters.names)\n"
                "        for number in range(self.decided + 1, leading.recovered_up_to + 1):\n"
                "            slot = Slot(number)\n"
                "            held = [r.entries[slot] for r in leading.promises.reports.values() if slot in r.entries]\n"
                "            for one in held:\n"
                "                alike = [other for other in held if other.value == one.value]\n"
                "                if 2 * len(alike) > names and self.cluster.membership is not None:\n"
                "                    out.write(self.acceptor.learn(max(alike, key=lambda entry: entry.ballot)))\n"
                "                    self.learning.decide(slot, leading.ballot)\n",
            ),
        ),
    ),
    Mutant(
        "new values come before those of a late promise",
        "Rule 2: it makes a slot clean, and the value it reports there is ignored.",
        (
            Patch(
                _LEADING,
                "        if reported_up_to < self.next_slot:\n",
                "        if reported_up_to:\n",
            ),
        ),
    ),
    Mutant(
        "a leader that caught up at once never proposes",
        "Liveness: what it recovered was decided before it proposed it.",
        (
            Patch(
                _LEADING,
                "        if max(self._unproposed, decided + 1) <= self.recovered_up_to:\n",
                "        if self._unproposed <= self.recovered_up_to:\n",
            ),
        ),
    ),
    # Ballots.
    Mutant(
        "a ballot is used again",
        "B8, invariant 2: the round is not raised above what was promised.",
        (Patch(_CAMPAIGNING, "    return Ballot(highest + 1, ", "    return Ballot(max(highest, 1), "),),
    ),
    Mutant(
        "a leader that meets a higher ballot goes on",
        "Rule 1: two leaders may decide under different ballots.",
        (
            Patch(
                _PROTOCOL,
                '                self._observer.reached("protocol: a leader meets a higher ballot")\n'
                "                self._become_following(out)\n",
                '                self._observer.reached("protocol: a leader meets a higher ballot")\n',
            ),
        ),
    ),
    # Phase 2.
    Mutant(
        "a leader counts itself before its write",
        "B2: a single node acknowledges a command that a crash may lose.",
        (
            Patch(
                _PROTOCOL,
                "        out.write(batch, then=AcceptanceDurable(reply))\n",
                "        out.write(batch)\n"
                "        self._on_accepted(self._identity.name, self._identity.incarnation, reply)\n",
            ),
        ),
    ),
    Mutant(
        "an Accepted counts as often as it comes",
        "B7: two copies of one answer count as two answers.",
        (
            Patch(
                _LEADING,
                "    accepted_by: set[NodeId] = field(default_factory=set)\n",
                "    accepted_by: list[NodeId] = field(default_factory=list)\n",
            ),
            Patch(
                _LEADING,
                "        proposal.accepted_by.add(node)\n        if not voters.is_quorum(proposal.accepted_by):\n",
                "        proposal.accepted_by.append(node)\n"
                "        if 2 * len(proposal.accepted_by) <= len(voters.names):\n",
            ),
        ),
    ),
    Mutant(
        "an Accepted of an older ballot counts",
        "B6: the acceptance may be of another value.",
        (
            Patch(
                _PROTOCOL,
                "        if leading is None or leading.ballot != accepted.ballot:\n",
                "        if leading is None:\n",
            ),
        ),
    ),
    Mutant(
        "half of the members are a quorum",
        "Paxos Made Simple, 2.2: two quorums must have a member in common.",
        (
            Patch(
                "paxospp.engine.rules.voters",
                "        self._enough = len(self.names) // 2 + 1\n",
                "        self._enough = (len(self.names) + 1) // 2\n",
            ),
        ),
    ),
    Mutant(
        "the window is twice alpha",
        "Rule 7, invariant 15: more than alpha slots are open.",
        (
            Patch(
                _LEADING,
                "        room = decided + self.alpha - self.next_slot + 1\n",
                "        room = decided + 2 * self.alpha - self.next_slot + 1\n",
            ),
        ),
    ),
    Mutant(
        "an unanswered Accept is not sent again",
        "Rule 3: one lost message holds up all later slots.",
        (Patch(_LEADING, "        for slot in sorted(self.proposals):\n", "        for slot in []:\n"),),
    ),
    # Founding.
    Mutant(
        "a majority founds the cluster",
        "Rule 9: a node that was absent from the founding may found the cluster again.",
        (
            Patch(_BOOTSTRAP, "incarnations[name])", "incarnations.get(name, 1))"),
            Patch(
                "paxospp.engine.rules.voters",
                "        return self.names.issubset(names)\n",
                "        return 2 * len(self.names.intersection(names)) > len(self.names)\n",
            ),
        ),
    ),
    Mutant(
        "a damaged answer counts for a founding",
        "Rule 9, B20: the damaged slot 1 may have held the founding of this cluster.",
        (
            Patch(
                _CAMPAIGNING,
                "        if founds and not promises.is_clean(FOUNDING_SLOT, voters):\n",
                "        if False:\n",
            ),
        ),
    ),
    Mutant(
        "a founding is accepted by an incarnation that it does not list",
        "Rule 9: a replaced disk votes in the name of the one that was lost.",
        (
            Patch(
                _BOOTSTRAP,
                "    if not membership.has(identity.name, identity.incarnation):\n",
                "    if identity.name not in membership.names:\n",
            ),
        ),
    ),
    # Elections.
    Mutant(
        "a leader whose disk hangs keeps leading",
        "B47, D16: a leader must step down when its disk hangs.",
        (Patch(_PROTOCOL, "        if no_quorum or self.heartbeats.disk_hangs(now):\n", "        if no_quorum:\n"),),
    ),
    Mutant(
        "a leader that nobody answers keeps leading",
        "Rule 5, invariant 17: a leader must step down when no quorum answers it.",
        (
            Patch(
                _PROTOCOL,
                "        if no_quorum or self.heartbeats.disk_hangs(now):\n",
                "        if self.heartbeats.disk_hangs(now):\n",
            ),
        ),
    ),
    Mutant(
        "a replica campaigns although its peers are quorum-connected",
        "B41, B45: one lost link deposes a leader that all others hear.",
        (
            Patch(
                _ELECTION,
                "        if any(answer.quorum_connected for answer in answers.values()):\n",
                "        if False:\n",
            ),
        ),
    ),
    Mutant(
        "every replica says that it is quorum-connected",
        "B45: nodes that are needed to elect a new leader wait for one that is gone.",
        (
            Patch(
                _ELECTION,
                "        return now - self._quorum_connected_at < self.window_s\n",
                '        return self._quorum_connected_at > float("-inf")\n',
            ),
            Patch(
                _ELECTION,
                '        self._quorum_connected_at = float("-inf")\n        return had_one\n',
                "        return had_one\n",
            ),
        ),
    ),
)
