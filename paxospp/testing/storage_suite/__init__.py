"""The conformance kit for storage plug-ins; ``suite`` is where to begin."""

from typing import TYPE_CHECKING

__all__ = ["StorageSuite"]

if TYPE_CHECKING:
    from paxospp.testing.storage_suite.suite import StorageSuite
else:

    def __getattr__(name):
        # Late: the cases need pytest, and pytest wants to see them first, to make their asserts speak.
        if name != "StorageSuite":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from paxospp.testing.storage_suite.suite import StorageSuite

        return StorageSuite
