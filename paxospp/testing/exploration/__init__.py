"""Exhaustive exploration of small scopes: a model checker that drives the real engine.

``python -m paxospp.testing.exploration --help`` lists what it does; the README beside this file says what is
explored, what is left out, and why the reductions are sound. This module imports nothing, because the command
may have to put a fault into the engine before it is imported.
"""
