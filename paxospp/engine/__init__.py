"""The protocol, pure: Multi-Paxos as functions from a message and a time to what is to be done.

Nothing in here reads a clock, draws chance, opens a file or a socket: time and chance are
arguments, so that a seed replays a run. ``replica.Replica`` routes; each rule of the protocol
lives in the leaf module that bears its name.
"""
