"""What all tests share: the number of processes that run them, and a cache of compiled code for child processes.

A plain ``pytest`` uses two processes, because half of the tests mostly wait for a cluster. If you name tests, they run
in one process, where a debugger can reach them.

The tests start hundreds of child processes, and each would compile the whole package again. They share one directory
of compiled code, even if the environment forbids writing any.
"""

from __future__ import annotations

import os
import shutil
import tempfile

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
