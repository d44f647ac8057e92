"""Scenarios: examples of the protocol that a reader can follow and a test checks.

A scenario file consists of blocks, separated by blank lines: prose (lines that begin with ``#``), commands, a line
``----``, and what happened. Nothing happens by itself: a message arrives when a command delivers it, a write returns
when a command lets it, and time passes when a command says so. ``pytest --paxospp-rewrite`` replaces what the files
say by what happens now.

``language`` lists the commands. A scenario of a lost Prepare::

    # n2 never receives the Prepare of n1; the promise of n3 is enough.
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
