"""Shared by all tests: how many processes run them, where child processes keep compiled code, a directory in memory.

A plain ``pytest`` uses two processes, because half of the tests mostly wait for a cluster. Tests that you name run in
one process, where a debugger can reach them.

The tests start hundreds of child processes, each of which would compile the whole package again. So they share one
directory of compiled code, even if the environment forbids writing it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_FORBIDS = "PYTHONDONTWRITEBYTECODE"
_PLACE = "PYTHONPYCACHEPREFIX"
_KEPT: list[str] = []
_WORKERS = 2


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    is_worker = hasattr(config, "workerinput")  # this hook runs in the worker processes too
    is_plain = config.args_source is pytest.Config.ArgsSource.TESTPATHS and not config.option.usepdb
    if is_plain and not is_worker and getattr(config.option, "numprocesses", 0) is None:
        config.option.numprocesses = _WORKERS


@pytest.fixture
def ram(tmp_path: Path) -> Iterator[Path]:
    """Yield a directory in memory where the system has one, so that syncs are cheap and never slow.

    Some tests open a store hundreds of times. Others assert which node leads under load, and a leader
    steps down if one of its writes takes two election time-outs.
    """
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory)


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.pop(_FORBIDS, "") and _PLACE not in os.environ:
        _KEPT.append(tempfile.mkdtemp(prefix="paxospp-pycache-"))
        os.environ[_PLACE] = _KEPT[0]


def pytest_unconfigure(config: pytest.Config) -> None:
    while _KEPT:
        shutil.rmtree(_KEPT.pop(), ignore_errors=True)
        os.environ.pop(_PLACE, None)
        os.environ[_FORBIDS] = "1"
