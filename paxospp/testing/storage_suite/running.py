"""Run the suite on one store in this process, independent of the pytest configuration around it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import pytest

from paxospp.testing.storage_suite.verdicts import Collector, SuiteVerdict

OURS = "paxospp.testing.pytest_plugin"


def misnamed(only: Sequence[str]) -> list[str]:
    """Return a message for each of ``only``, as for ``verify --only``, that names no clause and no case."""
    return run_suite("memory:{tmp}", only=only, collect_only=True).misnamed if only else []


def run_suite(
    url: str,
    *,
    plugins: Sequence[str] = (),
    cases: Sequence[str] = (),
    only: Sequence[str] = (),
    quick: bool = False,
    all_steps: bool = False,
    collect_only: bool = False,
    on_progress: Callable[[int, int, Sequence[str]], None] | None = None,
) -> SuiteVerdict:
    """Run every case, or those named, on the store of ``url``.

    Args:
        url: where to open the store, with ``{tmp}`` for fresh directories.
        plugins: plug-ins to load, as for ``--plugin``.
        cases: the full names of the methods to run; all by default.
        only: clauses and cases to run, as for ``verify --only``.
        quick: run a tenth of the kills, power cuts and damage.
        all_steps: report every step of a failing case, not only the last ones.
        collect_only: run nothing, only check ``only``.
        on_progress: called after each case, see ``Collector``.

    Raises:
        KeyboardInterrupt: the user interrupted the run.
    """
    collector = Collector(on_progress, only)
    with tempfile.TemporaryDirectory(prefix="paxospp-kit-") as directory:
        selected = [f"paxospp.testing.conformance::TestStorage::{name}" for name in cases]
        line = [
            "--pyargs",
            *(selected or ["paxospp.testing.conformance"]),
            f"--paxospp-storage={url}",
            *(f"--paxospp-plugin={plugin}" for plugin in plugins),
            *(["--paxospp-quick"] if quick else []),
            *(["--paxospp-all-steps"] if all_steps else []),
            *(["--collect-only"] if collect_only else []),
            f"--rootdir={directory}",
            f"--config-file={os.devnull}",
            "--noconftest",
            "--import-mode=importlib",
            "--tb=short",
            "-q",
            *("-p", OURS, "-p", "no:cacheprovider"),
        ]
        output = Path(directory, "output")
        with undisturbed(output):
            code = pytest.main(line, plugins=[collector])
        if code is pytest.ExitCode.NO_TESTS_COLLECTED and collector.verdict.problems:
            return collector.verdict
        if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            if code is pytest.ExitCode.INTERRUPTED and not collector.verdict.problems:
                raise KeyboardInterrupt
            collector.verdict.problems.append(f"pytest ended with {code!r}: {output.read_text()[-2000:].strip()}")
    return collector.verdict


@contextmanager
def undisturbed(output: Path) -> Iterator[None]:
    """Run pytest without the options and plug-ins of the environment; its standard output goes to ``output``."""
    changed = {"PYTEST_ADDOPTS": None, "PYTEST_PLUGINS": None, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    former = {name: os.environ.get(name) for name in changed}
    _set(changed)
    bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        with open(output, "w") as file, redirect_stdout(file):
            yield
    finally:
        sys.dont_write_bytecode = bytecode
        _set(former)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
