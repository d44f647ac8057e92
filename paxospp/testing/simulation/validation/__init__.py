"""Compares every step of a simulated run with the executable specification (``paxospp.testing.specification``).

``watched`` reports each call of a replica with its result. ``projecting`` turns values of the engine into values of the
model. ``mapping`` finds the actions that a call consists of. ``validator`` takes them one by one in the model and
compares the two states afterwards. A step that the model does not allow ends the run.

References: Howard et al., "Smart Casual Verification of the Confidential Consortium Framework" (2025), and the trace
validation of etcd-io/raft, which do this with TLA+.
"""
