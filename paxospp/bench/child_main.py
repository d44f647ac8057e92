"""The entry point of a benchmark's child process: ``python -m paxospp.bench.child_main echo|load``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from typing import Any

from paxospp import process_setup
from paxospp.errors import PaxosppError, one_line


def _main_of(role: str) -> Callable[[], Coroutine[Any, Any, None]]:
    # Imported here, because gRPC reads its environment when it is first imported.
    if role == "echo":
        from paxospp.bench.echo import serve

        return serve
    from paxospp.bench.client_processes import generate_load

    return generate_load


def _run(role: str) -> None:
    process_setup.set_up_grpc()
    try:
        process_setup.run(_main_of(role)())
    except PaxosppError as error:
        sys.exit(one_line(error))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    _run(sys.argv[1])
