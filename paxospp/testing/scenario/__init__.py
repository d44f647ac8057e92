"""Scenarios: the protocol told as a story that a reader can follow and a test can check.

A scenario file is prose (lines that begin with ``#``), commands, a line ``----``, and what
happened; then a blank line and the next such block. Nothing happens by itself: a message
arrives when a command delivers it, a write returns when a command lets it, time passes when a
command says so. ``pytest --paxospp-rewrite`` writes down what happens now.

The commands are listed in ``language``. A story of a lost Prepare::

    # n2 never hears what n1 asks; the promise of n3 is enough.
    cluster 3
    campaign n1
    persist n1
    drop n1->n2 Prepare
    stabilize n1 n3
    ----
    n1 persist promised=2.n1
    …

Reference: the data-driven interaction tests of etcd's raft library.
"""

from paxospp.testing.scenario.language import ScenarioError
from paxospp.testing.scenario.playing import Scenario, play

__all__ = ["Scenario", "ScenarioError", "play"]
