"""A directory in memory for clusters whose tests must not depend on the speed of a disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def ram(tmp_path: Path) -> Iterator[Path]:
    """Yield a directory in which syncs are always fast; ``tmp_path`` on systems without ``/dev/shm``.

    A leader whose write takes two election time-outs rightly steps down. So a test may assert that the leader
    stays under load only if no write can take that long.
    """
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory)
