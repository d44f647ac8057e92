"""A real cluster on this machine to test with: faults of the network, of processes and of disks.

``cluster`` is the public face; ``hosting`` says who may run the nodes, ``embedded`` and
``processes`` do; ``network`` holds the links, ``disks`` the faults of disks, ``places`` where
everything is; ``recording`` makes a history out of calls, and ``chaos`` does harm meanwhile.
"""

from paxospp.testing.cluster.calling import ClusterClient
from paxospp.testing.cluster.chaos import Nemesis, Workload, driven
from paxospp.testing.cluster.cluster import Cluster, NotAgreedError
from paxospp.testing.cluster.disks import DiskFaultsUnavailableError, why_no_disk_faults
from paxospp.testing.cluster.hosting import NodeEndedError
from paxospp.testing.cluster.processes import NodeProcess
from paxospp.testing.cluster.recording import Recorded

__all__ = [
    "Cluster",
    "ClusterClient",
    "DiskFaultsUnavailableError",
    "Nemesis",
    "NodeEndedError",
    "NodeProcess",
    "NotAgreedError",
    "Recorded",
    "Workload",
    "driven",
    "why_no_disk_faults",
]
