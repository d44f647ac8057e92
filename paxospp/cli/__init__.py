"""The ``paxospp`` command.

Each command has a module of its own, which is imported only when that command runs; ``arguments`` defines the flags of
all. An error a user can cause ends in one line on stderr and an exit code that tells whether a call was applied, never
in a traceback.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from paxospp import process_setup
from paxospp.cli.arguments import EXIT_INTERRUPTED, exit_code_of, parser
from paxospp.errors import CommandError, InvariantViolatedError, PaxosppError, one_line


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    options = parser().parse_args(arguments)
    process_setup.set_up_grpc()
    try:
        return _run(options)
    except InvariantViolatedError:
        raise
    except PaxosppError as error:
        text = one_line(error)
        if isinstance(error, CommandError):
            text = f"the {'query' if options.command == 'query' else 'command'} raised {text}"
        print(f"paxospp {options.command}: {text}", file=sys.stderr)
        return exit_code_of(error)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`paxospp status | head -1`). Flushing stdout at exit would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(options: argparse.Namespace) -> int:
    match options.command:
        case "demo":
            from paxospp.cli import demo_command

            return demo_command.run(options)
        case "bench":
            from paxospp.cli import bench_command

            return bench_command.run(options)
        case "serve":
            from paxospp.cli import serve_command

            return serve_command.run(options)
        case "execute" | "query":
            from paxospp.cli import call_command

            return call_command.run(options)
        case "status":
            from paxospp.cli import status_command

            return status_command.run(options)
        case "snapshot":
            from paxospp.cli import snapshot_command

            return snapshot_command.run(options)
        case "plugins":
            from paxospp.cli import plugins_command

            return plugins_command.run(options)
        case "simulate":
            from paxospp.cli import simulate_command

            return simulate_command.run(options)
        case "verify":
            from paxospp.cli import verify_command

            return verify_command.run(options)
        case _:
            raise AssertionError(options.command)
