"""The outcome of a check: a report of what was checked, or the first problem found and how to repeat it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field


class MachineCheckError(AssertionError):
    """The replicas of a state machine would not stay equal, or would break its invariant.

    Attributes:
        machine: the name of the class.
        found: the problem.
        seed, slot: where it was found.
        calls: the calls of that slot, or the one call that is to blame.
        operation: the method that ran there; None if it is not known which one.
        differs: what differs, and how.
        causes: possible causes.
        replay: a command, or a call of ``check_machine``, that repeats the check.
    """

    def __init__(
        self,
        *,
        machine: str,
        found: str,
        seed: int,
        slot: int,
        calls: Sequence[str],
        operation: str | None,
        differs: str,
        causes: Sequence[str],
        replay: str,
    ) -> None:
        self.machine = machine
        self.found = found
        self.seed = seed
        self.slot = slot
        self.calls = tuple(calls)
        self.operation = operation
        self.differs = differs
        self.causes = tuple(causes)
        self.replay = replay
        where = f"{machine}.{operation}" if operation else machine
        lines = [f"{where}: {found} (seed {seed}, slot {slot})"]
        lines += [f"  {'calls' if not index else '':9}{call}" for index, call in enumerate(self.calls)]
        lines += [f"  {'differs':9}{differs}"] if differs else []
        lines += [f"  {'cause' if not index else '':9}{cause}" for index, cause in enumerate(self.causes)]
        lines += [f"  {'repeat':9}{replay}"]
        super().__init__("\n".join(lines))


@dataclass(slots=True)
class MachineReport:
    """A report of ``check_machine`` on a machine in which it found no problem.

    Attributes:
        machine: the name of the class.
        seeds: how many logs were applied.
        calls: how often each operation was called. An operation that is missing was not checked.
        raised: how often each operation raised each exception. An operation that always raises is hardly checked.
        restored: how many snapshots were taken, restored, and compared with the replica that had continued.
        interpreters: how many logs were applied in two interpreters.
        not_checked: what could not be checked here, and why; it does not count as passed.
    """

    machine: str
    seeds: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    raised: Counter[tuple[str, str]] = field(default_factory=Counter)
    restored: int = 0
    interpreters: int = 0
    not_checked: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        calls = sum(self.calls.values())
        lines = [f"{self.machine}: its replicas agree"]
        lines += [f"  {self.seeds:,} logs, {calls:,} calls, {self.restored:,} snapshots restored"]
        lines += [f"  {self.interpreters:,} logs in two interpreters"] if self.interpreters else []
        width = max(map(len, self.calls), default=0)
        for name, count in sorted(self.calls.items()):
            raised = [f"{times:,} raised {type}" for (of, type), times in sorted(self.raised.items()) if of == name]
            lines.append(f"  {name:{width}}  {', '.join([f'{count:,} calls', *raised])}")
        lines += [f"  not checked: {reason}" for reason in self.not_checked]
        return "\n".join(lines)
