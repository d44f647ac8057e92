"""``paxospp plugins``: list the plug-ins, what each offers, and what to do about an offer that cannot be used."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple

from paxospp.cli.arguments import EXIT_FAILED
from paxospp.cli.terminal import print_table, say
from paxospp.errors import DuplicateBackendError, PluginError
from paxospp.plugins import FoundPlugin, PluginRegistry
from paxospp.plugins.opening import missing_driver
from paxospp.storage.contract import StorageBackend

COLUMNS = ("plug-in", "from", "offers", "state", "what it is")
OK, UNAVAILABLE, CONFLICT, BROKEN = "ok", "unavailable", "conflict", "broken"


class OfferedThing(NamedTuple):
    """A storage, a state machine or an observer that a plug-in offers. ``note`` says what is wrong and what to do."""

    what: str
    state: str
    summary: str
    note: str | None = None


def run(options: argparse.Namespace) -> int:
    """Print the table; return 1 if a plug-in is broken, else 0.

    A missing driver does not make a plug-in broken, except one that ``--plugin`` names.
    """
    registry = PluginRegistry(options.plugin or (), keep_broken=True)
    if not registry.found:
        say("no plug-ins were found, because paxospp is not installed as a distribution: pip install paxospp")
        return EXIT_FAILED
    offers = [(plugin, offer) for plugin in registry.found for offer in _offers(registry, plugin)]
    print_table(
        COLUMNS, [(plugin.name, plugin.source, offer.what, offer.state, offer.summary) for plugin, offer in offers]
    )
    for note in dict.fromkeys(offer.note for _, offer in offers if offer.note is not None):
        say(f"\n{note}")  # both plug-ins of a conflict have the same note
    return EXIT_FAILED if any(_counts_as_broken(plugin, offer) for plugin, offer in offers) else 0


def _counts_as_broken(plugin: FoundPlugin, offer: OfferedThing) -> bool:
    return offer.state in (CONFLICT, BROKEN) or (offer.state == UNAVAILABLE and plugin.given)


def _offers(registry: PluginRegistry, plugin: FoundPlugin) -> Iterator[OfferedThing]:
    if plugin.error is not None:
        yield OfferedThing("", BROKEN, "", plugin.error)
        return
    for storage in plugin.storages:
        what, problem = f"storage {storage.scheme}:", registry.storage_problem(storage.scheme)
        if problem is None:
            yield _storage_offer(plugin, storage, what)
        else:
            yield _problem_offer(what, storage.summary, problem)
    for machine in plugin.machines:
        what, problem = f"state machine {machine.name}", registry.machine_problem(machine.name)
        if problem is None:
            yield OfferedThing(what, OK, machine.summary)
        else:
            yield _problem_offer(what, machine.summary, problem)
    if plugin.observes:
        yield OfferedThing("observer", OK, "receives the events of a node")
    if not (plugin.storages or plugin.machines or plugin.observes):
        yield OfferedThing("nothing", OK, "its hooks returned nothing")


def _storage_offer(plugin: FoundPlugin, storage: StorageBackend, what: str) -> OfferedThing:
    try:
        driver = missing_driver(storage)
    except PluginError as error:
        return _problem_offer(what, storage.summary, error)
    if driver is None:
        return OfferedThing(what, OK, storage.summary)
    note = f"the storage scheme {storage.scheme!r} of the plug-in {plugin} needs {driver}, which is not installed: "
    extra = plugin.extra_for(storage.scheme)
    note += f"pip install '{extra}'" if extra is not None else "install it"
    return OfferedThing(what, UNAVAILABLE, storage.summary, note)


def _problem_offer(what: str, summary: str, problem: PluginError) -> OfferedThing:
    return OfferedThing(what, CONFLICT if isinstance(problem, DuplicateBackendError) else BROKEN, summary, str(problem))
