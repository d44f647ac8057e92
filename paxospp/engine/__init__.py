"""The engine: Multi-Paxos as a pure state machine.

Nothing in here reads a clock, opens a file or a socket, or draws random numbers of its own: time and randomness are
arguments, so a seed replays a run. A node drives ``replica.Replica``; ``protocol.Protocol`` routes messages and changes
roles; ``rules`` holds the rules of the protocol, which return values; ``handlers`` apply them to the output of a call.
README.md states the rules.
"""
