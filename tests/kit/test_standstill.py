"""A case that hangs is ended; a case that is merely slow is not."""

from __future__ import annotations

import signal
import time

import pytest

from paxospp.testing.storage_suite.standstill import ProgressCounter, ends_if_it_hangs


def test_a_case_in_which_nothing_comes_to_an_end_is_ended() -> None:
    with pytest.raises(TimeoutError, match=r"for 0\.1 s: the store hangs"), ends_if_it_hangs(ProgressCounter(), 0.1):
        time.sleep(60)


def test_a_case_that_takes_long_and_gets_on_is_not_ended() -> None:
    progress = ProgressCounter()
    with ends_if_it_hangs(progress, 100):
        for _ in range(3):
            progress.note()
            signal.raise_signal(signal.SIGALRM)  # as when a hundred seconds are over
        with pytest.raises(TimeoutError):
            signal.raise_signal(signal.SIGALRM)


def test_the_limit_of_a_case_ends_with_it_and_the_one_around_it_goes_on() -> None:
    progress = ProgressCounter()
    with ends_if_it_hangs(progress, 100):
        with ends_if_it_hangs(progress, 10):
            progress.note()
        left, interval = signal.getitimer(signal.ITIMER_REAL)
        assert 50 < left <= 100
        assert interval == 100
