"""The registry: how it finds plug-ins, and its errors for broken, duplicate and misspelt ones."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from paxospp.errors import (
    BackendUnavailableError,
    ConfigError,
    DuplicateBackendError,
    PluginError,
    UnknownBackendError,
)
from paxospp.events import Event, NodeStarted, NodeStopped
from paxospp.hookspecs import hookimpl
from paxospp.model import NodeId
from paxospp.plugins import PluginRegistry
from paxospp.state_machine import MachineType, StateMachine
from paxospp.storage.contract import STORAGE_CONTRACT, DurableState, Storage, StorageBackend
from tests.plugins_registry.installing import install

NAME = NodeId("n1")
STARTED = NodeStarted(node=NAME, address="127.0.0.1:7001")


class Nowhere(Storage):
    """A storage with just enough methods to be opened."""

    def __init__(self, path: str, *, color: str = "red", **more: str) -> None:
        self.opened_with = (path, color, more)

    def load(self) -> DurableState:
        return DurableState()

    def persist(self, batch: object) -> None: ...
    def read(self, start: int, stop: int, max_bytes: int) -> Any: ...
    def create_snapshot(self, meta: object) -> Any: ...
    def open_snapshot(self) -> None: ...
    def close(self) -> None: ...


class Strict(Nowhere):
    def __init__(self, path: str, *, color: str = "red", size: str) -> None:
        super().__init__(path, color=color, size=size)


class Machine(StateMachine):
    pass


def plugin(
    *storages: StorageBackend, machines: tuple[MachineType, ...] = (), hear: Callable[[Event], None] | None = None
) -> object:
    hooks: dict[str, Any] = {"paxospp_storages": hookimpl(lambda: storages)}
    if machines:
        hooks["paxospp_state_machines"] = hookimpl(lambda: machines)
    if hear is not None:
        hooks["paxospp_event"] = hookimpl(lambda event: hear(event))
    return SimpleNamespace(**hooks)


def registry(*plugins: object) -> PluginRegistry:
    return PluginRegistry(plugins, load_entry_points=False)


# How plug-ins are found


def test_what_ships_with_paxospp_comes_by_entry_point() -> None:
    found = PluginRegistry()

    assert {"file", "memory", "rocksdb"} <= found.schemes
    assert "kv" in found.machines
    assert [f"{p.name}: {p.error}" for p in found.found if p.source.startswith("paxospp ") and p.error] == []


def test_each_registry_has_plugins_of_its_own() -> None:
    registry(plugin(StorageBackend("mine", Nowhere, "")))

    assert registry().schemes == frozenset()


@pytest.mark.parametrize("given", ["mine.py", "{path}/mine.py", "paxospp_mine"])
def test_a_file_or_a_module_name_serves_as_a_plug_in(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "import paxospp\n"
        "@paxospp.hookimpl\n"
        "def paxospp_storages():\n"
        "    yield paxospp.StorageBackend('mine', None, 'a store')\n"
    )
    for name in ("mine.py", "paxospp_mine.py"):
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    found = registry(given.format(path=tmp_path))

    assert found.schemes == {"mine"}
    assert [(p.error, [s.summary for s in p.storages]) for p in found.found] == [(None, ["a store"])]


def test_a_plug_in_given_twice_counts_once() -> None:
    mine = plugin(StorageBackend("mine", Nowhere, ""))

    assert len(registry(mine, mine).found) == 1


# Broken plug-ins


def test_an_installed_plug_in_that_cannot_be_imported_is_remembered_and_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "a", "broken_store", "import a_driver_that_is_absent\n", monkeypatch)
    install(tmp_path / "b", "gone_store", "", monkeypatch)
    (tmp_path / "b" / "gone_store.py").unlink()
    install(tmp_path / "c", "leaving_store", "\nraise SystemExit(3)\n", monkeypatch)
    install(tmp_path / "d", "wrong_store", "\n\nclass ?\n", monkeypatch)

    found = PluginRegistry()

    errors = {p.name: p.error for p in found.found if p.source == f"{p.name}-dist 2.0"}
    start = "the plug-in '{0}': {0} cannot be imported: "
    assert errors == {
        "broken_store": start.format("broken_store")
        + f"{tmp_path}/a/broken_store.py, line 1: ModuleNotFoundError: No module named 'a_driver_that_is_absent'",
        "gone_store": start.format("gone_store") + "ModuleNotFoundError: No module named 'gone_store'",
        "leaving_store": start.format("leaving_store") + f"{tmp_path}/c/leaving_store.py, line 2: SystemExit: 3",
        "wrong_store": start.format("wrong_store") + f"{tmp_path}/d/wrong_store.py, line 3: invalid syntax",
    }
    assert "file" in found.schemes
    with pytest.raises(UnknownBackendError, match=r"'broken'.*not loaded: broken_store \(the plug-in"):
        found.storage("broken:x")


@pytest.mark.parametrize(
    ("misspelt", "guess"),
    [
        ("paxospp_storage", " Did you mean 'paxospp_storages'?"),
        ("storages", " Did you mean 'paxospp_storages'?"),
        ("paxospp_state_machine", " Did you mean 'paxospp_state_machines'?"),
        ("paxospp_events", " Did you mean 'paxospp_event'?"),
        ("configure", ""),
    ],
)
def test_an_unknown_hook_is_an_error_that_lists_the_hooks_and_names_the_nearest(misspelt: str, guess: str) -> None:
    plugin = SimpleNamespace(paxospp_state_machines=hookimpl(lambda: ()), **{misspelt: hookimpl(lambda: ())})

    with pytest.raises(PluginError) as caught:
        registry(plugin)

    assert str(caught.value) == (
        f"the plug-in 'SimpleNamespace' has an unknown hook '{misspelt}'.{guess} "
        "The hooks are paxospp_event, paxospp_state_machines, paxospp_storages"
    )


def test_a_hook_that_is_marked_optional_may_be_unknown() -> None:
    """A plug-in marks a hook optional if it also supports a later version, which has more hooks."""
    later = SimpleNamespace(
        paxospp_storages=hookimpl(lambda: ()), paxospp_later=hookimpl(optionalhook=True)(lambda: ())
    )

    assert [p.error for p in registry(later).found] == [None]


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (SimpleNamespace(), "offers nothing: mark its functions with @paxospp.hookimpl"),
        (SimpleNamespace(paxospp_storages=list), "mark its paxospp_storages with @paxospp.hookimpl; the hooks are pax"),
        (SimpleNamespace(paxospp_storages=hookimpl(lambda: [Nowhere])), "which is not a paxospp.StorageBackend"),
        (SimpleNamespace(paxospp_storages=hookimpl(lambda: None)), "TypeError"),
        (
            SimpleNamespace(paxospp_storages=hookimpl(lambda path: [])),
            "its paxospp_storages asks for 'path', and that hook is passed nothing",
        ),
        (
            SimpleNamespace(paxospp_event=hookimpl(lambda event, node: None)),
            "its paxospp_event asks for 'node', and that hook is passed only event",
        ),
        (SimpleNamespace(paxospp_storages=hookimpl(lambda: 1 / 0)), "ZeroDivisionError"),
        (plugin(StorageBackend("c", Nowhere, "")), "offers the scheme 'c'"),
        (plugin(StorageBackend("mine", Nowhere, "", drivers="lmdb")), "says drivers='lmdb': write a list, ['lmdb']"),
    ],
)
def test_a_broken_plug_in_that_was_given_raises_an_error_of_one_line(broken: object, says: str) -> None:
    with pytest.raises(PluginError) as caught:
        registry(broken)

    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_registry_that_keeps_broken_plug_ins_remembers_a_given_one_as_an_installed_one(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import a_driver_that_is_absent\n")
    mine = plugin(StorageBackend("mine", Nowhere, ""))

    found = PluginRegistry([str(tmp_path / "bad.py"), mine, SimpleNamespace()], False, keep_broken=True)

    assert [(p.name, p.source, p.given) for p in found.found] == [
        (f"{tmp_path}/bad.py", f"{tmp_path}/bad.py", True),
        ("SimpleNamespace", "given as an object", True),
        ("SimpleNamespace", "given as an object", True),
    ]
    assert ["No module named" in str(p.error) for p in found.found] == [True, False, False]
    assert [p.error is None for p in found.found] == [False, True, False]
    assert found.schemes == {"mine"}


def test_an_installed_plug_in_that_is_asked_for_by_name_counts_as_given() -> None:
    found = PluginRegistry(["paxospp_file"])

    assert [(p.name, p.given) for p in found.found if p.source.startswith("paxospp ")] == [
        ("file", True),
        ("machines", False),
        ("memory", False),
        ("rocksdb", False),
    ]


def test_a_broken_plug_in_leaves_the_others_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Event] = []
    text = (
        "import paxospp\n"
        "@paxospp.hookimpl\n"
        "def paxospp_event(event): raise AssertionError('it was unregistered')\n"
        "@paxospp.hookimpl\n"
        "def paxospp_storage(): return []\n"
    )
    install(tmp_path, "misspelt_store", text, monkeypatch)

    found = PluginRegistry([plugin(hear=heard.append)])
    found.notify(STARTED)

    assert "misspelt_store" in [p.name for p in found.found if p.error]
    assert heard == [STARTED]


# Two plug-ins with one name


def test_two_plug_ins_for_one_scheme_are_refused_and_both_are_named() -> None:
    class First:
        paxospp_storages = staticmethod(hookimpl(lambda: [StorageBackend("mine", Nowhere, "")]))

    class Second(First):
        pass

    with pytest.raises(DuplicateBackendError, match=r"'mine' is offered by 'First' .* and 'Second' .*: uninstall one"):
        registry(First(), Second())


def test_a_given_plug_in_does_not_replace_what_is_installed() -> None:
    with pytest.raises(DuplicateBackendError, match=r"'file' is offered by 'file' \(paxospp .*\) and"):
        PluginRegistry([plugin(StorageBackend("file", Nowhere, ""))])
    with pytest.raises(DuplicateBackendError, match="'kv'"):
        PluginRegistry([plugin(machines=(MachineType("kv", Machine, ""),))])


def test_two_installed_plug_ins_for_one_scheme_are_refused_only_when_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "import paxospp\n"
        "@paxospp.hookimpl\n"
        "def paxospp_storages(): return [paxospp.StorageBackend('doubled', None, '')]\n"
    )
    install(tmp_path / "a", "one_store", text, monkeypatch)
    install(tmp_path / "b", "other_store", text, monkeypatch)

    found = PluginRegistry()

    assert callable(found.storage("file:x"))
    with pytest.raises(DuplicateBackendError, match=r"'one_store' \(one_store-dist 2.0\) and 'other_store'"):
        found.storage("doubled:x")
    assert isinstance(found.storage_problem("doubled"), DuplicateBackendError)
    assert found.storage_problem("file") is None
    assert [p.error for p in found.found if p.source.endswith("-dist 2.0")] == [None, None]


# Storages


def test_a_storage_is_opened_with_its_path_and_options_when_it_is_called() -> None:
    found = registry(plugin(StorageBackend("mine", Nowhere, "")))

    storage = found.storage("mine:a b/{name}?color=blue&size=3", NAME)()

    assert isinstance(storage, Nowhere)
    assert storage.opened_with == ("a b/n1", "blue", {"size": "3"})


def test_an_option_the_storage_does_not_take_is_refused_naming_those_it_does() -> None:
    found = registry(plugin(StorageBackend("mine", Strict, "")))

    with pytest.raises(ConfigError, match=r"no option 'colour'; it takes color, size"):
        found.storage("mine:x?colour=blue")
    with pytest.raises(ConfigError, match=r"no option 'path'"):
        found.storage("mine:x?path=y&size=1")
    with pytest.raises(ConfigError, match=r"needs the option 'size': add \?size="):
        found.storage("mine:x")
    assert isinstance(found.storage("mine:x?size=1")(), Strict)


def test_the_error_for_an_unknown_scheme_lists_the_known_ones() -> None:
    with pytest.raises(UnknownBackendError, match=r"unknown storage scheme 'etcd' in 'etcd:x'; known.*: a-mine, mine"):
        registry(plugin(StorageBackend("mine", Nowhere, ""), StorageBackend("a-mine", Nowhere, ""))).storage("etcd:x")
    with pytest.raises(UnknownBackendError, match=r"unknown storage scheme 'redis'"):
        registry().storage("redis:localhost:6379")


def test_the_error_for_a_missing_driver_names_the_extra_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "import paxospp\n"
        "def opened(path):\n"
        "    import a_driver_that_is_absent\n"
        "@paxospp.hookimpl\n"
        "def paxospp_storages(): return [paxospp.StorageBackend('driven', opened, '')]\n"
    )
    install(tmp_path, "driven_store", text, monkeypatch, extra="driven")

    with pytest.raises(BackendUnavailableError) as caught:
        PluginRegistry().storage("driven:x")()

    assert str(caught.value) == (
        "storage 'driven:x' cannot be opened: No module named 'a_driver_that_is_absent'; "
        "pip install 'driven_store-dist[driven]'"
    )


def test_a_class_in_a_file_or_a_module_is_a_storage_without_a_plug_in(tmp_path: Path) -> None:
    here = f"{__file__}:Nowhere"

    assert type(registry().storage(f"{here}:{tmp_path}?a=1")()) is Nowhere
    assert type(registry().storage(f"{__name__}:Nowhere:x")()) is Nowhere
    with pytest.raises(ConfigError, match=r"Machine is not a storage: write class Machine\(paxospp.Storage\)"):
        registry().storage(f"{__file__}:Machine:x")
    with pytest.raises(ConfigError, match=r"no file 'absent\.py'"):
        registry().storage("absent.py:Nowhere:x")


def test_a_backend_that_opens_something_else_than_a_storage_is_a_plug_in_error() -> None:
    found = registry(plugin(StorageBackend("mine", lambda path: object(), "")))  # type: ignore[arg-type, return-value]

    with pytest.raises(PluginError, match=r"returned a object, which is not a paxospp\.Storage"):
        found.storage("mine:x")()


class Unfinished(Storage):
    def close(self) -> None: ...


def test_the_error_for_an_incomplete_class_lists_the_missing_methods() -> None:
    with pytest.raises(PluginError, match=r"Unfinished does not define create_snapshot, load, open_snapshot, persist"):
        registry().storage(f"{__file__}:Unfinished:x")


# The contract


class Later(Nowhere):
    contract = 2
    closed = 0

    def close(self) -> None:
        Later.closed += 1


def later_by_function(path: str) -> Storage:
    return Later(path)


def test_a_storage_that_names_no_contract_was_written_for_contract_1() -> None:
    assert STORAGE_CONTRACT == Storage.contract == 1
    assert registry(plugin(StorageBackend("mine", Nowhere, ""))).storage_problem("mine") is None


WRITTEN_FOR_2 = "was written for storage contract 2, and this paxospp supports contract 1: upgrade paxospp"


@pytest.mark.parametrize(
    "backend",
    [
        StorageBackend("mine", Later, ""),
        StorageBackend("mine", Nowhere, "", contract=2),
        StorageBackend("mine", later_by_function, "", contract=2),
    ],
)
def test_a_scheme_of_a_contract_that_is_not_supported_is_refused_before_it_is_opened(backend: StorageBackend) -> None:
    good = StorageBackend("good", Nowhere, "")
    found = PluginRegistry([plugin(backend, good)], False, keep_broken=True)

    says = f"the storage scheme 'mine' of the plug-in 'SimpleNamespace' (given as an object) {WRITTEN_FOR_2}"
    assert str(found.storage_problem("mine")) == says
    with pytest.raises(PluginError, match=WRITTEN_FOR_2):
        found.storage("mine:x")
    assert type(found.storage("good:x")()) is Nowhere
    with pytest.raises(PluginError, match=WRITTEN_FOR_2):
        registry(plugin(backend, good))


def test_the_contract_of_a_class_or_function_in_a_url_is_checked_too() -> None:
    with pytest.raises(PluginError, match=rf"test_registry\.py:Later {WRITTEN_FOR_2}"):
        registry().storage(f"{__file__}:Later:x")

    opener = registry().storage(f"{__file__}:later_by_function:x")
    before = Later.closed
    with pytest.raises(PluginError, match=rf"storage '.*:later_by_function:x' {WRITTEN_FOR_2}"):
        opener()
    assert Later.closed == before + 1


@pytest.mark.parametrize("contract", ["1", 0, True, 1.0])
def test_a_contract_that_is_not_a_version_number_is_an_error(contract: Any) -> None:
    with pytest.raises(PluginError, match=r"says contract=.*: write the number that paxospp.STORAGE_CONTRACT had"):
        registry(plugin(StorageBackend("mine", Nowhere, "", contract=contract)))


def test_an_old_contract_is_supported_for_a_while_and_then_names_the_plug_in(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = plugin(StorageBackend("mine", Nowhere, ""))
    monkeypatch.setattr("paxospp.plugins.contracts.STORAGE_CONTRACT", 2)
    assert registry(mine).storage_problem("mine") is None

    monkeypatch.setattr("paxospp.plugins.contracts.STORAGE_CONTRACT", 3)
    monkeypatch.setattr("paxospp.plugins.contracts.OLDEST_STORAGE_CONTRACT", 2)
    with pytest.raises(PluginError, match=r"contract 1, and this paxospp supports contracts 2 to 3: upgrade the plug"):
        registry(mine)


# State machines


class Sized(StateMachine):
    def __init__(self, size: int) -> None: ...


def make_machine() -> StateMachine:
    return Machine()


def test_a_machine_is_found_by_its_registered_name_or_as_a_class_or_function() -> None:
    found = registry(plugin(machines=(MachineType("mine", Machine, ""),)))

    for spec in ("mine", f"{__file__}:Machine", f"{__name__}:Machine", f"{__file__}:make_machine"):
        first, second = found.machine(spec)(), found.machine(spec)()
        assert type(first) is Machine
        assert first is not second


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("yours", "unknown state machine 'yours'; known: mine"),
        (f"{__file__}:Nowhere", "write class Nowhere(paxospp.StateMachine)"),
        (f"{__file__}:Sized", "needs arguments (size)"),
        (f"{__file__}:NAME", "neither a class nor a function"),
        (f"{__file__}:absent", "has no 'absent'"),
        ("no_such_module:Bank", "there is no module 'no_such_module'"),
    ],
)
def test_the_error_for_something_else_than_a_machine_says_what_to_write(spec: str, says: str) -> None:
    with pytest.raises((ConfigError, UnknownBackendError)) as caught:
        registry(plugin(machines=(MachineType("mine", Machine, ""),))).machine(spec)

    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


# Observers


def test_every_observer_is_called_and_an_exception_of_one_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Event] = []
    silent = SimpleNamespace(paxospp_event=hookimpl(lambda: heard.append(STARTED)))  # needs none of the arguments

    def fail(event: Event) -> None:
        raise ValueError("deaf")

    found = registry(plugin(hear=heard.append), plugin(hear=fail), silent, plugin())
    stopped = NodeStopped(node=NAME, cause=None)
    with caplog.at_level(logging.ERROR, "paxospp"):
        found.notify(stopped)

    assert heard == [STARTED, stopped] or heard == [stopped, STARTED]
    assert [p.observes for p in found.found] == [True, True, True, False]
    assert ["raised an exception for the event NodeStopped" in record.getMessage() for record in caplog.records] == [
        True
    ]
    assert "deaf" in caplog.text
