"""What proves things: for state machines, for storages, for clusters; ours and yours by the same means.

``StorageSuite`` is the kit for storages. ``check_machine`` looks at a state machine, ``Simulation``
runs it on simulated nodes under faults, ``check_linearizable`` looks at what callers saw; ``Cluster``
runs real nodes, and ``Nemesis`` does them harm. A name is loaded when it is first used, and
``import paxospp.testing`` needs pytest only when the suite is named.
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
    # Not in sight of a type checker: a ``__getattr__`` that it sees turns every typo into Any.
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
