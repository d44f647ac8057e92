"""The conclusions that a leader draws from the answers of others, checked when it draws them.

Each check is a step of the proof that one value is chosen per slot; those for reads are in ``read_rules``. A broken
step seldom does harm at once: a value has to be chosen elsewhere, or a call to end, between two messages. The check
of the step itself shows the fault where it happens.

* A leader counts only promises to its own ballot, of a quorum of members (bugs B6, B7), each of the incarnation that
  votes. Reports of a wiped disk count for nothing (D12).
* It has found every slot that was chosen under a lower ballot, or waits for clean answers there (8).
* A node that it counts for a slot has accepted there under this ballot (B6).
* It proposes in a slot only after clean answers (accepted or none) of a quorum (16).
* It proposes what some quorum of these promises calls for: the value of the highest ballot that any of them accepted in
  the slot ("Paxos Made Simple", P2c).
* Once all that it recovered is decided and nothing hinders it, it has room to propose.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from paxospp.engine.rules.bootstrap import FOUNDING_SLOT
from paxospp.engine.rules.leader import Leading
from paxospp.engine.rules.promises import PromiseReport
from paxospp.messages import Accept, Promise
from paxospp.model import Ballot, Kind, Membership, NodeId, Slot
from paxospp.testing.simulation.judges.chosen_values import ChosenValues, Incarnation
from paxospp.testing.simulation.judges.observed import ObservedHost
from paxospp.testing.simulation.rule_broken import RuleBroken


@dataclass(slots=True)
class _Report:
    """The content of one answer to a Prepare."""

    incarnation: Incarnation
    decided: Slot
    first: Slot
    faulty: tuple[range, ...]
    accepted: dict[Slot, Ballot]

    def is_clean(self, slot: Slot) -> bool:
        """Return whether the report says *accepted* or *none* for ``slot``."""
        return slot > self.decided and slot >= self.first and not any(slot in slots for slots in self.faulty)

    def allows(self, slot: Slot, ballot: Ballot | None) -> bool:
        """Return whether the report is clean and names no ballot above ``ballot`` in ``slot``; None: no ballot."""
        if not self.is_clean(slot):
            return False
        accepted = self.accepted.get(slot)
        return accepted is None or (ballot is not None and accepted <= ballot)


class LeaderRules:
    """Remembers every promise that was sent, and checks what leaders do with promises."""

    def __init__(self, chosen: ChosenValues, coverage: Counter[str]) -> None:
        self._chosen = chosen
        self._coverage = coverage
        self._reports: dict[Ballot, dict[NodeId, list[_Report]]] = {}
        self._runtime: dict[tuple[Ballot, NodeId], dict[Slot, Ballot]] = {}

    def on_promise(self, host: ObservedHost, promise: Promise) -> None:
        """Note one part of a promise of ``host``; the parts of one answer are sent together."""
        key = (promise.ballot, host.name)
        accepted = self._runtime.setdefault(key, {})
        if promise.part == 0:
            accepted.clear()
        accepted.update((entry.slot, entry.ballot) for entry in promise.entries)
        if promise.part == promise.parts - 1:
            incarnation = (host.name, host.sender.incarnation)
            report = _Report(incarnation, promise.decided, promise.first, promise.faulty, self._runtime.pop(key))
            self._reports.setdefault(promise.ballot, {}).setdefault(host.name, []).append(report)

    def on_own_promise(self, host: ObservedHost, ballot: Ballot, report: PromiseReport) -> None:
        """Note the promise that ``host`` makes to itself; a later one leaves out slots decided meanwhile."""
        accepted = {entry.slot: entry.ballot for entry in report.entries.values()}
        said = _Report((host.name, report.incarnation), report.decided, report.first, report.faulty, accepted)
        self._reports.setdefault(ballot, {}).setdefault(host.name, []).append(said)

    def on_leading(self, host: ObservedHost, leading: Leading) -> None:
        """Check the promises with which ``host`` takes the lead: given, under this ballot, and by a quorum."""
        said = self._reports.get(leading.ballot, {})
        reports = leading.promises.reports
        for name in reports:
            if name != host.name and name not in said:
                raise RuleBroken("B6", f"{host.name} leads under {leading.ballot}, which {name} has not promised")
        if self._chosen.membership is None:
            self._check_founds(host, leading)
        else:
            chosen = self._chosen
            voted = [name for name, report in reports.items() if chosen.has_vote((name, report.incarnation))]
            if not self._are_quorum(voted):
                raise RuleBroken(
                    "B7", f"{host.name} leads under {leading.ballot} with the promises of {sorted(voted)} alone"
                )
        if self._chosen.membership is not None:
            self._check_complete(host, leading)

    def _check_complete(self, host: ObservedHost, leading: Leading) -> None:
        """Check invariant 8: the leader has found every chosen slot, or waits for clean answers there."""
        assert host.runtime is not None
        chosen, coverage = self._chosen, self._coverage
        decided_above = host.runtime.replica.protocol.learning.learner.decided_above
        voters = host.runtime.replica.protocol.cluster.voters
        top = max(max(chosen.values, default=Slot(0)), leading.recovered_up_to)
        for number in range(host.record.decided + 1, top + 1):
            slot = Slot(number)
            value = chosen.values.get(slot)
            if value is None and slot in decided_above:
                raise RuleBroken("1", f"{host.name} considers slot {slot} decided, which no quorum has accepted")
            if value is None:
                coverage["a leader found a slot that was not chosen"] += 1
                continue
            if slot <= leading.promises.decided_up_to or chosen.under[slot] >= leading.ballot:
                continue  # reported as decided, or chosen by a leader that deposed it before it counted its promises
            entry = leading.promises.choose(slot, voters)
            if entry is None:
                coverage["a leader waits for clean answers"] += 1
            elif (entry.kind, entry.value) != value and slot not in decided_above:
                raise RuleBroken(
                    "8", f"{host.name} leads under {leading.ballot} and would propose another value in slot {slot}"
                )

    def _check_founds(self, host: ObservedHost, leading: Leading) -> None:
        """Check invariant 16 before the founding: every node says *none* for slot 1, or a quorum is clean there."""
        reports = leading.promises.reports.values()
        clean = [report for report in reports if report.is_clean(FOUNDING_SLOT)]
        everybody = len(host.world.hosts)
        if any(FOUNDING_SLOT in report.entries for report in reports):
            enough = 2 * len(clean) > everybody
        else:
            enough = len(clean) == everybody
        if not enough:
            raise RuleBroken("16", f"{host.name} founds under {leading.ballot} after {len(clean)} clean answers")

    def on_founding(self, host: ObservedHost, accept: Accept) -> None:
        """Check the founding value that ``host`` proposes: if one was reported, it is that one (rule 9).

        The alpha in the value bounds what the founder proposes from now on (rule 7).
        """
        assert host.runtime is not None
        leading = host.runtime.replica.protocol.leading
        if leading is None or leading.ballot != accept.ballot:
            return
        reports = leading.promises.reports.values()
        found = [report.entries[FOUNDING_SLOT] for report in reports if FOUNDING_SLOT in report.entries]
        if found and max(found, key=lambda entry: entry.ballot).value != accept.value:
            raise RuleBroken(
                "8", f"{host.name} proposes a new founding under {accept.ballot}, though one was reported to it"
            )
        alpha = Membership.from_bytes(accept.value).alpha
        if leading.alpha != alpha:
            raise RuleBroken("rule 7", f"{host.name} founds with alpha {alpha}, and leads with {leading.alpha}")

    def on_proposal(self, host: ObservedHost, accept: Accept) -> None:
        """Check the first proposal of ``host`` in a slot: some quorum of the promises calls for that value."""
        assert host.runtime is not None
        protocol, slot = host.runtime.replica.protocol, accept.slot
        said = self._reports.get(accept.ballot, {})
        clean = {name for name, reports in said.items() if any(it.is_clean(slot) for it in self._counted(reports))}
        if not protocol.log.is_faulty(slot):
            clean.add(host.name)
        if not self._are_quorum(clean):
            raise RuleBroken("16", f"{host.name} proposes slot {slot} after clean answers from {sorted(clean)} alone")
        leading = protocol.leading
        if leading is None or leading.ballot != accept.ballot:
            return
        told = {name: said.get(name, []) for name in leading.promises.reports}
        if (own := leading.promises.reports.get(host.name)) is not None:
            ballots = {entry.slot: entry.ballot for entry in own.entries.values()}
            told[host.name] = [_Report((host.name, own.incarnation), own.decided, own.first, own.faulty, ballots)]
        value = (accept.kind, accept.value)
        chosen = self._chosen
        of_value = [
            ballot
            for reports in told.values()
            for report in reports
            if (ballot := report.accepted.get(slot)) is not None and chosen.is_proposed(slot, ballot, value)
        ]
        highest = max(of_value, default=None)
        if not self._are_quorum(
            name
            for name, reports in told.items()
            if any(report.allows(slot, highest) for report in self._counted(reports))
        ):
            what = "a no-op" if accept.kind is Kind.NOOP else "a value"
            raise RuleBroken("8", f"{host.name} proposes {what} in slot {slot} that no quorum of promises calls for")

    def has_clean(self, leading: Leading, slot: Slot) -> bool:
        """Return whether a quorum of the counted promises said *accepted* or *none* for ``slot``, under this ballot."""
        said = self._reports.get(leading.ballot, {})
        return self._are_quorum(
            name
            for name in leading.promises.reports
            if any(report.is_clean(slot) for report in self._counted(said.get(name, ())))
        )

    def check_has_room(self, host: ObservedHost, leading: Leading) -> None:
        """Check that a leader has room to propose, unless recovery, damage or the window hinders it."""
        assert host.runtime is not None
        decided, voters = host.runtime.replica.decided, host.runtime.replica.protocol.cluster.voters
        hindered = (
            self._chosen.membership is None
            or host.runtime.replica.membership is None
            or decided < leading.recovered_up_to
            or leading.next_slot > decided + leading.alpha
            or leading.has_too_many_bytes
            or not leading.promises.is_clean(leading.next_slot, voters)
        )
        if not hindered and leading.proposable(decided, voters) == 0:
            raise RuleBroken("liveness", f"{host.name} leads and has no room for slot {leading.next_slot}")

    def on_counted(self, host: ObservedHost, ballot: Ballot, slot: Slot, node: NodeId) -> None:
        """Check that ``node``, which ``host`` counts for ``slot``, accepted there under ``ballot``, the host's own."""
        assert host.runtime is not None
        leading = host.runtime.replica.protocol.leading
        if leading is None or leading.ballot != ballot:
            raise RuleBroken(
                "B6", f"{host.name} counts an acceptance of {node} in slot {slot} under {ballot}, not its own ballot"
            )
        if not self._chosen.has_accepted(node, slot, ballot):
            raise RuleBroken("B6", f"{host.name} counts {node} for slot {slot}, which it accepted under another ballot")

    def _counted(self, reports: Iterable[_Report]) -> Iterator[_Report]:
        """Yield the reports of voting incarnations."""
        return (report for report in reports if self._chosen.has_vote(report.incarnation))

    def _are_quorum(self, names: Iterable[NodeId]) -> bool:
        return self._chosen.are_quorum(names)
