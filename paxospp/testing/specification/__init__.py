"""The protocol as a small model: what may happen, and nothing about how it is implemented.

``state``, ``messages`` and ``values`` define the state space. ``phase_1``, ``phase_2``, ``learning``, ``durability``,
``damage``, ``bootstrap``, ``snapshots`` and ``leases`` define the actions and their guards, by the rule numbers of
``paxospp/engine/README.md``. ``invariants`` says what must hold in every state. ``model_checker`` explores small
scopes exhaustively, and ``paxospp.testing.simulation.validation`` checks each step of the real engine against the
same actions.

The model imports nothing of the engine. A class that stands for one of the engine's has the same name with ``Model``
in front: ``ModelBallot``, ``ModelAccept``, ``ModelNode``.
"""
