"""Shared by all tests: the number of processes that run them, a cache of compiled code, a directory in memory.

A plain ``pytest`` uses two processes, because half of the tests mostly wait for a cluster. If you name tests, they run
in one process, where a debugger can reach them.

The tests start hundreds of child processes, and each would compile the whole package again. They share one directory
of compiled code, even if the environment forbids writing any.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_FORBIDS_COMPILED = "PYTHONDONTWRITEBYTECODE"
_COMPILED_DIRECTORY = "PYTHONPYCACHEPREFIX"
_CREATED: list[str] = []
_WORKERS = 2


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    is_worker = hasattr(config, "workerinput")  # xdist calls this hook in its workers too
    is_plain = config.args_source is pytest.Config.ArgsSource.TESTPATHS and not config.option.usepdb
    if is_plain and not is_worker and getattr(config.option, "numprocesses", 0) is None:
        config.option.numprocesses = _WORKERS


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.pop(_FORBIDS_COMPILED, "") and _COMPILED_DIRECTORY not in os.environ:
        _CREATED.append(tempfile.mkdtemp(prefix="paxospp-pycache-"))
        os.environ[_COMPILED_DIRECTORY] = _CREATED[0]


def pytest_unconfigure(config: pytest.Config) -> None:
    while _CREATED:
        shutil.rmtree(_CREATED.pop(), ignore_errors=True)
        os.environ.pop(_COMPILED_DIRECTORY, None)
        os.environ[_FORBIDS_COMPILED] = "1"


@pytest.fixture
def ram(tmp_path: Path) -> Iterator[Path]:
    """Yield a directory in memory, where syncs are cheap and never slow; ``tmp_path`` on systems without ``/dev/shm``.

    Some tests open a store hundreds of times. Others assert that a leader stays under load, and a leader rightly
    steps down if one of its writes takes two election time-outs.
    """
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory)
