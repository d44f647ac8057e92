"""The ``paxospp`` command.

One room per command, imported when it is asked for; ``arguments`` holds the flags. A user's
mistake ends in one line on stderr and an exit code that says what became of the call, never in
a traceback.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from paxospp.cli import grpc_core
from paxospp.cli.arguments import EXIT_INTERRUPTED, exit_code_of, one_line, parser
from paxospp.errors import InvariantViolatedError, PaxosppError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code."""
    options = parser().parse_args(arguments)
    grpc_core.set_up()
    try:
        return _run(options)
    except InvariantViolatedError:
        raise
    except PaxosppError as error:
        print(f"paxospp {options.command}: {one_line(error)}", file=sys.stderr)
        return exit_code_of(error)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone (`paxospp status | head -1`); Python would say so at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(options: argparse.Namespace) -> int:
    match options.command:
        case "demo":
            from paxospp.cli import demo

            return demo.run(options)
        case "bench":
            from paxospp.cli import bench

            return bench.run(options)
        case "serve":
            from paxospp.cli import serve

            return serve.run(options)
        case "execute" | "query":
            from paxospp.cli import call

            return call.run(options)
        case "status":
            from paxospp.cli import status

            return status.run(options)
        case "snapshot":
            from paxospp.cli import snapshot

            return snapshot.run(options)
        case "plugins":
            from paxospp.cli import plugins

            return plugins.run(options)
        case "simulate":
            from paxospp.cli import simulate

            return simulate.run(options)
        case "verify":
            from paxospp.cli import verify

            return verify.run(options)
        case _:
            raise AssertionError(options.command)
