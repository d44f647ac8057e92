"""Record a run of a child process, and draw what a power cut at any moment of it may have left.

``record`` runs the child. ``Recording.states`` draws moments from the whole run, more often around each mark, each sync
and each change of names, where mistakes show. The same recording, count and seed give the same states.
"""

from __future__ import annotations

import os
import random
import shutil
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from pathlib import Path

from paxospp.testing.power_cut.content import Content
from paxospp.testing.power_cut.cut_states import SECTOR, Left, Survivors, draw
from paxospp.testing.power_cut.file_tree import FileTree
from paxospp.testing.power_cut.following import CALLS, Follower
from paxospp.testing.power_cut.marks import numbered
from paxospp.testing.power_cut.recorded_disk import RecordedDisk
from paxospp.testing.power_cut.strace import TIMEOUT_S, Ended, Fault, traced
from paxospp.testing.power_cut.trace_events import FileWrite, InodeKind, Mark, Rename, Sync, TraceEvent

STORY_STEPS = 16
"""How many steps before the cut a failing case shows."""
ROUNDS = 8
HOLES = 3
"""One state in this many keeps all changes except one sector of the batch under way."""
SECTORS_MAX = 16.0
"""The most sectors that count for the weight of a sync."""


@dataclass(slots=True, frozen=True)
class PowerCutState:
    """The content of the directory after one power cut, and the batches that it must and may hold."""

    moment: int
    """The number of events of the recording before the power cut."""
    acknowledged: int | None
    """The last batch that is certainly durable; None if none is."""
    offered: int | None
    """The last batch that may be durable; those after ``acknowledged`` are under way."""
    marks: tuple[str, ...]
    """All marks before the power cut."""
    left: tuple[Left, ...]
    story: tuple[str, ...]
    """The last steps before the cut and, with two spaces in front, what became of the unsynced changes."""
    left_out: int = 0
    """The number of steps before the first of ``story``."""

    def write_to(self, directory: Path) -> None:
        """Replace ``directory`` by what the power cut left of the recorded directory."""
        if directory.exists():
            shutil.rmtree(directory)
        directory.mkdir(mode=0o700, parents=True)
        base, written = f"{directory}/", dict[int, str]()
        for left in self.left:
            path = base + left.path
            if left.kind is InodeKind.DIRECTORY:
                os.mkdir(path, 0o700)
            elif left.kind is InodeKind.LINK:
                os.symlink(bytes(left.content), path)
            elif left.inode in written:
                os.link(written[left.inode], path)
            else:
                written[left.inode] = path
                left.content.to_file(path)


class Recording:
    """The events by which a child process, or several one after another, changed a directory."""

    def __init__(
        self,
        directory: Path,
        start: FileTree,
        events: Sequence[TraceEvent],
        follower: Follower,
        ended: Ended,
        since: int,
    ) -> None:
        self.directory = directory
        self.events = tuple(events)
        self.ended = ended
        """How the last child ended."""
        self.paths = tuple(sorted(str(directory / path) for path in follower.paths))
        """The absolute path of every file that was created below the directory."""
        self.unseen = follower.unseen(directory)
        """Files that also changed in ways that cannot be followed, such as shared mappings. The bytes that the states
        have for them may be wrong."""
        self.calls: Counter[str] = Counter()
        """For each system call on files below the directory, the highest number of calls that one thread made."""
        for (_, name), count in follower.made.items():
            self.calls[name] = max(self.calls[name], count)
        inodes = set(follower.mapped.values())
        at_the_end = {path: inode for path, inode in follower.tree.paths().items() if inode in inodes}
        self._mapped = {
            inode: Content.of_file(directory / path)
            for path, inode in at_the_end.items()
            if (directory / path).is_file()
        }
        self.mapped: Mapping[str, int] = {**follower.mapped, **at_the_end}
        """The inodes that were mapped for writing, by their paths at that time and at the end."""
        self.story_steps: int | None = STORY_STEPS
        """How many steps before the cut a state keeps in its story; None: all of them."""
        self._start = start
        self._since = since
        self._end = follower.tree

    @property
    def marks(self) -> tuple[str, ...]:
        return tuple(event.text for event in self.events if isinstance(event, Mark))

    def syncs_between(self, first: str, second: str, *, directories: bool = False) -> int:
        """Count the syncs of files, and of directories if asked, that returned between two marks.

        Raises:
            ValueError: the recording does not have the two marks in this order.
        """
        marks = [(index, h.text) for index, h in enumerate(self.events) if isinstance(h, Mark)]
        begin = next((index for index, text in marks if text == first), None)
        end = next((index for index, text in marks if text == second and begin is not None and index > begin), None)
        if begin is None or end is None:
            raise ValueError(f"the recording does not have the marks {first!r} and {second!r} in this order")
        kinds = {InodeKind.FILE, InodeKind.DIRECTORY} if directories else {InodeKind.FILE}
        return sum(
            h.inode is None or self._end.inodes[h.inode].kind in kinds
            for h in self.events[begin:end]
            if isinstance(h, Sync)
        )

    def states(
        self,
        chance: random.Random,
        count: int,
        *,
        since: str | None = None,
        until: str | None = None,
        names_follow_syncs: bool = False,
    ) -> Iterator[PowerCutState]:
        """Yield ``count`` different states, or fewer if six times as many tries do not find more.

        They come in rounds over all moments, so that the first few are as good a sample as the rest. If the recording
        continues another one, only moments of the last run are drawn.

        Args:
            chance: the source of randomness.
            count: how many states to draw.
            since: a mark; draw only moments after it.
            until: a mark; draw only moments before it.
            names_follow_syncs: the milder rule for names, see ``recorded_disk``.

        Raises:
            ValueError: the recording does not have such a mark.
        """
        weights, torn = self._weights(since, until), self._torn_weights(since, until)
        seen: set[int] = set()
        left = count
        for _ in range(6):
            found, holes = 0, left // HOLES if any(torn) else 0
            for plan in chain(_plans(torn, holes, chance, _HOLES), _plans(weights, left - holes, chance, _SHARES)):
                for state in self._sweep(plan, chance, names_follow_syncs):
                    key = hash((state.acknowledged, state.offered, state.left))
                    if key not in seen:
                        seen.add(key)
                        found += 1
                        yield state
            left -= found
            if left <= 0 or not found:
                return

    def at(self, mark: str) -> PowerCutState:
        """Return what a power cut right after the first such mark leaves if no unsynced change survives.

        Raises:
            ValueError: the recording does not have the mark.
        """
        return self._nothing_left(self._said(mark) + 1)

    def at_rest(self) -> PowerCutState:
        """Return what a power cut after the last event leaves if no unsynced change survives.

        Files that were mapped for writing are as they were in memory at the end: the trace does not show which of their
        bytes a sync made durable, and this is the most that can be.
        """
        state = self._nothing_left(len(self.events))
        left = [replace(file, content=self._mapped.get(file.inode, file.content)) for file in state.left]
        return replace(state, left=tuple(left))

    def without_trust(self, state: PowerCutState, paths: Collection[str]) -> list[PowerCutState]:
        """Return ``state`` with the mapped files ``paths`` as they were at the end, and ``state`` without these files.

        A fault that both variants show does not depend on the bytes of these files, which strace did not see.
        """
        inodes = {self.mapped[path] for path in paths if path in self.mapped}
        latest = [
            replace(file, content=self._mapped[file.inode] if file.inode in inodes else file.content)
            for file in state.left
            if file.inode not in inodes or file.inode in self._mapped
        ]
        absent = [file for file in state.left if file.inode not in inodes]
        return [replace(state, left=tuple(left)) for left in (latest, absent)]

    def path_at_the_end(self, path: str) -> str | None:
        """Return the path at the end of the file that was mapped as ``path``; None if it was removed."""
        inode = self.mapped.get(path)
        return next((now for now, known in self._end.paths().items() if known == inode), None)

    def _nothing_left(self, moment: int) -> PowerCutState:
        (state,) = self._sweep({moment: [Survivors.NOTHING]}, random.Random(0), names_follow_syncs=False)
        return state

    def _weights(self, since: str | None, until: str | None) -> list[float]:
        """Return the relative frequency of cuts at each moment."""
        weights = [1.0] * (len(self.events) + 1)
        for index, event in enumerate(self.events):
            if isinstance(event, Mark | Sync | Rename):
                weights[index] += 3
                weights[index + 1] += 3
        first = self._since if since is None else self._said(since) + 1
        weights[:first] = [0.0] * first
        if until is not None:
            last = self._said(until)
            weights[last + 1 :] = [0.0] * (len(weights) - last - 1)
        marked = next((i for i, h in enumerate(self.events) if isinstance(h, Mark) and i >= first), first)
        before = sum(weights[:marked])
        if since is None and before > (limit := 0.2 * sum(weights)):  # opening gets at most a fifth of the cuts
            weights[:marked] = [weight * limit / before for weight in weights[:marked]]
        return weights

    def _torn_weights(self, since: str | None, until: str | None) -> list[float]:
        """Return the relative frequency of cuts that lose one sector: before each sync, the more the sync writes."""
        weights, allowed, unsynced = [0.0] * (len(self.events) + 1), self._weights(since, until), Counter[int]()
        under_way = True  # also while the store is opened, and in a recording without marks of batches
        for index, event in enumerate(self.events):
            if isinstance(event, FileWrite):
                unsynced[event.inode] += len(event.data)
            elif isinstance(event, Mark) and (said := numbered(event.text)) is not None:
                under_way = said[0] == "offer"
            elif isinstance(event, Sync):
                inodes = [event.inode] if event.inode is not None else list(unsynced)
                written = sum(unsynced.pop(inode, 0) for inode in inodes)
                if under_way and allowed[index]:
                    weights[index] = min(float(written // SECTOR), SECTORS_MAX)
        return weights

    def _said(self, mark: str) -> int:
        for index, event in enumerate(self.events):
            if index >= self._since and isinstance(event, Mark) and event.text == mark:
                return index
        raise ValueError(f"the recording does not have the mark {mark!r}")

    def _sweep(
        self, plan: Mapping[int, Sequence[Survivors]], chance: random.Random, names_follow_syncs: bool
    ) -> Iterator[PowerCutState]:
        disk = RecordedDisk(self._end.inodes, names_follow_syncs=names_follow_syncs)
        disk.start(self._start.contents, self._start.names)
        marks: list[str] = []
        latest: dict[str, int] = {}
        for moment in range(max(plan, default=-1) + 1):
            if moment:
                event = self.events[moment - 1]
                disk.apply(moment - 1, event)
                if isinstance(event, Mark):
                    marks.append(event.text)
                    if (said := numbered(event.text)) is not None:
                        latest[said[0]] = said[1]
            for survivors in plan.get(moment, ()):
                left, words = draw(disk, survivors, chance)
                first = 0 if self.story_steps is None else max(moment - self.story_steps, 0)
                steps = map(str, self.events[first:moment])
                story = (
                    *steps,
                    f"power cut; unsynced changes that survive: {survivors.value}",
                    *(f"  {word}" for word in words),
                )
                yield PowerCutState(
                    moment, latest.get("ack"), latest.get("offer"), tuple(marks), tuple(left), story, first
                )


def _plans(
    weights: Sequence[float], count: int, chance: random.Random, shares: Mapping[Survivors, float]
) -> Iterator[dict[int, list[Survivors]]]:
    """Yield one plan per round: the moments to cut at, and for each which changes are to survive."""
    reached = list(accumulate(weights))
    if not reached or not reached[-1]:
        return
    # Spread evenly: with as many cuts as moments, every moment gets one.
    cuts = [bisect_right(reached, (number + chance.random()) / count * reached[-1]) for number in range(count)]
    choices = chance.choices(list(shares), list(shares.values()), k=count)
    chance.shuffle(cuts)
    rounds = min(ROUNDS, count)
    for start in range(rounds):
        plan: dict[int, list[Survivors]] = {}
        for moment, survivors in zip(cuts[start::rounds], choices[start::rounds], strict=True):
            plan.setdefault(min(moment, len(weights) - 1), []).append(survivors)
        yield plan


_SHARES = {
    Survivors.NOTHING: 0.25,
    Survivors.EVERYTHING: 0.05,
    Survivors.UP_TO: 0.15,
    Survivors.SOME_FILES: 0.15,
    Survivors.ALL_BUT_ONE: 0.1,
    Survivors.PIECES: 0.3,
}
_HOLES = {Survivors.HOLE: 1.0}


def record(
    command: Sequence[str],
    directory: Path,
    *,
    after: Recording | None = None,
    fault: Fault | None = None,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Recording:
    """Run ``command`` and record what it, its threads and its children do below ``directory``.

    Args:
        command: the child's command line.
        directory: the directory to record. Its content is taken as durable, unless ``after`` is given.
        after: the recording of the run before. The new one continues it: changes that were unsynced then still are,
            because the process was killed and the machine was not.
        fault: a fault of system calls on any file. Do not use it for ``write``, which would also hit the marks: see
            ``inject``.
        environment: variables to add to the environment.
        timeout_s: how long the child may run, in seconds.

    Raises:
        RuntimeError: tracing is not possible here, see ``trace_available``.
        subprocess.TimeoutExpired: the child took longer than ``timeout_s`` and was killed.
    """
    directory = Path(os.path.realpath(directory))
    start = FileTree.of(directory) if after is None else after._start
    tree = start.copy() if after is None else after._end.copy()
    earlier = () if after is None else after.events
    with traced(command, calls=CALLS, fault=fault, environment=environment, timeout_s=timeout_s) as (
        ended,
        trace,
        marks,
    ):
        follower = Follower(str(directory), tree, str(marks), os.getcwd(), len(earlier))
        if after is not None:
            follower.paths.update(os.path.relpath(path, directory) for path in after.paths)
            follower.blind.update(after.unseen)
            follower.mapped.update(after.mapped)
        with open(trace, "rb") as lines:
            follower.follow(lines)
    return Recording(directory, start, (*earlier, *follower.events), follower, ended, len(earlier))
