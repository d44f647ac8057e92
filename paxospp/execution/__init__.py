"""What decided entries mean: exactly once per number, on a state machine, from the log alone.

``values`` is the form of what the log holds; ``caller`` numbers calls and cuts them into runs;
``sessions`` judges decided runs; ``executor`` applies entries, with ``memberships`` (who
governs), ``raising`` (what an exception means) and ``digest`` (what replicas compare);
``snapshot`` is the form of all of it between two slots. Nothing here knows a clock, a disk or
a network.
"""
