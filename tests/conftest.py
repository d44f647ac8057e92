"""Processes that tests start share one place for compiled code, also where the environment forbids to write any.

Hundreds of them are started, and each would compile the whole package anew.
"""

from __future__ import annotations

import os
import shutil
import tempfile

import pytest

_FORBIDS = "PYTHONDONTWRITEBYTECODE"
_PLACE = "PYTHONPYCACHEPREFIX"
_KEPT: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.pop(_FORBIDS, "") and _PLACE not in os.environ:
        _KEPT.append(tempfile.mkdtemp(prefix="paxospp-pycache-"))
        os.environ[_PLACE] = _KEPT[0]


def pytest_unconfigure(config: pytest.Config) -> None:
    while _KEPT:
        shutil.rmtree(_KEPT.pop(), ignore_errors=True)
        os.environ.pop(_PLACE, None)
        os.environ[_FORBIDS] = "1"
