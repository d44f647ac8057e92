"""Run the storage kit on a storage that is named on the command line, without a test file of your own::

pytest --pyargs paxospp.testing.conformance --paxospp-storage='scheme:{tmp}'
"""

from paxospp.testing.storage_suite import StorageSuite


class TestStorage(StorageSuite):
    """The suite for the storage of ``--paxospp-storage``."""
