"""Tools to test state machines, storages and clusters; the tests of paxospp itself use them too.

``StorageSuite`` tests a storage. ``check_machine`` checks that a state machine can be replicated, and ``Simulation``
runs it on simulated nodes under faults. ``Cluster`` runs real nodes, and ``Nemesis`` injects faults into them.
``check_linearizable`` checks the history of what callers saw. A name is imported when it is first used, so
``import paxospp.testing`` needs pytest only for ``StorageSuite``.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paxospp.testing.checkers import (
        History,
        KeyValueModel,
        Logged,
        MachineModel,
        NotLinearizableError,
        Operation,
        Raised,
        Verdict,
        check_linearizable,
        check_witness,
    )
    from paxospp.testing.cluster import (
        Cluster,
        DiskFaultsUnavailableError,
        Nemesis,
        NodeEndedError,
        NotAgreedError,
        Recorded,
        driven,
    )
    from paxospp.testing.fault_proxy import FaultProxy
    from paxospp.testing.machine_checks import MachineCheckError, MachineReport, check_machine
    from paxospp.testing.machine_context import context
    from paxospp.testing.simulation import Report, Simulation, SimulationError
    from paxospp.testing.storage_suite.suite import StorageSuite
    from paxospp.testing.workload import draw_call, workload_of
else:
    # Hidden from type checkers: with a visible ``__getattr__``, every misspelled name would be Any.
    _HOMES = {
        "Cluster": "cluster",
        "DiskFaultsUnavailableError": "cluster",
        "FaultProxy": "fault_proxy",
        "History": "checkers",
        "KeyValueModel": "checkers",
        "Logged": "checkers",
        "MachineCheckError": "machine_checks",
        "MachineModel": "checkers",
        "MachineReport": "machine_checks",
        "Nemesis": "cluster",
        "NodeEndedError": "cluster",
        "NotAgreedError": "cluster",
        "NotLinearizableError": "checkers",
        "Operation": "checkers",
        "Raised": "checkers",
        "Recorded": "cluster",
        "Report": "simulation",
        "Simulation": "simulation",
        "SimulationError": "simulation",
        "StorageSuite": "storage_suite.suite",
        "Verdict": "checkers",
        "check_linearizable": "checkers",
        "check_machine": "machine_checks",
        "check_witness": "checkers",
        "context": "machine_context",
        "draw_call": "workload",
        "driven": "cluster",
        "workload_of": "workload",
    }

    def __getattr__(name):
        from importlib import import_module

        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        return value

    def __dir__():
        return sorted({*globals(), *__all__})


__all__ = [
    "Cluster",
    "DiskFaultsUnavailableError",
    "FaultProxy",
    "History",
    "KeyValueModel",
    "Logged",
    "MachineCheckError",
    "MachineModel",
    "MachineReport",
    "Nemesis",
    "NodeEndedError",
    "NotAgreedError",
    "NotLinearizableError",
    "Operation",
    "Raised",
    "Recorded",
    "Report",
    "Simulation",
    "SimulationError",
    "StorageSuite",
    "Verdict",
    "check_linearizable",
    "check_machine",
    "check_witness",
    "context",
    "draw_call",
    "driven",
    "workload_of",
]
