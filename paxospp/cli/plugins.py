"""``paxospp plugins``: every plug-in that was found, what it offers, and what to do where that cannot be used."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple

from paxospp.cli.arguments import EXIT_FAILED
from paxospp.cli.showing import print_table, say
from paxospp.errors import DuplicateBackendError, PluginError
from paxospp.plugins import FoundPlugin, PluginRegistry
from paxospp.plugins.opening import missing_driver
from paxospp.storage.contract import StorageBackend

COLUMNS = ("plug-in", "from", "offers", "state", "what it is")
OK, UNAVAILABLE, CONFLICT, BROKEN = "ok", "unavailable", "conflict", "broken"


class Offer(NamedTuple):
    """One row of the table; ``note`` says what is wrong and what to do."""

    what: str
    state: str
    summary: str
    note: str | None = None


def run(options: argparse.Namespace) -> int:
    """Print the table; 1 if a plug-in is broken, 0 if all of them can be used or lack no more than a driver.

    A missing driver counts as broken for a plug-in that ``--plugin`` asked for.
    """
    registry = PluginRegistry(options.plugin or (), keep_broken=True)
    if not registry.found:
        say("no plug-ins found: paxospp is not installed as a distribution (pip install paxospp)")
        return EXIT_FAILED
    offers = [(plugin, offer) for plugin in registry.found for offer in _offers(registry, plugin)]
    print_table(
        COLUMNS, [(plugin.name, plugin.source, offer.what, offer.state, offer.summary) for plugin, offer in offers]
    )
    for note in dict.fromkeys(offer.note for _, offer in offers if offer.note is not None):
        say(f"\n{note}")  # a conflict is the same note at both plug-ins
    return EXIT_FAILED if any(_counts_as_broken(plugin, offer) for plugin, offer in offers) else 0


def _counts_as_broken(plugin: FoundPlugin, offer: Offer) -> bool:
    return offer.state in (CONFLICT, BROKEN) or (offer.state == UNAVAILABLE and plugin.given)


def _offers(registry: PluginRegistry, plugin: FoundPlugin) -> Iterator[Offer]:
    if plugin.error is not None:
        yield Offer("", BROKEN, "", plugin.error)
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
            yield Offer(what, OK, machine.summary)
        else:
            yield _problem_offer(what, machine.summary, problem)
    if plugin.observes:
        yield Offer("observer", OK, "is told the events of a node")
    if not (plugin.storages or plugin.machines or plugin.observes):
        yield Offer("nothing", OK, "its hooks returned nothing")


def _storage_offer(plugin: FoundPlugin, storage: StorageBackend, what: str) -> Offer:
    try:
        driver = missing_driver(storage)
    except PluginError as error:
        return _problem_offer(what, storage.summary, error)
    if driver is None:
        return Offer(what, OK, storage.summary)
    note = f"the storage scheme {storage.scheme!r} of the plug-in {plugin} needs {driver}, which is not installed: "
    extra = plugin.extra_for(storage.scheme)
    note += f"pip install '{extra}'" if extra is not None else "install it"
    return Offer(what, UNAVAILABLE, storage.summary, note)


def _problem_offer(what: str, summary: str, problem: PluginError) -> Offer:
    return Offer(what, CONFLICT if isinstance(problem, DuplicateBackendError) else BROKEN, summary, str(problem))
