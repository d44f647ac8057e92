"""``paxospp plugins``: what was found, where it came from, what is broken and why."""

from __future__ import annotations

import argparse

from paxospp.cli.showing import print_table, say
from paxospp.plugins import FoundPlugin, PluginRegistry


def run(options: argparse.Namespace) -> int:
    """Load every plug-in as a node would, and tell; 0 even if some are broken, for no node dies of them."""
    found = PluginRegistry(options.plugin or ()).found
    if not found:
        say("no plug-ins: paxospp itself is not installed as a distribution (pip install -e .)")
        return 0
    print_table(("plug-in", "from", "offers"), [(plugin.name, plugin.source, _offers(plugin)) for plugin in found])
    return 0


def _offers(plugin: FoundPlugin) -> str:
    if plugin.error is not None:
        return f"broken: {plugin.error}"
    offers = [f"storage {storage.scheme}: ({storage.summary})" for storage in plugin.storages]
    offers += [f"state machine {machine.name} ({machine.summary})" for machine in plugin.machines]
    if plugin.observes:
        offers.append("hears events")
    return ", ".join(offers)
