"""A real cluster on this machine for tests, with faults of the network, of processes and of disks.

``cluster`` has the public class. ``node_runner`` says what it needs of those that run nodes: ``embedded``, in this
process, and ``served``, in a process per node (``node_main`` is its main program). ``links`` connects the nodes through
fault proxies, ``disks`` makes disks fail, and ``provisioning`` finds ports, storage URLs and machines.
``cluster_client`` is the client that a cluster makes, ``recorded_calls`` records calls in a history, and ``chaos``
injects random faults.
"""

from paxospp.testing.cluster.chaos import Nemesis, Workload, driven
from paxospp.testing.cluster.cluster import Cluster, NotAgreedError
from paxospp.testing.cluster.cluster_client import ClusterClient
from paxospp.testing.cluster.disks import DiskFaultsUnavailableError, why_no_disk_faults
from paxospp.testing.cluster.node_runner import NodeEndedError
from paxospp.testing.cluster.recorded_calls import Recorded
from paxospp.testing.cluster.served import NodeProcess

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
