"""``StorageSuite``: every case for every clause, as one class to inherit.

::

    class TestMine(paxospp.testing.StorageSuite):
        storage_url = "mystore:{tmp}"

Modules: ``cases_*`` hold the cases, ``base`` is what they all work with; ``stream`` and ``judging`` say
what a store should hold after a crash, ``workers`` and ``child`` are the processes that crash, ``damage``
hurts files, ``pairs`` is for the four methods of a ``KeyValueStorage``, ``kinds`` and ``places`` name types
and lines, ``verdicts`` puts it all into one table.

The kit's own rule stands in ``GuardCases``, after langchain's: a suite whose cases can be dropped
in silence proves nothing.
"""

from __future__ import annotations

import pytest

from paxospp.testing.storage_suite.base import SuiteBase
from paxospp.testing.storage_suite.cases_batches import BatchCases, GrowthCases, OpaqueCases
from paxospp.testing.storage_suite.cases_damage import DamageCases, EveryFileCases
from paxospp.testing.storage_suite.cases_failing import FailingCases
from paxospp.testing.storage_suite.cases_key_value import KeyValueCases
from paxospp.testing.storage_suite.cases_kill import KillCases
from paxospp.testing.storage_suite.cases_model import HistoryCases
from paxospp.testing.storage_suite.cases_opening import OpeningCases
from paxospp.testing.storage_suite.cases_power import PowerCases
from paxospp.testing.storage_suite.cases_reading import ReadCases, ThreadCases
from paxospp.testing.storage_suite.cases_snapshots import SnapshotCases

PYTESTS = {"pytestmark", "_paxospp_case"}
"""What pytest makes anew for each class: marks, and fixtures bound to it."""

SETTINGS = {"storage_url", "more_urls", "plugins", "quick"}
"""What a subclass may say."""


class GuardCases(SuiteBase):
    def test_no_case_is_deleted_or_overridden(self) -> None:
        """A case that cannot pass is overridden with ``@pytest.mark.xfail(reason="why")``, and so seen."""
        changed = []
        for name in sorted(set(dir(StorageSuite)) - set(dir(object)) - SETTINGS):
            ours, theirs = getattr(StorageSuite, name), getattr(type(self), name, None)
            if theirs is not ours and not name.startswith("__") and name not in PYTESTS and not _is_excused(theirs):
                changed.append(name)
        assert changed == [], (
            f"{type(self).__name__} changes {', '.join(changed)}: leave them as they are, or override a case with "
            "@pytest.mark.xfail(reason=...) to say openly what this store does not do"
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
    """Inherit it, set ``storage_url``, run pytest. See the module."""

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        if "test_no_case_is_deleted_or_overridden" in vars(cls):
            raise TypeError(f"{cls.__name__} must not override the case that guards all others")


def _is_excused(method: object) -> bool:
    marks: list[pytest.Mark] = getattr(method, "pytestmark", [])
    return any(mark.name == "xfail" and mark.kwargs.get("reason") for mark in marks)
