"""The client: calls a cluster from another process, and finds its leader by itself.

``client.Client`` is the public face and the life cycle. Behind it: ``conversation`` is what has to be
said and what came back, ``line`` the one stream it is said on, ``addresses`` whom to ask next, and
``feed`` the change feed.
"""

from paxospp.client.client import Client

__all__ = ["Client"]
