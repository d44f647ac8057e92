"""Mutants, which test the tests. Each breaks one rule, and random runs of the simulator have to notice.

A mutant is a small patch of the engine, the execution, the node or a virtual disk. A child process applies
it to the source while it imports the module (``patching``), so no other process ever runs it. The text that
a patch replaces must occur in the source exactly once: a mutant that no longer applies is an error, not a
survivor.

``python -m tests.mutants`` runs every mutant under the same random seeds until it is killed, and prints how
many seeds that took and which invariant noticed. A kill counts only if the unpatched code passes under the
same seed. A mutant that survives shows a weakness of the simulator: draw more faults there, and leave the
mutant as it is.

References: DeMillo, Lipton, Sayward, "Hints on Test Data
Selection" (1978); Chandra et al., "Paxos Made Live" (2007), 6.
"""
