"""How the cases get at the store: by URL, as a node does, here and in other processes.

Owns places (a fresh directory for each), opening, the steps that a failing case tells, and the counts
that the verdict table shows. It looks inside no store: what a clause says is checked through
the six methods and through the files in the store's directory.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import pytest

from paxospp.errors import ConfigError
from paxospp.model import NodeId
from paxospp.plugins import PluginRegistry
from paxospp.storage.contract import DurableState, Storage
from paxospp.storage.url import TMP, expand_url
from paxospp.testing.power_cut.strace import ram_directory
from paxospp.testing.storage_suite.checks import (
    WRONG_WITHOUT_FAULTS,
    BrokenClause,
    ClausesBroken,
    counted,
    not_applicable,
    not_checked,
)
from paxospp.testing.storage_suite.kinds import wrong_kind_of_pairs
from paxospp.testing.storage_suite.store_judge import after_crash
from paxospp.testing.storage_suite.stream import LIVES, Stream
from paxospp.testing.storage_suite.witness import STEPS_MAX, Steps, Witness
from paxospp.testing.storage_suite.words import told
from paxospp.testing.storage_suite.worker_pool import Zygote

NAME = NodeId("n1")
KINDS_CASE = "test_keys_and_values_come_back_byte_for_byte"
_ZYGOTES = pytest.StashKey[dict[str, Zygote]]()  # kept with the class, for starting one takes a fifth of a second
_KINDS = pytest.StashKey[dict[str, str | None]]()
_RIGHT = pytest.StashKey[dict[str, dict[tuple[int, bool], str | None]]]()
VOLATILE = "volatile: nothing of this store outlives its process, and it says so"


@lru_cache(maxsize=8)
def registry_of(plugins: Sequence[str]) -> PluginRegistry:
    """The plug-ins that the cases see; looked for once for each set."""
    return PluginRegistry(plugins)


def place_url(url: str, directory: Path) -> str:
    """``url`` with its place below ``directory``."""
    return expand_url(url, tmp=str(directory), name=NAME)


class SuiteBase:
    """What a class that inherits the suite says about its store, and what every case works with."""

    storage_url: ClassVar[str] = ""
    """Where to open the store; ``{tmp}`` stands for a fresh directory: ``mystore:{tmp}``."""

    more_urls: ClassVar[Sequence[str]] = ()
    """The same storage with other settings, of which each goes through all the cases too: thresholds so small that
    logs rotate and compact within a few batches."""

    plugins: ClassVar[Sequence[str]] = ()
    """Plug-ins to load beside the installed ones, as for ``--plugin``: modules or files."""

    quick: ClassVar[bool] = False
    """True: a tenth of the kills, cuts and flips, below the floors; to try while you write, not to prove."""

    # What follows is not for overriding.

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run each case with each URL; pytest calls it by its name."""
        if self.more_urls and "_paxospp_case" in metafunc.fixturenames:
            metafunc.parametrize("_paxospp_case", [self.storage_url, *self.more_urls], indirect=True)

    @pytest.fixture(autouse=True)
    def _paxospp_case(self, request: pytest.FixtureRequest) -> Iterator[None]:
        self.url = (
            getattr(request, "param", None)
            or self.storage_url
            or request.config.getoption("--paxospp-storage", default=None)
            or ""
        )
        if not self.url:
            raise ConfigError(
                "which store? Set storage_url in the class, or give --paxospp-storage='scheme:{tmp}' to pytest"
            )
        self.loaded_plugins = tuple(self.plugins or request.config.getoption("--paxospp-plugin", default=None) or ())
        self._node = request.node
        self.steps = Steps(None if self.all_steps else STEPS_MAX)
        self._opened: list[Witness] = []
        self._directory = Path(tempfile.mkdtemp(prefix="paxospp-kit-", dir=ram_directory()))
        self._places = itertools.count(1)  # threads ask for places, too
        self.path = self.new_place()
        self._volatile: bool | None = None
        self.unseen: set[str] = set()
        self.unclear: set[str] = set()
        self.excused = 0
        self.confirmed = False
        if request.node.originalname != KINDS_CASE and (wrong := self._wrong_kind_of_pairs()) is not None:
            not_checked(f"{wrong}; see C7, which has to be mended first")
        yield
        for storage in self._opened:
            storage.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _wrong_kind_of_pairs(self) -> str | None:
        """What the methods of a ``KeyValueStorage`` return that is not bytes: all other cases would stumble over it."""
        suite = self._node.getparent(pytest.Class)
        assert suite is not None
        known: dict[str, str | None] = suite.stash.setdefault(_KINDS, {})
        if self.url not in known:
            known[self.url] = None
            with suppress(Exception):  # whatever it is, the cases will tell it better
                storage = registry_of(self.loaded_plugins).storage(self.url_of(self.new_place()), NAME)()
                try:
                    known[self.url] = wrong_kind_of_pairs(storage)
                finally:
                    storage.close()
        return known[self.url]

    # Places

    def new_place(self) -> Path:
        """A directory that nothing was ever stored in; it is not made yet."""
        return self._directory / str(next(self._places)) / "store"

    def drop(self, place: Path) -> None:
        """Remove a place that is not needed any more."""
        shutil.rmtree(place.parent, ignore_errors=True)

    def url_of(self, path: Path) -> str:
        return place_url(self.url, path)

    def require(self, clause: str, what: str, is_: object, wanted: object) -> None:
        """Break ``clause`` unless the two are equal."""
        if is_ != wanted:
            steps, left_out = tuple(self.steps.told()), self.steps.left_out
            raise ClausesBroken([BrokenClause(clause, steps, f"{what} {told(wanted)}", told(is_), left_out)])

    # Opening here

    def open(self, path: Path, url: str | None = None) -> Witness:
        url = self.url_of(path) if url is None else url
        path.parent.mkdir(parents=True, exist_ok=True)
        self.steps.add("open {}", url)
        try:
            storage = Witness(registry_of(self.loaded_plugins).storage(url, NAME)(), self.steps)
        except BaseException as error:
            self.steps.add("  … raises {}", error)
            raise
        self._opened.append(storage)
        return storage

    def load(self, path: Path) -> tuple[Witness, DurableState]:
        storage = self.open(path)
        return storage, storage.load()

    def fresh(self, path: Path) -> Witness:
        return self.load(path)[0]

    def reopened(self, storage: Storage, path: Path) -> tuple[Witness, DurableState]:
        """Close it, open it again and load; ends the case if nothing can be left to load."""
        self.only_if_durable()
        storage.close()
        return self.load(path)

    # Other processes

    @property
    def zygote(self) -> Zygote:
        """Starts processes that open the store."""
        suite = self._node.getparent(pytest.Class)
        assert suite is not None
        zygotes: dict[str, Zygote] = suite.stash.setdefault(_ZYGOTES, {})
        if self.url not in zygotes:
            url = place_url(self.url, self._directory / "nowhere")
            zygotes[self.url] = zygote = Zygote(url, self.loaded_plugins)
            suite.addfinalizer(zygote.close)
        return zygotes[self.url]

    # What can be checked

    @property
    def volatile(self) -> bool:
        """Whether the store says that it forgets everything with its process."""
        if self._volatile is None:
            storage = registry_of(self.loaded_plugins).storage(self.url_of(self.new_place()), NAME)()
            try:
                storage.load()
                self._volatile = not storage.durable
            finally:
                storage.close()
        return self._volatile

    def only_if_durable(self) -> None:
        if self.volatile:
            self._node.user_properties.append(("paxospp-volatile", True))
            not_checked(VOLATILE)

    def only_with_a_directory(self) -> None:
        """End the case unless the store lives in the directory that the URL names."""
        self.only_if_durable()
        if TMP not in self.url:
            not_checked("the URL names no directory ({tmp}), so nobody knows which files are the store's")

    def only_if_right_without_faults(self, seed: int, cutting: bool, batches: int) -> None:
        """End the case if the store is wrong even when nothing happens to it: what a crash adds could not be told.

        The history of the same stream fails then, and names the clause.
        """
        known = self._known_right()
        if (seed, cutting) not in known:
            known[seed, cutting] = self._is_right(seed, cutting, batches)
        if (wrong := known[seed, cutting]) is not None:
            not_checked(f"{WRONG_WITHOUT_FAULTS}{wrong}")

    def note_right_without_faults(self, seed: int, cutting: bool) -> None:
        """The history of this stream was right, so no other case need try it."""
        self._known_right().setdefault((seed, cutting), None)

    def _known_right(self) -> dict[tuple[int, bool], str | None]:
        suite = self._node.getparent(pytest.Class)
        assert suite is not None
        known: dict[tuple[int, bool], str | None] = suite.stash.setdefault(_RIGHT, {}).setdefault(self.url, {})
        return known

    def _is_right(self, seed: int, cutting: bool, batches: int) -> str | None:
        place, stream = self.new_place(), Stream(seed, cutting=cutting)
        place.parent.mkdir(parents=True)
        stop = 1
        for life in itertools.cycle(LIVES):
            if stop > batches:
                break
            first, stop = stop, stop + life
            with self.zygote.worker() as worker:
                raised = worker.open(self.url_of(place)) or worker.load().refused
                if raised is not None:
                    return f"after {first - 1} batches it cannot be opened: {raised}"
                worker.begin("stream", seed, cutting, first, stop)
                while isinstance(answer := worker.answer(), int):
                    pass
                if answer is not None:
                    return f"of batches {first} to {stop - 1} of stream {seed} one raises {answer}"
                if (raised := worker.close()) is not None:
                    return f"close raises {raised}"
                complaint, _ = after_crash(worker.look(self.url_of(place)), stream, stop - 1, stop - 1)
                if complaint is not None:
                    return f"after batch {stop - 1} of stream {seed} and a clean close, {complaint.found}"
        self.drop(place)
        return None

    # How much

    def some(self, number: int) -> int:
        """``number``, or a tenth of it for a quick look."""
        return -(-number // 10) if self.is_quick else number

    @property
    def is_quick(self) -> bool:
        return bool(self.quick or self._node.config.getoption("--paxospp-quick", default=False))

    @property
    def all_steps(self) -> bool:
        """Whether a failing case tells every step, instead of the last ones."""
        return bool(self._node.config.getoption("--paxospp-all-steps", default=False))

    def not_when_quick(self) -> None:
        """End a case of which another one tells nearly as much, if there is little time."""
        if self.is_quick:
            not_applicable("left out of a quick look")

    def count(self, what: str, number: int) -> None:
        """Tell the verdict table how many of ``what`` were tried."""
        counted(self._node, what, number)
