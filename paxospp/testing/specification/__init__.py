"""The protocol as a small model: what may happen, and nothing about how it is done.

``state`` and ``messages`` say what there is; ``phase_1``, ``phase_2``, ``learning``, ``disk``, ``damage``,
``founding``, ``snapshots`` and ``leases`` hold the actions with their guards, by the rule numbers of
``paxospp/engine/README.md``; ``invariants`` what must hold. ``checking`` explores small scopes exhaustively, and
``paxospp.testing.simulation.validation`` holds steps of the real engine against the same actions.

The model knows nothing of the engine and imports nothing of it.
"""
