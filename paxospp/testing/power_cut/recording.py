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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from paxospp.testing.power_cut.disk import Disk
from paxospp.testing.power_cut.drawing import Left, Way, draw
from paxospp.testing.power_cut.following import CALLS, Follower
from paxospp.testing.power_cut.happenings import Happening, Kind, Mark, Rename, Sync
from paxospp.testing.power_cut.marks import numbered
from paxospp.testing.power_cut.strace import Ended, Fault, traced
from paxospp.testing.power_cut.world import World

STORY_STEPS = 16
"""How many steps before the cut a failing case tells."""
ROUNDS = 8


@dataclass(slots=True, frozen=True)
class PowerCutState:
    """What stands in the directory after one power cut, and what has to be in it."""

    moment: int
    """After how many happenings of the recording the power went."""
    acknowledged: int | None
    """The last batch that was certainly persisted by then; None: none was."""
    offered: int | None
    """The last batch that may have been; those between the two are under way."""
    marks: tuple[str, ...]
    """All that was said by then."""
    left: tuple[Left, ...]
    story: tuple[str, ...]
    """The last steps before the cut and what became of what was not synced, in words."""

    def write_to(self, directory: Path) -> None:
        """Make ``directory`` what the power cut left of the one that was recorded."""
        if directory.exists():
            shutil.rmtree(directory)
        directory.mkdir(mode=0o700, parents=True)
        base, written = f"{directory}/", dict[int, str]()
        for left in self.left:
            path = base + left.path
            if left.kind is Kind.DIRECTORY:
                os.mkdir(path, 0o700)
            elif left.kind is Kind.LINK:
                os.symlink(left.content, path)
            elif left.inode in written:
                os.link(written[left.inode], path)
            else:
                written[left.inode] = path
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                try:
                    content = memoryview(left.content)
                    while content:
                        content = content[os.write(descriptor, content) :]
                finally:
                    os.close(descriptor)


class Recording:
    """What a child, or several one after another, did to a directory."""

    def __init__(
        self,
        directory: Path,
        start: World,
        happenings: Sequence[Happening],
        follower: Follower,
        ended: Ended,
        since: int,
    ) -> None:
        self.directory = directory
        self.happenings = tuple(happenings)
        self.ended = ended
        """How the (last) child ended."""
        self.paths = tuple(sorted(str(directory / path) for path in follower.paths))
        """Every file that was made below the directory."""
        self.unseen = follower.unseen(directory)
        """Files that also changed in ways that cannot be followed, by shared mappings for example: what
        the states hold of them is not to be trusted."""
        self._start = start
        self._since = since
        self._end = follower.world

    @property
    def marks(self) -> tuple[str, ...]:
        return tuple(happening.text for happening in self.happenings if isinstance(happening, Mark))

    def syncs_between(self, first: str, second: str, *, directories: bool = False) -> int:
        """How many syncs of files returned between two marks; of directories, too, if asked.

        Raises:
            ValueError: the marks were not said, in this order.
        """
        marks = [(index, h.text) for index, h in enumerate(self.happenings) if isinstance(h, Mark)]
        begin = next((index for index, text in marks if text == first), None)
        end = next((index for index, text in marks if text == second and begin is not None and index > begin), None)
        if begin is None or end is None:
            raise ValueError(f"{first!r} and {second!r} were not both said, in this order")
        kinds = {Kind.FILE, Kind.DIRECTORY} if directories else {Kind.FILE}
        return sum(
            h.inode is None or self._end.inodes[h.inode].kind in kinds
            for h in self.happenings[begin:end]
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
        weights = self._weights(since, until)
        seen: set[int] = set()
        left = count
        for _ in range(6):
            found = 0
            for plan in _plans(weights, left, chance):
                for state in self._sweep(plan, chance, names_follow_syncs):
                    key = hash((state.acknowledged, state.offered, state.left))
                    if key not in seen:
                        seen.add(key)
                        found += 1
                        yield state
            left -= found
            if left <= 0 or not found:
                return

    def _weights(self, since: str | None, until: str | None) -> list[float]:
        """How often to cut at each moment."""
        weights = [1.0] * (len(self.happenings) + 1)
        for index, happening in enumerate(self.happenings):
            if isinstance(happening, Mark | Sync | Rename):
                weights[index] += 3
                weights[index + 1] += 3
        first = self._since if since is None else self._said(since) + 1
        weights[:first] = [0.0] * first
        if until is not None:
            last = self._said(until)
            weights[last + 1 :] = [0.0] * (len(weights) - last - 1)
        marked = next((i for i, h in enumerate(self.happenings) if isinstance(h, Mark) and i >= first), first)
        before = sum(weights[:marked])
        if since is None and before > (limit := 0.2 * sum(weights)):  # opening a store is a small part of its life
            weights[:marked] = [weight * limit / before for weight in weights[:marked]]
        return weights

    def _said(self, mark: str) -> int:
        for index, happening in enumerate(self.happenings):
            if index >= self._since and isinstance(happening, Mark) and happening.text == mark:
                return index
        raise ValueError(f"{mark!r} was not said")

    def _sweep(
        self, plan: Mapping[int, Sequence[Way]], chance: random.Random, names_follow_syncs: bool
    ) -> Iterator[PowerCutState]:
        disk = Disk(self._end.inodes, names_follow_syncs=names_follow_syncs)
        disk.start({inode: bytes(c) for inode, c in self._start.contents.items()}, self._start.names)
        marks: list[str] = []
        latest: dict[str, int] = {}
        for moment in range(max(plan, default=-1) + 1):
            if moment:
                happening = self.happenings[moment - 1]
                disk.apply(moment - 1, happening)
                if isinstance(happening, Mark):
                    marks.append(happening.text)
                    if (said := numbered(happening.text)) is not None:
                        latest[said[0]] = said[1]
            for way in plan.get(moment, ()):
                left, words = draw(disk, way, chance)
                story = (*self._steps(moment), f"the power goes; left: {way.value}", *words)
                yield PowerCutState(moment, latest.get("ack"), latest.get("offer"), tuple(marks), tuple(left), story)

    def _steps(self, moment: int) -> list[str]:
        earlier = [str(happening) for happening in self.happenings[max(moment - STORY_STEPS, 0) : moment]]
        return [f"... {moment - len(earlier)} steps", *earlier] if moment > len(earlier) else earlier


def _plans(weights: Sequence[float], count: int, chance: random.Random) -> Iterator[dict[int, list[Way]]]:
    """At which moments to cut, and in which ways; round by round."""
    reached = list(accumulate(weights))
    if not reached or not reached[-1]:
        return
    # Spread evenly, so that a count as large as the number of moments leaves none out.
    cuts = [bisect_right(reached, (number + chance.random()) / count * reached[-1]) for number in range(count)]
    ways = chance.choices(list(_SHARES), list(_SHARES.values()), k=count)
    chance.shuffle(cuts)
    rounds = min(ROUNDS, count)
    for start in range(rounds):
        plan: dict[int, list[Way]] = {}
        for moment, way in zip(cuts[start::rounds], ways[start::rounds], strict=True):
            plan.setdefault(min(moment, len(weights) - 1), []).append(way)
        yield plan


_SHARES = {
    Way.NOTHING: 0.25,
    Way.EVERYTHING: 0.05,
    Way.UP_TO: 0.15,
    Way.SOME_FILES: 0.15,
    Way.ALL_BUT_ONE: 0.1,
    Way.PIECES: 0.3,
}


def record(
    command: Sequence[str],
    directory: Path,
    *,
    after: Recording | None = None,
    fault: Fault | None = None,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 120.0,
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
    start = World.of(directory) if after is None else after._start
    world = start.copy() if after is None else after._end.copy()
    earlier = () if after is None else after.happenings
    with traced(command, calls=CALLS, fault=fault, environment=environment, timeout_s=timeout_s) as (
        ended,
        trace,
        marks,
    ):
        follower = Follower(str(directory), world, str(marks), os.getcwd(), len(earlier))
        if after is not None:
            follower.paths.update(os.path.relpath(path, directory) for path in after.paths)
            follower.blind.update(after.unseen)
        with open(trace, "rb") as lines:
            follower.follow(lines)
    return Recording(directory, start, (*earlier, *follower.happenings), follower, ended, len(earlier))
