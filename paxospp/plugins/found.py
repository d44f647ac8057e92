"""The values that the registry holds: the plug-ins that were found, and their offers, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from paxospp.errors import DuplicateBackendError
from paxospp.state_machine import MachineType
from paxospp.storage.contract import StorageBackend

Record = TypeVar("Record", StorageBackend, MachineType)


@dataclass(slots=True, frozen=True, kw_only=True)
class FoundPlugin:
    """One plug-in as ``paxospp plugins`` shows it. With an ``error`` it was not loaded and offers nothing."""

    name: str
    source: str
    """Its origin: a distribution with its version, a file, a module, or an object."""
    extras: tuple[str, ...] = ()
    """The extras of its distribution, as ``name[extra]``."""
    given: bool = False
    """True: the user asked for this plug-in (``--plugin``, ``plugins=``). False: it is installed."""
    storages: tuple[StorageBackend, ...] = ()
    machines: tuple[MachineType, ...] = ()
    observes: bool = False
    """Whether it implements ``paxospp_event``."""
    error: str | None = None

    def extra_for(self, scheme: str) -> str | None:
        """Return the extra that installs the driver of ``scheme``: by convention the one of the same name."""
        return next((extra for extra in self.extras if extra.endswith(f"[{scheme}]")), None)

    def __str__(self) -> str:
        return f"{self.name!r} ({self.source})"


class Offers(Generic[Record]):
    """The records of one kind, by name. A name that is offered twice is an error when it is looked up."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._offers: dict[str, list[tuple[Record, FoundPlugin]]] = {}

    def add(self, name: str, record: Record, plugin: FoundPlugin) -> None:
        self._offers.setdefault(name, []).append((record, plugin))

    def names(self) -> frozenset[str]:
        return frozenset(self._offers)

    def get(self, name: str) -> tuple[Record, FoundPlugin]:
        """Return the record ``name`` and the plug-in that offers it.

        Raises:
            DuplicateBackendError: several plug-ins offer it, or one offers it twice.
        """
        first, *others = self._offers[name]
        if not others:
            return first
        plugins = " and ".join(str(plugin) for _, plugin in (first, *others))
        raise DuplicateBackendError(
            f"the {self._kind} {name!r} is offered by {plugins}, so it cannot be used: "
            f"uninstall one of them, leave it out of --plugin, or rename its {self._kind}"
        )
