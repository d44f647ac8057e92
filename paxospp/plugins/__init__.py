"""Plug-ins: finding them, asking what they offer, and turning text into storages and machines."""

from paxospp.plugins.found import FoundPlugin
from paxospp.plugins.registry import PluginRegistry

__all__ = ["FoundPlugin", "PluginRegistry"]
