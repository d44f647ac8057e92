"""The suite over a store that is named on the command line, for whoever has no test file yet::

pytest --pyargs paxospp.testing.conformance --paxospp-storage='scheme:{tmp}'
"""

from paxospp.testing.storage_suite import StorageSuite


class TestStorage(StorageSuite):
    """The store of ``--paxospp-storage``."""
