"""``StorageSuite``: every case for every clause, as one class to inherit.

The clauses C1 to C10 are those of ``paxospp.storage.contract``.

::

    class TestMine(paxospp.testing.StorageSuite):
        storage_url = "mystore:{tmp}"

Modules:

- ``cases_*`` hold the cases, ``base`` what they share, ``tracing`` what the cases with strace share;
- ``stream`` generates batches and what a store must hold after each, ``store_judge`` compares a store with that;
- ``worker_pool`` and ``worker_process`` are the two ends of the processes that are killed;
- ``file_damage`` damages files;
- ``key_value_pairs`` is for the four methods of a ``KeyValueStorage``;
- ``step_log``, ``words``, ``kinds`` and ``source_line`` put a failing case into words: steps, values, types, lines;
- ``verdicts`` puts all results into one table.

``GuardCases`` checks the suite itself, as langchain's standard tests do: a suite from which a subclass can silently
drop cases proves nothing.
"""

from __future__ import annotations

import pytest

from paxospp.testing.storage_suite.base import SuiteBase
from paxospp.testing.storage_suite.cases_batches import BatchCases, GrowthCases, OpaqueCases
from paxospp.testing.storage_suite.cases_damage import DamageCases
from paxospp.testing.storage_suite.cases_every_file import EveryFileCases
from paxospp.testing.storage_suite.cases_failing import FailingCases
from paxospp.testing.storage_suite.cases_key_value import KeyValueCases
from paxospp.testing.storage_suite.cases_kill import KillCases
from paxospp.testing.storage_suite.cases_model import HistoryCases
from paxospp.testing.storage_suite.cases_opening import OpeningCases
from paxospp.testing.storage_suite.cases_power import PowerCases
from paxospp.testing.storage_suite.cases_reading import ReadCases, ThreadCases
from paxospp.testing.storage_suite.cases_snapshots import SnapshotCases

PYTESTS = {"pytestmark", "_paxospp_case"}
"""Attributes that pytest replaces in each class: marks, and fixtures bound to the class."""

SETTINGS = {"storage_url", "more_urls", "plugins", "quick"}
"""The attributes that a subclass may set."""


class GuardCases(SuiteBase):
    def test_no_case_is_deleted_or_overridden(self) -> None:
        """A subclass overrides a case that its store cannot pass with ``@pytest.mark.xfail(reason="why")``."""
        changed = []
        for name in sorted(set(dir(StorageSuite)) - set(dir(object)) - SETTINGS):
            ours, theirs = getattr(StorageSuite, name), getattr(type(self), name, None)
            if theirs is not ours and not name.startswith("__") and name not in PYTESTS and not _is_excused(theirs):
                changed.append(name)
        assert changed == [], (
            f"{type(self).__name__} changes {', '.join(changed)}: remove these overrides; if the store cannot pass a "
            "case, override that case with @pytest.mark.xfail(reason=...)"
        )


class StorageSuite(
    GuardCases,
    BatchCases,
    OpaqueCases,
    ReadCases,
    ThreadCases,
    OpeningCases,
    SnapshotCases,
    HistoryCases,
    GrowthCases,
    DamageCases,
    EveryFileCases,
    KillCases,
    FailingCases,
    KeyValueCases,
    PowerCases,
):
    """All cases of the kit: inherit this class, set ``storage_url`` and run pytest. See the module."""

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        if "test_no_case_is_deleted_or_overridden" in vars(cls):
            raise TypeError(
                f"{cls.__name__} must not override test_no_case_is_deleted_or_overridden, which guards all others"
            )


def _is_excused(method: object) -> bool:
    marks: list[pytest.Mark] = getattr(method, "pytestmark", [])
    return any(mark.name == "xfail" and mark.kwargs.get("reason") for mark in marks)
