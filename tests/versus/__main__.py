"""``python -m tests.versus``: measure paxospp and etcd in turns and print the ratios of their medians."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from paxospp import process_setup
from paxospp.bench.benchmark import Benchmark
from paxospp.bench.progress_line import ProgressLine
from paxospp.cli.terminal import print_table
from paxospp.errors import PaxosppError, one_line

EXIT_LOST_WRITES = 1
EXIT_BAD_INPUT = 2
STORAGE = "file:{tmp}/{name}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 when both were measured, 1 if paxospp lost a write or could not be measured, 2 without etcd."""
    options = _parser().parse_args(arguments)
    process_setup.set_up_grpc()
    # Imported now, because gRPC reads its environment when it is first imported.
    from tests.versus.comparison import COLUMNS, Comparison, compare
    from tests.versus.etcd import VALUE_BYTES_MAX, find_etcd

    if find_etcd() is None:
        print("etcd is not on the PATH, so there is nothing to compare with: install it (Debian: etcd-server)")
        return EXIT_BAD_INPUT
    if not 8 <= options.value_bytes <= VALUE_BYTES_MAX:
        print(f"--value-bytes {options.value_bytes} is not a number from 8 to {VALUE_BYTES_MAX:,}")
        return EXIT_BAD_INPUT
    comparisons = [
        Comparison(Benchmark(in_flight=n, seconds=options.seconds, value_bytes=options.value_bytes, storage=STORAGE))
        for n in options.in_flight
    ]
    progress = ProgressLine(sys.stderr)
    try:
        with tempfile.TemporaryDirectory(prefix="paxospp-versus-") as directory:
            process_setup.run(compare(comparisons, Path(directory), progress, options.repeats))
    except PaxosppError as error:
        print(f"could not measure: {one_line(error)}", file=sys.stderr)
        return EXIT_LOST_WRITES
    finally:
        progress.clear()
    if options.json:
        print(json.dumps([comparison.to_json() for comparison in comparisons]))
    else:
        print_table(COLUMNS, [comparison.cells() for comparison in comparisons])
    differences = [difference for comparison in comparisons for difference in comparison.differences]
    for difference in differences:
        print(f"DIFFERENT: {difference}", file=sys.stderr)
    return EXIT_LOST_WRITES if differences else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.versus",
        description="Measure paxospp and etcd in turns on this machine, three nodes each, and print the ratios of "
        "their medians.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--in-flight",
        type=_numbers,
        default=[1, 64, 1024],
        metavar="N,…",
        help="calls in flight, a row for each (default: 1,64,1024)",
    )
    parser.add_argument(
        "--seconds", type=_seconds, default=3.0, metavar="S", help="length of each measurement (default: 3)"
    )
    parser.add_argument(
        "--repeats", type=_number, default=3, metavar="N", help="how often each is measured (default: 3)"
    )
    parser.add_argument("--value-bytes", type=_number, default=16, metavar="N", help="size of each value (default: 16)")
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of a table")
    return parser


def _numbers(text: str) -> list[int]:
    return [_number(part) for part in text.split(",")]


def _number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
