"""Holds every step of a simulated run against the executable specification (``paxospp.testing.specification``).

``watched`` tells each call of a replica with what came of it; ``projecting`` makes values of the model of
values of the engine; ``mapping`` finds the actions that the call stands for; ``validator`` takes them one by one in the
model and compares the two states afterwards. A step that the model does not allow ends the run.

References: Howard et al., "Smart Casual Verification of the Confidential Consortium Framework" (2025), and the trace
validation of etcd-io/raft, which do this with TLA+.
"""
