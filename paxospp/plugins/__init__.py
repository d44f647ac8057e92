"""Plug-ins: finding them, asking what they offer, and opening the storages and state machines that text names."""

from paxospp.plugins.found import FoundPlugin
from paxospp.plugins.registry import PluginRegistry

__all__ = ["FoundPlugin", "PluginRegistry"]
