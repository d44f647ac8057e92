"""The scripts that run under strace: short runs of a store that report their progress by marks.

They are started as ``python -m paxospp.testing.storage_suite.worker_process live …``. A batch is marked ``offer``
before it is persisted, and ``ack`` once it must survive power loss: when ``persist`` of a synced batch returned, or
when ``load`` returned a state that includes it. Further results go to standard output as JSON lines.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from paxospp.errors import StorageError
from paxospp.plugins import PluginRegistry
from paxospp.storage.contract import Storage
from paxospp.storage.key_value import KeyValueStorage
from paxospp.testing.power_cut import acknowledge, mark, offer
from paxospp.testing.storage_suite.key_value_pairs import PREFIX, STOP, Pairs
from paxospp.testing.storage_suite.kinds import named
from paxospp.testing.storage_suite.store_judge import after_crash
from paxospp.testing.storage_suite.store_view import ExceptionReport, StoreView, view_of
from paxospp.testing.storage_suite.stream import Stream

IDLE_S = 0.12
"""A pause, in seconds, that is long enough for an idle store to sync its anchor."""


def script_live(url: str, plugins: str, seed: str, cutting: str, lives: str) -> None:
    """Open, write and close one store several times in one process."""
    opener = PluginRegistry(json.loads(plugins)).storage(url)
    stream, number = Stream(int(seed), cutting=cutting == "1"), 0
    for life in json.loads(lives):
        storage = opener()
        number = _load(storage, stream, number)
        for _ in range(life):
            number += 1
            _persist(storage, stream, number)
            if number % 9 == 0:
                time.sleep(IDLE_S)
        storage.close()
        acknowledge(number)
    mark("over")


def script_die(url: str, plugins: str, seed: str, cutting: str, first: str, stop: str) -> None:
    """Write some batches and end by SIGKILL, if an injected fault did not kill the process before."""
    storage = PluginRegistry(json.loads(plugins)).storage(url)()
    stream = Stream(int(seed), cutting=cutting == "1")
    _load(storage, stream, int(first) - 1)
    for number in range(int(first), int(stop)):
        _persist(storage, stream, number)
    os.kill(os.getpid(), signal.SIGKILL)


def script_load(url: str, plugins: str, seed: str, cutting: str, lowest: str, highest: str) -> None:
    """Open and load, print what was found, and end without a close, as for a power cut right after ``load``."""
    stream = Stream(int(seed), cutting=cutting == "1")
    try:
        storage = PluginRegistry(json.loads(plugins)).storage(url)()
        state = storage.load()
    except Exception as error:
        view = StoreView(ExceptionReport.of(error))
    else:
        mark("loaded")
        view = view_of(storage, state)
    verdict = after_crash(view, stream, int(lowest), int(highest))
    _say({"number": verdict.number, "complaint": verdict.complaint})
    os.kill(os.getpid(), signal.SIGKILL)


def script_fail(url: str, plugins: str, seed: str, cutting: str, first: str, stop: str) -> None:
    """Persist until a call fails, then try to go on, then close; print the result of each step."""
    stream = Stream(int(seed), cutting=cutting == "1")
    opener = PluginRegistry(json.loads(plugins)).storage(url)
    try:
        storage = opener()
        storage.load()
    except Exception as error:
        _say({"opening": url, "error": str(ExceptionReport.of(error))})
        return
    for number in range(int(first), int(stop)):
        step = stream.step(number)
        try:
            step.stage(storage)
        except Exception as error:
            _say({"staging": number, "error": str(ExceptionReport.of(error))})
            break
        offer(number)
        try:
            storage.persist(step.batch)
        except Exception as error:
            mark("failed")
            _say({"failed": number, "error": str(ExceptionReport.of(error))})
            _try_to_go_on(storage, stream, number)
            break
        if step.synced:
            acknowledge(number)
        _say({"returned": number})
    try:
        storage.close()
    except Exception as error:
        _say({"closing": url, "error": str(ExceptionReport.of(error))})
    mark("closed")


def script_pairs(url: str, plugins: str, seed: str, cutting: str, stop: str) -> None:
    """Write pairs beside the log of a ``KeyValueStorage`` through its ``write`` alone, and end by SIGKILL."""
    storage, pairs = _loaded_pairs(url, plugins), Pairs(int(seed))
    mark("begin")
    for number in range(1, int(stop)):
        write = pairs.write(number)
        offer(number)
        storage.write(write.delete_ranges, write.puts, write.sync)
        if write.sync:
            acknowledge(number)
        else:
            mark(f"returned {number}")
    mark("over")
    os.kill(os.getpid(), signal.SIGKILL)


def script_scan(url: str, plugins: str, seed: str, cutting: str) -> None:
    """Load, scan the pairs that ``StoreWorker.do_fill`` wrote, and print how the scan ended."""
    storage, count = _loaded_pairs(url, plugins), 0
    mark("loaded")
    try:
        for _ in storage.scan(PREFIX, STOP):
            count += 1
    except Exception as error:
        _say({"pairs": count, "raised": str(ExceptionReport.of(error))})
    else:
        _say({"pairs": count, "raised": None})
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def _loaded_pairs(url: str, plugins: str) -> KeyValueStorage:
    storage = PluginRegistry(json.loads(plugins)).storage(url)()
    assert isinstance(storage, KeyValueStorage)
    storage.load()
    return storage


def _try_to_go_on(storage: Storage, stream: Stream, failed: int) -> None:
    for number in (failed, failed + 1):
        batch = stream.step(number).batch
        try:
            storage.persist(batch)
        except Exception as error:
            _say({"refused": number, "kind": named(type(error)), "right": isinstance(error, StorageError)})
        else:
            _say({"went on": number})


def _load(storage: Storage, stream: Stream, number: int) -> int:
    storage.load()
    acknowledge(number)
    return number


def _persist(storage: Storage, stream: Stream, number: int) -> None:
    step = stream.step(number)
    step.stage(storage)
    offer(number)
    storage.persist(step.batch)
    if step.synced:
        acknowledge(number)
    else:
        mark(f"returned {number}")


def _say(fields: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def said(output: str) -> Sequence[dict[str, object]]:
    """Parse the JSON lines of a script out of everything that its process printed."""
    lines = [line for line in output.splitlines() if line.startswith("{")]
    return [json.loads(line) for line in lines]


SCRIPTS: Mapping[str, Callable[..., None]] = {
    "live": script_live,
    "die": script_die,
    "load": script_load,
    "fail": script_fail,
    "pairs": script_pairs,
    "scan": script_scan,
}
"""Each script under the name that ``worker_process`` takes as its first argument."""
