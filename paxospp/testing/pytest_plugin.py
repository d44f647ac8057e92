"""The pytest plug-in of paxospp: its options, the fixture ``paxospp_check_machine``, and the storage kit's verdicts.

It imports other modules of paxospp only when a test or an option needs them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from paxospp.state_machine import StateMachine
    from paxospp.testing.machine_checks import MachineReport

pytest.register_assert_rewrite("paxospp.testing.storage_suite", "paxospp.testing.conformance")

_VERDICTS = "paxospp-verdicts"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("paxospp")
    group.addoption(
        "--paxospp-rewrite",
        action="store_true",
        help="rewrite scenario files with what happens now; commit only changes that you can explain line by line",
    )
    group.addoption(
        "--paxospp-storage",
        metavar="URL",
        help="the storage to test with paxospp.testing.conformance and suites without a URL, such as 'mystore:{tmp}'",
    )
    group.addoption(
        "--paxospp-plugin",
        metavar="MODULE|FILE.py",
        action="append",
        help="load this plug-in for that storage, besides the installed ones; may be repeated",
    )
    group.addoption(
        "--paxospp-quick",
        action="store_true",
        help="do a tenth of the kills, power cuts and bit flips: for a quick try, not as proof",
    )
    group.addoption(
        "--paxospp-all-steps",
        action="store_true",
        help="let a failing case of the storage kit print every step, not only the last ones",
    )
    group.addoption(
        "--paxospp-seed",
        metavar="N",
        type=int,
        help="check state machines with this seed only; a failure names its seed",
    )


@pytest.fixture
def paxospp_check_machine(request: pytest.FixtureRequest) -> Callable[..., MachineReport]:
    """``paxospp.testing.check_machine``; ``-rP`` shows its report, and ``--paxospp-seed N`` runs only that seed."""
    from paxospp.testing import check_machine

    def check(machine: Callable[[], StateMachine], **options: Any) -> MachineReport:
        seed = request.config.getoption("--paxospp-seed")
        if seed is not None:
            options["seeds"] = [seed]
        report = check_machine(machine, **options)
        request.node.add_report_section("call", "paxospp", str(report))
        return report

    return check


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--paxospp-storage") and not config.option.help:
        from paxospp.testing.storage_suite.verdicts import Collector

        config.pluginmanager.register(Collector(), _VERDICTS)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Stop once if the conformance suite is to run on no storage, before each of its cases fails for this reason."""
    suite = "paxospp.testing.conformance"
    asked = any(isinstance(item, pytest.Function) and item.module.__name__ == suite for item in session.items)
    if asked and not session.config.getoption("--paxospp-storage") and not session.config.option.collectonly:
        raise pytest.UsageError(f"{suite} needs a storage to test: give --paxospp-storage='scheme:{{tmp}}' to pytest")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    collector = config.pluginmanager.get_plugin(_VERDICTS)
    if collector is None or not collector.verdict.cases:
        return
    from paxospp.testing.storage_suite.verdicts import COLUMNS

    terminalreporter.section(f"paxospp: {config.getoption('--paxospp-storage')}")
    rows = [COLUMNS, *collector.verdict.rows()]
    widths = [max(len(row[place]) for row in rows) for place in range(len(COLUMNS))]
    for row in rows:
        terminalreporter.write_line("  ".join(c.ljust(width) for c, width in zip(row, widths, strict=True)).rstrip())
    for detail in collector.verdict.details():
        if detail.startswith("not checked"):  # pytest has already reported the failures
            terminalreporter.write_line(detail)
