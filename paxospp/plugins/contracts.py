"""Finds out which storage contract a plug-in was written for, and whether this paxospp supports it.

``paxospp.STORAGE_CONTRACT`` says what the number means and when it goes up.
"""

from __future__ import annotations

from collections.abc import Callable

from paxospp.errors import PluginError
from paxospp.storage.contract import OLDEST_STORAGE_CONTRACT, STORAGE_CONTRACT, Storage, StorageBackend


def stated_contract(offered: StorageBackend | Callable[..., Storage] | Storage) -> object:
    """Return the contract that a backend, an opening class or function, or an open storage was written for.

    A backend that states none has that of its class; a function that states none was written for contract 1.
    """
    if isinstance(offered, StorageBackend):
        return offered.contract if offered.contract is not None else stated_contract(offered.open)
    return getattr(offered, "contract", 1)


def check_contract(contract: object, who: str) -> None:
    """Raise PluginError, with ``who`` as its subject, unless this paxospp supports ``contract``."""
    if type(contract) is not int or contract < 1:
        raise PluginError(f"{who} says contract={contract!r}: write the number that paxospp.STORAGE_CONTRACT had")
    if OLDEST_STORAGE_CONTRACT <= contract <= STORAGE_CONTRACT:
        return
    supported = (
        f"contract {STORAGE_CONTRACT}"
        if OLDEST_STORAGE_CONTRACT == STORAGE_CONTRACT
        else f"contracts {OLDEST_STORAGE_CONTRACT} to {STORAGE_CONTRACT}"
    )
    remedy = "upgrade paxospp" if contract > STORAGE_CONTRACT else "upgrade the plug-in"
    raise PluginError(
        f"{who} was written for storage contract {contract}, and this paxospp supports {supported}: {remedy}"
    )
