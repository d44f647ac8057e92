"""The client: calls a cluster from another process, and finds the leader by itself.

``client.Client`` is the public class. Behind it:

- ``started``: a started client with its open calls.
- ``conversation``: which commands and queries are unanswered, what to send next, and what to send again.
- ``connector``: keeps one stream open, to the leader if possible.
- ``addresses``: the known addresses and which to try next.
- ``feed``: the change feed and snapshot streams.
- ``cluster_status``: the status of every node, for the command line.
"""

from paxospp.client.client import Client

__all__ = ["Client"]
