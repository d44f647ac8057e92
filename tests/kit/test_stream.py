"""The streams of batches are the same for every thread and every reader."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from paxospp.testing.storage_suite.stream import StorageModel, Stream, StreamStep


def test_two_threads_that_judge_by_one_stream_draw_each_batch_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn twice, a batch stood in two places, and a sound store seemed to hold values that no batch ever wrote."""
    alone, draw, together = Stream(31), Stream._next, threading.Barrier(2)
    expected = [alone.model(number) for number in range(20)]

    def slowly(stream: Stream, model: StorageModel, number: int) -> StreamStep:
        time.sleep(0.001)  # lets the other thread in
        return draw(stream, model, number)

    monkeypatch.setattr(Stream, "_next", slowly)
    shared = Stream(31)

    def read() -> list[StorageModel]:
        together.wait(10)
        return [shared.model(number) for number in range(20)]

    with ThreadPoolExecutor(2) as pool:
        found = [future.result() for future in [pool.submit(read), pool.submit(read)]]

    assert found == [expected, expected]
