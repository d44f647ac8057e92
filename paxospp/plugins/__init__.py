"""Plug-ins: finding them, asking what they offer, and turning text into storages and machines."""

from paxospp.plugins.registry import FoundPlugin, PluginRegistry

__all__ = ["FoundPlugin", "PluginRegistry"]
