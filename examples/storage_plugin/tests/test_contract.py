"""The storage contract, clause by clause: ``paxospp.testing.StorageSuite`` over this store."""

from __future__ import annotations

import os

from paxospp.testing import StorageSuite


class TestSqlite(StorageSuite):
    storage_url = "sqlite:{tmp}"
    quick = "CI" not in os.environ  # a tenth of the crashes while you write, all of them where CI runs
