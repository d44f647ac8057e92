"""The storage kit: a test of every clause of the storage contract; begin with the module ``suite``."""

from typing import TYPE_CHECKING

__all__ = ["StorageSuite"]

if TYPE_CHECKING:
    from paxospp.testing.storage_suite.suite import StorageSuite
else:

    def __getattr__(name):
        # Late: the cases import pytest, and pytest must register their modules first to rewrite their asserts.
        if name != "StorageSuite":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from paxospp.testing.storage_suite.suite import StorageSuite

        return StorageSuite
