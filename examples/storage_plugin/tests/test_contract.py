"""The storage contract, clause by clause: this class inherits every case of the storage kit."""

from __future__ import annotations

import os

from paxospp.testing import StorageSuite


class TestSqlite(StorageSuite):
    storage_url = "sqlite:{tmp}"
    quick = "CI" not in os.environ  # a tenth of the crashes on your machine, all of them in CI
