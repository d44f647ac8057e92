"""Settings for a replica without a node."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from paxospp.config import NodeConfig
from paxospp.engine.settings import Settings
from paxospp.node.engine_settings import settings_of


def engine_settings(**changes: Any) -> Settings:
    """Return the settings of a replica in a node with the default configuration, with ``changes``.

    Unless told otherwise, a leader announces decided slots immediately, so that a test need not wait for that.
    """
    return replace(settings_of(NodeConfig()), **{"announce_after_s": 0.0, **changes})
