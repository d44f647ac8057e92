"""A run of a child, recorded; and what a power cut at any moment of it may have left.

``record`` runs the child. ``Recording.states`` draws from all moments, and more often from those that
matter: around each mark, each sync and each change of names. The same recording, count and seed give
the same states.
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
"""How many steps before the cut a failing case tells."""
ROUNDS = 8
HOLES = 3
"""One in so many states is a batch that is whole but for one sector."""
SECTORS_MAX = 16.0
"""A sync of more than that gets no more of them."""


@dataclass(slots=True, frozen=True)
class PowerCutState:
    """What stands in the directory after one power cut, and what has to be in it."""

    moment: int
    """After how many events of the recording the power went."""
    acknowledged: int | None
    """The last batch that was certainly persisted by then; None: none was."""
    offered: int | None
    """The last batch that may have been; those between the two are under way."""
    marks: tuple[str, ...]
    """All that was said by then."""
    left: tuple[Left, ...]
    story: tuple[str, ...]
    """The last steps before the cut; and, with two spaces in front, what became of what was not synced."""
    left_out: int = 0
    """How many steps came before ``story``."""

    def write_to(self, directory: Path) -> None:
        """Make ``directory`` what the power cut left of the one that was recorded."""
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
    """What a child, or several one after another, did to a directory."""

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
        """How the (last) child ended."""
        self.paths = tuple(sorted(str(directory / path) for path in follower.paths))
        """Every file that was made below the directory."""
        self.unseen = follower.unseen(directory)
        """Files that also changed in ways that cannot be followed, by shared mappings for example: what
        the states hold of them is not to be trusted."""
        self.calls: Counter[str] = Counter()
        """How often the thread that made most of them made each call of files below the directory."""
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
        """The files that were mapped to be written, by the paths that they had when they were mapped and at the end."""
        self.story_steps: int | None = STORY_STEPS
        """How many steps before the cut a state tells; None: all of them."""
        self._start = start
        self._since = since
        self._end = follower.tree

    @property
    def marks(self) -> tuple[str, ...]:
        return tuple(event.text for event in self.events if isinstance(event, Mark))

    def syncs_between(self, first: str, second: str, *, directories: bool = False) -> int:
        """How many syncs of files returned between two marks; of directories, too, if asked.

        Raises:
            ValueError: the marks were not said, in this order.
        """
        marks = [(index, h.text) for index, h in enumerate(self.events) if isinstance(h, Mark)]
        begin = next((index for index, text in marks if text == first), None)
        end = next((index for index, text in marks if text == second and begin is not None and index > begin), None)
        if begin is None or end is None:
            raise ValueError(f"{first!r} and {second!r} were not both said, in this order")
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
        """``count`` different states; fewer if no more are found in six times as many tries.

        They come in rounds over all moments, so that the first few are as good a sample as the rest.
        Of a recording that went on after another one, the moments are those of the last run.

        Args:
            since: a mark; only moments after it was said.
            until: a mark; only moments before it was said.
            names_follow_syncs: the kinder rule for names, see ``disk``.

        Raises:
            ValueError: such a mark was not said.
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
        """What is left if the power goes right after the first such mark: nothing that was not synced.

        Raises:
            ValueError: the mark was not said.
        """
        return self._nothing_left(self._said(mark) + 1)

    def at_rest(self) -> PowerCutState:
        """What is left if the power goes after the last step, and nothing that was not synced.

        Files that were mapped to be written are as they stood in memory at the end: what a sync made durable of them
        cannot be followed, and this is the most that it can be.
        """
        state = self._nothing_left(len(self.events))
        left = [replace(file, content=self._mapped.get(file.inode, file.content)) for file in state.left]
        return replace(state, left=tuple(left))

    def without_trust(self, state: PowerCutState, paths: Collection[str]) -> list[PowerCutState]:
        """Return ``state`` with other bytes in the mapped files ``paths``: those at the end, and no file.

        What is wrong in all of them does not hang on what strace did not see of these files.
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
        """Return where the file that was mapped as ``path`` stands at the end; None: it is gone."""
        inode = self.mapped.get(path)
        return next((now for now, known in self._end.paths().items() if known == inode), None)

    def _nothing_left(self, moment: int) -> PowerCutState:
        (state,) = self._sweep({moment: [Survivors.NOTHING]}, random.Random(0), names_follow_syncs=False)
        return state

    def _weights(self, since: str | None, until: str | None) -> list[float]:
        """How often to cut at each moment."""
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
        if since is None and before > (limit := 0.2 * sum(weights)):  # opening a store is a small part of its life
            weights[:marked] = [weight * limit / before for weight in weights[:marked]]
        return weights

    def _torn_weights(self, since: str | None, until: str | None) -> list[float]:
        """How often to leave a hole at each moment: before each sync of a batch, the more often the more it writes."""
        weights, allowed, unsynced = [0.0] * (len(self.events) + 1), self._weights(since, until), Counter[int]()
        under_way = True  # also while the store is opened, and in a recording that says nothing of batches
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
        raise ValueError(f"{mark!r} was not said")

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
                story = (*steps, f"the power goes; left: {survivors.value}", *(f"  {word}" for word in words))
                yield PowerCutState(
                    moment, latest.get("ack"), latest.get("offer"), tuple(marks), tuple(left), story, first
                )


def _plans(
    weights: Sequence[float], count: int, chance: random.Random, shares: Mapping[Survivors, float]
) -> Iterator[dict[int, list[Survivors]]]:
    """At which moments to cut, and which changes survive each cut, round by round."""
    reached = list(accumulate(weights))
    if not reached or not reached[-1]:
        return
    # Spread evenly, so that a count as large as the number of moments leaves none out.
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

    What stands in ``directory`` is taken to be durable, unless ``after`` is the recording of the run
    before: then this one goes on where that ended, with all that was not synced still not synced (a
    process was killed, the machine was not). A ``fault`` strikes whatever file a call means; faults of
    ``write`` would strike the marks, too, and are ``inject``'s.

    Raises:
        RuntimeError: nothing can be traced here, see ``trace_available``.
        subprocess.TimeoutExpired: the child took longer than ``timeout_s``, and was killed.
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
