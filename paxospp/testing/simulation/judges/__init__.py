"""The checks of a run: each judges what nodes say, write, apply and answer, with every disk and message in view.

The judges cite by number: 7 is an invariant of ``paxospp/testing/simulation/README.md``, D12 a family of faults in the
same file, rule 4 a rule of ``paxospp/engine/README.md``, and B33 a bug of ``tests/BUGS.md``.
"""
