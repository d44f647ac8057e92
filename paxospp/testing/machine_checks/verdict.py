"""What a check comes to: a report of all that was tried, or the first thing found, with how to see it again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field


class MachineCheckError(AssertionError):
    """A state machine whose replicas would not stay equal, or break its own invariant.

    ``seed`` and ``slot`` say where; ``operation`` is the method that ran there, ``calls`` are the
    calls of that slot, ``causes`` what was found out about why, ``replay`` the line that shows
    it again.
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
        lines += [f"  {'why' if not index else '':9}{cause}" for index, cause in enumerate(self.causes)]
        lines += [f"  {'again':9}{replay}"]
        super().__init__("\n".join(lines))


@dataclass(slots=True)
class MachineReport:
    """What ``check_machine`` tried on a machine in which it found nothing.

    ``calls``: how often each operation was called; one that is missing was not checked.
    ``raised``: how often it raised what, for an operation that always does is hardly checked.
    ``restored``: snapshots taken, restored and compared with the replica that went on.
    ``interpreters``: logs replayed in two interpreters.
    ``not_checked``: what could not be checked here, and why; never taken for passed.
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
