"""The public names: listed here, so that a change is noticed, and cheap to import."""

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


def in_a_fresh_python(code: str) -> object:
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr + result.stdout
    return json.loads(result.stdout)


def test_the_public_names_are_these() -> None:
    assert sorted(paxospp.__all__) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(paxospp, name) is getattr(paxospp, name)
    assert name in dir(paxospp)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    misspelt = "Nod"

    with pytest.raises(AttributeError, match="module 'paxospp' has no attribute 'Nod'"):
        getattr(paxospp, misspelt)


def test_the_version_is_that_of_the_distribution() -> None:
    assert paxospp.__version__.split(".")[0].isdigit()


def test_importing_paxospp_loads_neither_network_nor_event_loop() -> None:
    loaded = in_a_fresh_python("import sys, json, paxospp; print(json.dumps(sorted(sys.modules)))")

    assert isinstance(loaded, list)
    assert HEAVY & {str(module).partition(".")[0] for module in loaded} == set()
    assert {"paxospp.node", "paxospp.client", "paxospp.testing"} & set(loaded) == set()


def test_naming_the_sync_client_is_enough_to_load_it() -> None:
    assert in_a_fresh_python("import json, paxospp; print(json.dumps(paxospp.sync.Client.__name__))") == "Client"


def test_importing_the_testing_kit_needs_no_pytest() -> None:
    loaded = in_a_fresh_python("import sys, json, paxospp.testing; print(json.dumps(sorted(sys.modules)))")

    assert isinstance(loaded, list)
    assert "pytest" not in loaded
