"""A place for clusters that must not be judged by the disk of this machine."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def ram(tmp_path: Path) -> Iterator[Path]:
    """Where a sync is never long, where there is such a place.

    A leader whose write takes two election time-outs steps down, and rightly so; which leader leads
    under load can be asserted only where no disk has its moments.
    """
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory)
