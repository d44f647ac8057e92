"""The plug-ins of one node: found, asked once what they offer, and looked up by scheme or name.

A plug-in is installed (an entry point in the group ``paxospp``) or given: a module, an object, the
name of a module, or a ``FILE.py``. A broken installed plug-in is recorded with its error and affects
nothing else; a broken given one raises, because the user asked for it. Each registry has its own
plug-in manager; none is global.

The isolation follows conda: pluggy's own loader stops at the first entry point that cannot be imported.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import Distribution, EntryPoint, entry_points
from types import ModuleType

import pluggy

from paxospp import hookspecs
from paxospp.errors import (
    ConfigError,
    PluginError,
    UnknownBackendError,
)
from paxospp.events import Event
from paxospp.model import NodeId
from paxospp.plugins.contracts import check_contract, stated_contract
from paxospp.plugins.found import FoundPlugin, Offers
from paxospp.plugins.hooks import ask_plugin, call_hook, check_arguments
from paxospp.plugins.loading import import_error, is_file, load_module, load_object, type_and_text
from paxospp.plugins.opening import as_machine, as_storage, storage_opener
from paxospp.state_machine import MachineType, StateMachine
from paxospp.storage.contract import Storage, StorageBackend
from paxospp.storage.url import expand_url, parse_url, unknown_backend

_log = logging.getLogger(__name__)


class PluginRegistry:
    """Loads the plug-ins when it is made, and looks up what they offer.

    Args:
        plugins: plug-ins to load beside the installed ones: modules, objects, module names, ``FILE.py``.
        load_entry_points: False leaves the installed plug-ins out.
        keep_broken: record a broken given plug-in, like an installed one, instead of raising.

    Raises:
        PluginError: a given plug-in cannot be used, or offers a name that another one offers.
        ConfigError: a given plug-in does not exist.
    """

    def __init__(
        self, plugins: Sequence[object] = (), load_entry_points: bool = True, *, keep_broken: bool = False
    ) -> None:
        self._manager = pluggy.PluginManager(hookspecs.GROUP)
        self._manager.add_hookspecs(hookspecs)
        self._found: list[FoundPlugin] = []
        self._places: dict[str, int] = {}
        """Index in ``_found`` of each loaded plug-in, by its name in the manager."""
        self._storages: Offers[StorageBackend] = Offers("storage scheme")
        self._machines: Offers[MachineType] = Offers("state machine")
        if load_entry_points:
            # Reading the metadata of a distribution parses its README, so read it only once.
            origins: dict[Distribution, tuple[str, tuple[str, ...]]] = {}
            for entry_point in sorted(entry_points(group=hookspecs.GROUP), key=lambda found: found.name):
                source: str = entry_point.value
                extras: tuple[str, ...] = ()
                if (distribution := entry_point.dist) is not None:
                    if distribution not in origins:
                        origins[distribution] = _origin_of(distribution)
                    source, extras = origins[distribution]
                self._add_installed(entry_point, FoundPlugin(name=entry_point.name, source=source, extras=extras))
        for plugin in plugins:
            self._add_given(plugin, keep_broken)

    @property
    def found(self) -> tuple[FoundPlugin, ...]:
        """Every plug-in, the broken ones too, in the order they were loaded."""
        return tuple(self._found)

    @property
    def schemes(self) -> frozenset[str]:
        """The storage schemes on offer."""
        return self._storages.names()

    @property
    def machines(self) -> frozenset[str]:
        """The names of the state machines on offer."""
        return self._machines.names()

    def storage(self, url: str, name: NodeId | None = None) -> Callable[[], Storage]:
        """Return a function that opens the storage of ``url``. Nothing is opened or written yet.

        Raises:
            ConfigError: the URL is malformed, or has an option that the storage does not take.
            UnknownBackendError: no plug-in offers the scheme.
            DuplicateBackendError: several plug-ins offer it.
            PluginError: it was written for a contract that this paxospp does not support.
        """
        try:
            parsed = parse_url(expand_url(url, name=name), self.schemes)
        except UnknownBackendError:
            raise self._unknown(url) from None
        if parsed.backend not in self.schemes:
            opened = self._storage_of_code(url, parsed.backend)
            check_contract(stated_contract(opened), parsed.backend)
            return storage_opener(opened, url, parsed.path, parsed.options, extra=None)
        backend, plugin = self._backend(parsed.backend)
        extra = plugin.extra_for(parsed.backend)
        return storage_opener(backend.open, url, parsed.path, parsed.options, extra)

    def machine(self, spec: str) -> Callable[[], StateMachine]:
        """Return a function that makes the state machine ``spec``.

        Args:
            spec: a registered name, ``FILE.py:Class`` or ``package.module:Class``.

        Raises:
            UnknownBackendError: no plug-in offers that name.
            DuplicateBackendError: several plug-ins offer it.
            ConfigError, PluginError: the class does not exist, or its file cannot be imported.
        """
        if spec in self.machines:
            return as_machine(self._machines.get(spec)[0].factory, spec)
        if ":" not in spec:
            known = ", ".join(sorted(self.machines)) or "none"
            raise UnknownBackendError(
                f"unknown state machine {spec!r}; known: {known}; or name a class: FILE.py:Class, package.module:Class"
            )
        return as_machine(load_object(spec), spec)

    def storage_problem(self, scheme: str) -> PluginError | None:
        """Return the error that ``storage`` would raise for ``scheme``, one of ``schemes``, or None."""
        try:
            self._backend(scheme)
        except PluginError as error:
            return error
        return None

    def machine_problem(self, name: str) -> PluginError | None:
        """Return the error that ``machine`` would raise for ``name``, one of ``machines``, or None."""
        try:
            self._machines.get(name)
        except PluginError as error:
            return error
        return None

    def notify(self, event: Event) -> None:
        """Call ``paxospp_event`` of every plug-in that has it; an exception is logged and otherwise ignored."""
        for implementation in self._manager.hook.paxospp_event.get_hookimpls():
            try:
                call_hook(implementation, event=event)
            except Exception:
                _log.exception(
                    "the plug-in %s raised an exception for the event %s",
                    implementation.plugin_name,
                    type(event).__name__,
                )

    # Loading

    def _add_installed(self, entry_point: EntryPoint, found: FoundPlugin) -> None:
        try:
            self._register(entry_point.load(), found)
        except PluginError as error:
            self._add_broken(found, error)
        except (Exception, SystemExit) as error:
            text = import_error(entry_point.value, error)
            self._add_broken(found, PluginError(f"the plug-in {found.name!r}: {text}"))

    def _add_given(self, given: object, keep_broken: bool) -> None:
        found = _describe(given)
        try:
            plugin = load_module(given) if isinstance(given, str) else given
            if (registered := self._manager.get_name(plugin)) is not None:
                place = self._places[registered]
                self._found[place] = replace(self._found[place], given=True)
                return
            found = self._register(plugin, found)
        except PluginError as error:
            if not keep_broken:
                raise
            self._add_broken(found, error)
            return
        if not keep_broken:
            self._raise_problem(found)

    def _add_broken(self, found: FoundPlugin, error: PluginError) -> None:
        self._found.append(replace(found, error=str(error)))

    def _register(self, plugin: object, found: FoundPlugin) -> FoundPlugin:
        """Load ``plugin``; return ``found`` with what it offers."""
        name = found.name
        unique = name if self._manager.get_plugin(name) is None else f"{name} ({len(self._found)})"
        try:
            check_arguments(self._manager, plugin, name)
            self._manager.register(plugin, unique)
            found = ask_plugin(self._manager, plugin, found)
        except (Exception, SystemExit) as error:
            if self._manager.get_plugin(unique) is not None:
                self._manager.unregister(name=unique)
            if isinstance(error, PluginError):
                raise
            raise PluginError(f"the plug-in {name!r} cannot be used: {type_and_text(error)}") from error
        for storage in found.storages:
            self._storages.add(storage.scheme, storage, found)
        for machine in found.machines:
            self._machines.add(machine.name, machine, found)
        self._places[unique] = len(self._found)
        self._found.append(found)
        return found

    def _raise_problem(self, found: FoundPlugin) -> None:
        problems = [
            *(self.storage_problem(storage.scheme) for storage in found.storages),
            *(self.machine_problem(machine.name) for machine in found.machines),
        ]
        for problem in problems:
            if problem is not None:
                raise problem

    # Looking up

    def _backend(self, scheme: str) -> tuple[StorageBackend, FoundPlugin]:
        backend, plugin = self._storages.get(scheme)
        check_contract(stated_contract(backend), f"the storage scheme {scheme!r} of the plug-in {plugin}")
        return backend, plugin

    def _storage_of_code(self, url: str, code: str) -> Callable[..., Storage]:
        try:
            loaded = load_object(code)
        except ConfigError:
            if is_file(code.rpartition(":")[0]):
                raise
            raise self._unknown(url) from None
        return as_storage(loaded, code)

    def _unknown(self, url: str) -> UnknownBackendError:
        error = unknown_backend(url, self.schemes)
        broken = [f"{plugin.name} ({plugin.error})" for plugin in self._found if plugin.error is not None]
        return UnknownBackendError(f"{error}; not loaded: {', '.join(broken)}") if broken else error


def _describe(given: object) -> FoundPlugin:
    """Return what is known of a given plug-in before it is loaded."""
    if isinstance(given, str):
        source = os.path.abspath(given) if is_file(given) else "given by name"
        return FoundPlugin(name=given, source=source, given=True)
    if isinstance(given, ModuleType):
        return FoundPlugin(name=given.__name__, source=given.__file__ or "module", given=True)
    return FoundPlugin(name=type(given).__name__, source="given as an object", given=True)


def _origin_of(distribution: Distribution) -> tuple[str, tuple[str, ...]]:
    """Return the source and the extras of a distribution's plug-ins."""
    metadata = distribution.metadata
    name = metadata["Name"]
    extras = tuple(f"{name}[{extra}]" for extra in metadata.get_all("Provides-Extra") or ())
    return f"{name} {metadata['Version']}", extras
