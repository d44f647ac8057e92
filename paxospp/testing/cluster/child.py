"""The main program of a node's process: ``paxospp``, which ends when whoever started it does.

A test that is killed cannot tidy up. Linux can: the kernel kills this process when its parent is
gone. Elsewhere it is left to the test.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import runpy
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def run(arguments: Sequence[str]) -> None:
    """``arguments`` are the parent's process id, and then those of ``paxospp``."""
    parent, *rest = arguments
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        sys.exit(1)  # it went before the kernel was told
    sys.argv[1:] = rest
    runpy.run_module("paxospp", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    run(sys.argv[1:])
