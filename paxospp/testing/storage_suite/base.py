"""The base of all cases: they open the store by URL, as a node does, in this process and in others.

``SuiteBase`` owns the directories (a fresh one for each store), opening, the log of steps that a failing case reports,
and the counts of the verdict table. It never looks inside a store: clauses are checked through the six methods of
``Storage`` and through the files in the store's directory.
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
from paxospp.testing.storage_suite.step_log import STEPS_MAX, Steps, Witness
from paxospp.testing.storage_suite.store_judge import after_crash
from paxospp.testing.storage_suite.stream import LIVES, Stream
from paxospp.testing.storage_suite.words import told_apart
from paxospp.testing.storage_suite.worker_pool import Zygote

NAME = NodeId("n1")
KINDS_CASE = "test_keys_and_values_come_back_byte_for_byte"
_ZYGOTES = pytest.StashKey[dict[str, Zygote]]()  # one per class and URL: starting a zygote takes 0.2 s
_KINDS = pytest.StashKey[dict[str, str | None]]()
_RIGHT = pytest.StashKey[dict[str, dict[tuple[int, bool], str | None]]]()
VOLATILE = "the store is volatile: it declares that it keeps nothing once its process ends"


@lru_cache(maxsize=8)
def registry_of(plugins: Sequence[str]) -> PluginRegistry:
    """Return the registry with these plug-ins beside the installed ones."""
    return PluginRegistry(plugins)


def place_url(url: str, directory: Path) -> str:
    """Return ``url`` with ``{tmp}`` replaced by ``directory``."""
    return expand_url(url, tmp=str(directory), name=NAME)


class SuiteBase:
    """The settings of a class that inherits the suite, and the helpers of its cases."""

    storage_url: ClassVar[str] = ""
    """Where to open the store, such as ``mystore:{tmp}``; ``{tmp}`` stands for a fresh directory."""

    more_urls: ClassVar[Sequence[str]] = ()
    """More URLs of the same storage, each of which runs through all cases too: for example with thresholds so small
    that logs rotate and compact within a few batches."""

    plugins: ClassVar[Sequence[str]] = ()
    """Modules or files of plug-ins to load beside the installed ones, as for ``--plugin``."""

    quick: ClassVar[bool] = False
    """True: a tenth of the kills, power cuts and damage. For trying while you write; too few tries for a proof."""

    # Subclasses must not override what follows.

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run each case with each URL (a hook that pytest finds by its name)."""
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
                "no storage is named: set storage_url in the class, or give --paxospp-storage='scheme:{tmp}' to pytest"
            )
        self.loaded_plugins = tuple(self.plugins or request.config.getoption("--paxospp-plugin", default=None) or ())
        self._node = request.node
        self.steps = Steps(None if self.all_steps else STEPS_MAX)
        self._opened: list[Witness] = []
        self._directory = Path(tempfile.mkdtemp(prefix="paxospp-kit-", dir=ram_directory()))
        self._places = itertools.count(1)  # next() is atomic, and threads ask for places too
        self.path = self.new_place()
        self._volatile: bool | None = None
        self.unseen: set[str] = set()
        self.unclear: set[str] = set()
        self.excused = 0
        self.confirmed = False
        if request.node.originalname != KINDS_CASE and (wrong := self._wrong_kind_of_pairs()) is not None:
            not_checked(f"{wrong}; repair this first (C7)")
        yield
        for storage in self._opened:
            storage.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _wrong_kind_of_pairs(self) -> str | None:
        """Say what the methods of a ``KeyValueStorage`` return instead of bytes, which would break all other cases."""
        suite = self._node.getparent(pytest.Class)
        assert suite is not None
        known: dict[str, str | None] = suite.stash.setdefault(_KINDS, {})
        if self.url not in known:
            known[self.url] = None
            with suppress(Exception):  # the cases report it better
                storage = registry_of(self.loaded_plugins).storage(self.url_of(self.new_place()), NAME)()
                try:
                    known[self.url] = wrong_kind_of_pairs(storage)
                finally:
                    storage.close()
        return known[self.url]

    # Places

    def new_place(self) -> Path:
        """Return the path of a directory that was never used; it does not exist yet."""
        return self._directory / str(next(self._places)) / "store"

    def drop(self, place: Path) -> None:
        """Remove a directory of ``new_place`` that is no longer needed."""
        shutil.rmtree(place.parent, ignore_errors=True)

    def url_of(self, path: Path) -> str:
        return place_url(self.url, path)

    def require(self, clause: str, what: str, is_: object, wanted: object) -> None:
        """Report ``clause`` as broken unless ``is_`` equals ``wanted``; ``what`` begins the message."""
        if is_ != wanted:
            steps, left_out = tuple(self.steps.told()), self.steps.left_out
            due, found = told_apart(wanted, is_)
            raise ClausesBroken([BrokenClause(clause, steps, f"{what} {due}", found, left_out)])

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
        """Close ``storage``, open it again and load; end the case as not checked if the store is volatile."""
        self.only_if_durable()
        storage.close()
        return self.load(path)

    # Other processes

    @property
    def zygote(self) -> Zygote:
        """The process that forks workers for this URL; started on first use."""
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
        """Whether the store declares that it keeps nothing once its process ends."""
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
        """End the case as not checked unless the store keeps its files in the directory of the URL."""
        self.only_if_durable()
        if TMP not in self.url:
            not_checked("the URL has no {tmp}, so the kit cannot know which files belong to the store")

    def only_if_right_without_faults(self, seed: int, cutting: bool, batches: int) -> None:
        """End the case as not checked if the store fails this stream even without a crash.

        The effect of a crash could not be told apart then. ``HistoryCases`` runs the same stream and names the clause.
        """
        known = self._known_right()
        if (seed, cutting) not in known:
            known[seed, cutting] = self._is_right(seed, cutting, batches)
        if (wrong := known[seed, cutting]) is not None:
            not_checked(f"{WRONG_WITHOUT_FAULTS}{wrong}")

    def note_right_without_faults(self, seed: int, cutting: bool) -> None:
        """Remember that the store passed this stream without a crash, so that no other case tries it again."""
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
                    return f"after {first - 1} batches the store cannot be opened: {raised}"
                worker.begin("stream", seed, cutting, first, stop)
                while isinstance(answer := worker.answer(), int):
                    pass
                if answer is not None:
                    return f"one of the batches {first} to {stop - 1} of stream {seed} raises {answer}"
                if (raised := worker.close()) is not None:
                    return f"close raises {raised}"
                complaint, _ = after_crash(worker.view(self.url_of(place)), stream, stop - 1, stop - 1)
                if complaint is not None:
                    return f"after batch {stop - 1} of stream {seed} and a clean close, {complaint.found}"
        self.drop(place)
        return None

    # How much

    def some(self, number: int) -> int:
        """Return ``number``, or a tenth of it in a quick run."""
        return -(-number // 10) if self.is_quick else number

    @property
    def is_quick(self) -> bool:
        return bool(self.quick or self._node.config.getoption("--paxospp-quick", default=False))

    @property
    def all_steps(self) -> bool:
        """Whether a failing case reports every step, not only the last ones."""
        return bool(self._node.config.getoption("--paxospp-all-steps", default=False))

    def not_when_quick(self) -> None:
        """Leave the case out of a quick run: another one finds nearly as much."""
        if self.is_quick:
            not_applicable("the case is left out of a quick run")

    def count(self, what: str, number: int) -> None:
        """Add ``number`` tries of ``what`` to the verdict table."""
        counted(self._node, what, number)
