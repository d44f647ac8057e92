"""Exactly-once sessions, both sides: the caller that numbers its calls, and the table that judges decided runs.

``caller`` numbers calls, cuts them into runs and sends them again; ``runs`` encodes runs and the values that hold them;
``table`` decides which calls of a decided run are new, and expires sessions at the same slot on every replica. Nothing
here knows a clock, a disk or a network.

Reference: Ongaro's thesis, "Consensus: Bridging Theory and Practice" (2014), 6.3.
"""
