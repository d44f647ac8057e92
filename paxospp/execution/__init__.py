"""Execution: applying decided entries to a state machine, deterministically and from the log alone.

``executor`` applies entries in slot order. It uses ``memberships`` (which members govern a slot), ``built_in_machine``
(``decide`` and leases, beside the user's machine), ``exceptions`` (what an exception of a command means), ``effects``
(which commands took effect, for the change feed) and ``digest`` (what replicas compare). ``snapshot`` is the encoding
of all of it between two slots. Nothing here knows a clock, a disk or a network. Sessions are in ``paxospp.sessions``.
"""
