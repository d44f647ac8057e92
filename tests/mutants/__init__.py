"""Mutants: the tests, tested. Each breaks one rule, and random runs of the simulator have to notice.

A mutant is a small patch of the engine, the execution, a node's rooms or a virtual disk, made in
the source as it is imported by a child process (``patching``), so nothing else ever runs it. Its
text has to fit the source exactly once: a mutant that stops applying is an error, not a survivor.

``python -m tests.mutants`` runs every one under random seeds, the same for all, until it is
killed, and prints in how many seeds that took and which invariant noticed. A kill counts only if
the code as it is passes under the same seed. A mutant that survives says something about the
simulator: widen the faults, not the mutant.

References: DeMillo, Lipton, Sayward, "Hints on Test Data
Selection" (1978); Chandra et al., "Paxos Made Live" (2007), 6.
"""
