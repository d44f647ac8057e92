"""The public names: listed here so that none is added or removed by accident; importing them is cheap."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import paxospp

NAMES = """
    Node Client Calls SyncCalls NodeConfig NodeStatus bounded Decided Change sync testing __version__

    StateMachine command query Context MachineType

    Storage StorageBackend WriteBatch DurableState SnapshotWriter SnapshotReader
    KeyValueStorage FileSnapshots Anchor lock_directory hookimpl STORAGE_CONTRACT

    Slot NodeId Ballot Kind Entry SnapshotMeta

    PaxosppError ConfigError
    PluginError UnknownBackendError DuplicateBackendError BackendUnavailableError
    StorageError CorruptedError TrimmedError LockedError
    CallError RejectedError UnavailableError OverloadedError OutcomeUnknownError CommandError
    ReplicaStoppedError InvariantViolatedError

    Event NodeStarted NodeStopped LeaderChanged MembershipChanged
    SnapshotTaken SnapshotInstalled FaultFound Diverged
""".split()  # noqa: SIM905

HEAVY = {"grpc", "google", "asyncio", "rocksdict", "rich", "pytest", "hypothesis", "argparse", "multiprocessing"}


def run_in_a_fresh_python(code: str) -> object:
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr + result.stdout
    return json.loads(result.stdout)


def test_paxospp_exports_exactly_these_names() -> None:
    assert sorted(paxospp.__all__) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_can_be_read_and_is_listed_by_dir(name: str) -> None:
    assert getattr(paxospp, name) is getattr(paxospp, name)
    assert name in dir(paxospp)


def test_an_unknown_name_raises_attribute_error() -> None:
    misspelt = "Nod"

    with pytest.raises(AttributeError, match="module 'paxospp' has no attribute 'Nod'"):
        getattr(paxospp, misspelt)


def test_the_version_starts_with_a_number() -> None:
    assert paxospp.__version__.split(".")[0].isdigit()


def test_importing_paxospp_loads_neither_network_nor_event_loop() -> None:
    loaded = run_in_a_fresh_python("import sys, json, paxospp; print(json.dumps(sorted(sys.modules)))")

    assert isinstance(loaded, list)
    assert HEAVY & {str(module).partition(".")[0] for module in loaded} == set()
    assert {"paxospp.node", "paxospp.client", "paxospp.testing"} & set(loaded) == set()


def test_accessing_the_sync_client_loads_it() -> None:
    assert run_in_a_fresh_python("import json, paxospp; print(json.dumps(paxospp.sync.Client.__name__))") == "Client"


def test_importing_the_testing_kit_needs_no_pytest() -> None:
    loaded = run_in_a_fresh_python("import sys, json, paxospp.testing; print(json.dumps(sorted(sys.modules)))")

    assert isinstance(loaded, list)
    assert "pytest" not in loaded
