"""The plug-ins of one node: found, asked once what they offer, and looked up by scheme or name.

Plug-ins come by entry point (group ``paxospp``), or are given: a module, an object, the name of
a module, a ``FILE.py``. One that was installed and is broken is remembered with its error
and takes nobody down; one that was given and is broken raises, for somebody asked for it. Each
registry has a manager of its own; there is none for the process.

The isolation is conda's: pluggy's own loader dies of the first entry point that cannot be imported.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import Distribution, EntryPoint, entry_points
from types import ModuleType
from typing import Any, Generic, TypeVar

import pluggy

from paxospp import hookspecs
from paxospp.errors import (
    ConfigError,
    DuplicateBackendError,
    PluginError,
    UnknownBackendError,
)
from paxospp.events import Event
from paxospp.model import NodeId
from paxospp.plugins import opening
from paxospp.plugins.loading import is_file, load_module, load_object, one_line
from paxospp.state_machine import MachineType, StateMachine
from paxospp.storage.contract import Storage, StorageBackend
from paxospp.storage.url import SCHEME, expand_url, parse_url, unknown_backend

_log = logging.getLogger(__name__)

Record = TypeVar("Record", StorageBackend, MachineType)


@dataclass(slots=True, frozen=True, kw_only=True)
class FoundPlugin:
    """One plug-in as ``paxospp plugins`` shows it; ``error`` says why it is not in use."""

    name: str
    source: str
    """Where it came from: a distribution with its version, a file, a module, an object."""
    extras: tuple[str, ...] = ()
    """Of its distribution, as ``name[extra]``."""
    storages: tuple[StorageBackend, ...] = ()
    machines: tuple[MachineType, ...] = ()
    observes: bool = False
    error: str | None = None


@dataclass(slots=True, frozen=True)
class _Origin:
    """Where an installed plug-in came from, as in ``FoundPlugin``."""

    source: str
    extras: tuple[str, ...] = ()


class _Offers(Generic[Record]):
    """What plug-ins offer of one kind, by name; several for one name are an error when it counts."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._offers: dict[str, list[tuple[Record, FoundPlugin]]] = {}

    def add(self, name: str, record: Record, plugin: FoundPlugin) -> None:
        self._offers.setdefault(name, []).append((record, plugin))

    def names(self) -> frozenset[str]:
        return frozenset(self._offers)

    def get(self, name: str) -> tuple[Record, FoundPlugin]:
        first, *others = self._offers[name]
        if others:
            both = " and ".join(f"{plugin.name!r} ({plugin.source})" for _, plugin in (first, *others))
            raise DuplicateBackendError(f"the {self._kind} {name!r} is offered by {both}: keep one of them")
        return first


class PluginRegistry:
    """Loads plug-ins when made; see the module's text.

    Raises:
        PluginError: a plug-in that was given cannot be used, or offers what another one offers.
        ConfigError: a plug-in that was given does not exist.
    """

    def __init__(self, plugins: Sequence[object] = (), load_entry_points: bool = True) -> None:
        self._manager = pluggy.PluginManager(hookspecs.GROUP)
        self._manager.add_hookspecs(hookspecs)
        self._found: list[FoundPlugin] = []
        self._storages: _Offers[StorageBackend] = _Offers("storage scheme")
        self._machines: _Offers[MachineType] = _Offers("state machine")
        if load_entry_points:
            # Reading what a distribution says of itself means parsing its README, so it is read once.
            origins: dict[Distribution, _Origin] = {}
            for entry_point in sorted(entry_points(group=hookspecs.GROUP), key=lambda found: found.name):
                distribution = entry_point.dist
                if distribution is None:
                    origin = _Origin(entry_point.value)
                else:
                    origin = origins.get(distribution) or origins.setdefault(distribution, _origin_of(distribution))
                self._add_installed(entry_point, origin)
        for plugin in plugins:
            self._add_given(plugin)

    @property
    def found(self) -> tuple[FoundPlugin, ...]:
        """Every plug-in met, the broken and the doubled ones too, in the order they were loaded."""
        return tuple(replace(plugin, error=plugin.error or self._clash(plugin)) for plugin in self._found)

    @property
    def schemes(self) -> frozenset[str]:
        """The storage schemes there are."""
        return self._storages.names()

    @property
    def machines(self) -> frozenset[str]:
        """The names of the state machines there are."""
        return self._machines.names()

    def storage(self, url: str, name: NodeId | None = None) -> Callable[[], Storage]:
        """What opens the storage that ``url`` names; nothing is opened or written yet.

        Raises:
            ConfigError: the URL's form, or an option that the storage does not take.
            UnknownBackendError: no such scheme; DuplicateBackendError: two of it.
        """
        try:
            parsed = parse_url(expand_url(url, name=name), self.schemes)
        except UnknownBackendError:
            raise self._unknown(url) from None
        if parsed.backend not in self.schemes:
            opened = self._storage_of_code(url, parsed.backend)
            return opening.storage_opener(opened, url, parsed.path, parsed.options, extra=None)
        backend, plugin = self._storages.get(parsed.backend)
        extra = next((extra for extra in plugin.extras if extra.endswith(f"[{parsed.backend}]")), None)
        return opening.storage_opener(backend.open, url, parsed.path, parsed.options, extra)

    def machine(self, spec: str) -> Callable[[], StateMachine]:
        """What makes the state machine ``spec``: a registered name, FILE.py:Class or package.module:Class.

        Raises:
            UnknownBackendError: no such name; ConfigError, PluginError: no such class.
        """
        if spec in self.machines:
            return opening.as_machine(self._machines.get(spec)[0].factory, spec)
        if ":" not in spec:
            known = ", ".join(sorted(self.machines)) or "none"
            raise UnknownBackendError(
                f"unknown state machine {spec!r}; known: {known}; or name a class: FILE.py:Class, package.module:Class"
            )
        return opening.as_machine(load_object(spec), spec)

    def notify(self, event: Event) -> None:
        """Tell every observer; what one raises is logged and stops nobody."""
        for implementation in self._manager.hook.paxospp_event.get_hookimpls():
            try:
                _call(implementation, event=event)
            except Exception:
                _log.exception("the plug-in %s failed to hear %s", implementation.plugin_name, type(event).__name__)

    # Loading

    def _add_installed(self, entry_point: EntryPoint, origin: _Origin) -> None:
        try:
            self._register(entry_point.load(), entry_point.name, origin.source, origin.extras)
        except (Exception, SystemExit) as error:
            text = str(error) if isinstance(error, PluginError) else one_line(error)
            self._found.append(
                FoundPlugin(name=entry_point.name, source=origin.source, extras=origin.extras, error=text)
            )

    def _add_given(self, given: object) -> None:
        plugin = load_module(given) if isinstance(given, str) else given
        if self._manager.is_registered(plugin):
            return
        if isinstance(plugin, ModuleType):
            name, source = plugin.__name__, plugin.__file__ or "module"
        else:
            name, source = type(plugin).__name__, "given as an object"
        if isinstance(given, str):
            name = given
            source = source if is_file(given) else "given by name"
        if clash := self._clash(self._register(plugin, name, source, ())):
            raise DuplicateBackendError(clash)

    def _register(self, plugin: object, name: str, source: str, extras: tuple[str, ...]) -> FoundPlugin:
        unique = name if self._manager.get_plugin(name) is None else f"{name} ({len(self._found)})"
        try:
            self._manager.register(plugin, unique)
            self._manager.check_pending()
            found = self._ask(plugin, name, source, extras)
        except (Exception, SystemExit) as error:
            if self._manager.get_plugin(unique) is not None:
                self._manager.unregister(name=unique)
            if isinstance(error, PluginError):
                raise
            raise PluginError(f"the plug-in {name!r} cannot be used: {one_line(error)}") from error
        for storage in found.storages:
            self._storages.add(storage.scheme, storage, found)
        for machine in found.machines:
            self._machines.add(machine.name, machine, found)
        self._found.append(found)
        return found

    def _ask(self, plugin: object, name: str, source: str, extras: tuple[str, ...]) -> FoundPlugin:
        if not self._manager.get_hookcallers(plugin):
            raise PluginError(f"the plug-in {name!r} offers nothing: mark its functions with @paxospp.hookimpl")
        hook = self._manager.hook
        found = FoundPlugin(
            name=name,
            source=source,
            extras=extras,
            storages=_records(hook.paxospp_storages, plugin, name, StorageBackend),
            machines=_records(hook.paxospp_state_machines, plugin, name, MachineType),
            observes=any(implementation.plugin is plugin for implementation in hook.paxospp_event.get_hookimpls()),
        )
        for storage in found.storages:
            if not SCHEME.fullmatch(storage.scheme):
                raise PluginError(
                    f"the plug-in {name!r} offers the scheme {storage.scheme!r}: use two characters or more of "
                    "letters, digits, '+', '.' and '-', beginning with a letter"
                )
        return found

    def _clash(self, plugin: FoundPlugin) -> str | None:
        try:
            for storage in plugin.storages:
                self._storages.get(storage.scheme)
            for machine in plugin.machines:
                self._machines.get(machine.name)
        except DuplicateBackendError as error:
            return str(error)
        return None

    # Looking up

    def _storage_of_code(self, url: str, code: str) -> Callable[..., Storage]:
        try:
            loaded = load_object(code)
        except ConfigError:
            if is_file(code.rpartition(":")[0]):
                raise
            raise self._unknown(url) from None
        return opening.as_storage(loaded, code)

    def _unknown(self, url: str) -> UnknownBackendError:
        error = unknown_backend(url, self.schemes)
        broken = [f"{plugin.name} ({plugin.error})" for plugin in self._found if plugin.error is not None]
        return UnknownBackendError(f"{error}; not loaded: {', '.join(broken)}") if broken else error


def _origin_of(distribution: Distribution) -> _Origin:
    metadata = distribution.metadata
    name = metadata["Name"]
    extras = tuple(f"{name}[{extra}]" for extra in metadata.get_all("Provides-Extra") or ())
    return _Origin(f"{name} {metadata['Version']}", extras)


def _records(caller: pluggy.HookCaller, plugin: object, name: str, kind: type[Record]) -> tuple[Record, ...]:
    records: list[Record] = []
    for implementation in caller.get_hookimpls():
        if implementation.plugin is not plugin:
            continue
        offered: Iterable[object] = _call(implementation)
        for record in offered:
            if not isinstance(record, kind):
                raise PluginError(f"the plug-in {name!r}: {caller.name} gave {record!r}, which is no {kind.__name__}")
            records.append(record)
    return tuple(records)


def _call(implementation: pluggy.HookImpl, **arguments: object) -> Any:
    """Call one plug-in's function apart from the others', which pluggy's own call cannot."""
    return implementation.function(*(arguments[name] for name in implementation.argnames))
