"""The main program of a node's process: run ``paxospp``, and end when the parent process ends.

A test that is killed cannot end its nodes. On Linux the kernel does: it kills this process when the parent ends. On
other systems only the test can.
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
    """Run ``paxospp``; ``arguments`` are the process id of the parent and then the arguments of ``paxospp``."""
    parent, *rest = arguments
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        sys.exit(1)  # the parent ended before the call above
    sys.argv[1:] = rest
    runpy.run_module("paxospp", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    run(sys.argv[1:])
