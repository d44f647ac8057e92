"""Snapshots of one node: taken and trimmed behind, sent to peers, fetched from them and installed.

``policy`` says when one is due and which slots stay; ``taking`` brings one from the machine to
the storage; ``sending`` serves the current one in chunks; ``fetching`` gets a peer's, and
``restoring`` makes it, or the one found at a start, the machine's state. ``room`` puts them
together: one thing at a time is staged, and what a peer still needs is not trimmed.
"""

from paxospp.node.snapshots.restoring import Progress, restore_current
from paxospp.node.snapshots.room import Snapshots

__all__ = ["Progress", "Snapshots", "restore_current"]
