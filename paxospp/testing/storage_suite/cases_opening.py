"""C9: only one handle at a time may hold a store, in this process or any other; and what opening may change."""

from __future__ import annotations

from paxospp.errors import ConfigError, LockedError
from paxospp.storage.contract import DurableState
from paxospp.testing.storage_suite.base import SuiteBase
from paxospp.testing.storage_suite.checks import checks, not_checked, raises
from paxospp.testing.storage_suite.store_judge import after_crash
from paxospp.testing.storage_suite.stream import LEAVE_STREAM, Stream
from paxospp.testing.storage_suite.words import accepted
from paxospp.testing.storage_suite.worker_process import REFUSED


class OpeningCases(SuiteBase):
    @checks("C9")
    def test_a_store_that_was_opened_and_never_loaded_is_new(self) -> None:
        self.only_if_durable()
        self.open(self.path).close()

        assert self.load(self.path)[1] == DurableState()

    @checks("C9")
    def test_the_directories_are_nobody_elses_to_read(self) -> None:
        self.only_with_a_directory()
        path = self.path / "a" / "store"
        self.fresh(path)

        directories = [below for below in path.rglob("*") if below.is_dir()]
        assert [below for below in directories if below.stat().st_mode & 0o077] == [], (
            "directories that others may read"
        )

    @checks("C9")
    def test_an_option_it_does_not_know_is_refused(self) -> None:
        url = self.url_of(self.path)
        with raises(ConfigError, TypeError):
            self.open(self.path, f"{url}{'&' if '?' in url else '?'}no_such_option=1")

    @checks("C9")
    def test_a_second_opener_here_is_told_at_once(self) -> None:
        if self.volatile and "{tmp}" not in self.url:
            not_checked("the store is volatile and its URL has no {tmp}, so it cannot be opened a second time")
        storage = self.open(self.path)
        with raises(LockedError):
            self.open(self.path)
        storage.load()
        storage.persist(accepted(1))
        with raises(LockedError):
            self.open(self.path)

        storage.persist(accepted(2))
        _, state = self.reopened(storage, self.path)
        assert state.last == 2

    @checks("C9")
    def test_a_second_opener_by_another_name_is_told_at_once(self) -> None:
        self.only_with_a_directory()
        storage = self.fresh(self.path)
        with raises(LockedError):
            self.open(self.path / ".." / self.path.name)
        other = self.path.parent / "link"
        other.symlink_to(self.path)
        with raises(LockedError):
            self.open(other)

        storage.persist(accepted(1))
        assert self.reopened(storage, self.path)[1].last == 1

    @checks("C9")
    def test_who_closed_it_lets_the_next_one_in(self) -> None:
        for _ in range(3):
            storage = self.open(self.path)
            storage.close()
        storage = self.fresh(self.path)
        storage.persist(accepted(1))
        storage.close()
        self.fresh(self.path)

    @checks("C9")
    def test_a_second_opener_in_another_process_is_told_at_once(self) -> None:
        self.only_if_durable()
        storage = self.fresh(self.path)
        storage.persist(accepted(1))
        with self.zygote.worker() as worker:
            self.steps.add("open it in another process, too")
            raised = worker.open(self.url_of(self.path))
            assert raised is not None, "a second process could open the store"
            assert raised.locked, f"wanted LockedError, found {raised}"

        storage.persist(accepted(2))
        assert self.reopened(storage, self.path)[1].last == 2

    @checks("C9")
    def test_a_killed_holder_leaves_no_lock_behind(self) -> None:
        self.only_if_durable()
        self.path.parent.mkdir(parents=True)
        with self.zygote.worker() as worker:
            self.steps.add("open and load it in another process")
            assert worker.open(self.url_of(self.path)) is None
            assert worker.load().refused is None
            with raises(LockedError):
                self.open(self.path)
        self.steps.add("… which is killed with SIGKILL")

        self.fresh(self.path).persist(accepted(1))

    @checks("C9")
    def test_a_forked_child_may_not_write(self) -> None:
        """The child inherits the descriptors and the lock: only the store itself can keep it from writing."""
        self.only_if_durable()
        (seed, cutting), batches = LEAVE_STREAM, 60
        self.only_if_right_without_faults(seed, cutting, batches)
        self.path.parent.mkdir(parents=True)
        stream = Stream(seed, cutting=cutting)
        with self.zygote.worker() as worker:
            self.steps.add("open and load it in another process, persist batch 1, fork")
            assert worker.open(self.url_of(self.path)) is None
            assert worker.load().refused is None
            assert worker.persist(seed, cutting, 1) is None
            said = worker.fork(seed, cutting, 2)
            self.steps.add("in the child, persist batch 2 and close")
            self.require("C9", "in the child, persist is", said, REFUSED)
            self.steps.add("in the parent, persist batch 2 and close; open and load in a new process")
            self.require("C9", "in the parent, after that, persist raises", worker.persist(seed, cutting, 2), None)
            self.require("C9", "in the parent, close raises", worker.close(), None)
        with self.zygote.worker() as worker:
            complaint, _ = after_crash(worker.view(self.url_of(self.path)), stream, 2, 2)
        self.require("C9", "batch 2 of the parent is there:", complaint, None)

    @checks("C9")
    def test_a_process_that_was_refused_changed_nothing(self) -> None:
        self.only_if_durable()
        storage = self.fresh(self.path)
        for slot in range(1, 21):
            with self.zygote.worker() as worker:
                raised = worker.open(self.url_of(self.path))
                assert raised is not None
            storage.persist(accepted(slot))

        _, state = self.reopened(storage, self.path)

        assert state == DurableState(last=state.last)
        assert state.last == 20
