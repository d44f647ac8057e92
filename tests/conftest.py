"""What all tests share: how many processes run them, and where their child processes keep compiled code.

A plain ``pytest`` runs them in two processes, because half of them mostly wait for a cluster. If you name tests, they
run in one, where a debugger can reach them.

The tests start hundreds of processes, and each would compile the whole package again. So they share one place for
compiled code, even if the environment forbids writing any.
"""

from __future__ import annotations

import os
import shutil
import tempfile

import pytest

_FORBIDS = "PYTHONDONTWRITEBYTECODE"
_PLACE = "PYTHONPYCACHEPREFIX"
_KEPT: list[str] = []
_WORKERS = 2


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    is_worker = hasattr(config, "workerinput")  # which is asked this as well
    is_plain = config.args_source is pytest.Config.ArgsSource.TESTPATHS and not config.option.usepdb
    if is_plain and not is_worker and getattr(config.option, "numprocesses", 0) is None:
        config.option.numprocesses = _WORKERS


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.pop(_FORBIDS, "") and _PLACE not in os.environ:
        _KEPT.append(tempfile.mkdtemp(prefix="paxospp-pycache-"))
        os.environ[_PLACE] = _KEPT[0]


def pytest_unconfigure(config: pytest.Config) -> None:
    while _KEPT:
        shutil.rmtree(_KEPT.pop(), ignore_errors=True)
        os.environ.pop(_PLACE, None)
        os.environ[_FORBIDS] = "1"
