"""gRPC between nodes and between a client and a node: channels, streams, the server.

It hands what arrives to callables, and knows neither the node nor the engine.

- Node to node: ``peers`` (all links of a node), ``link`` (the stream to one peer).
- A client's end: ``call_stream`` (commands and queries), ``feed_stream`` (changes and snapshots), ``unary_calls``.
- A node's end: ``server``, ``connection`` (one client's stream), ``listening`` (checks a listen address).
- Shared: ``channel`` (settings and method names), ``outbox`` (a send queue), ``deadlines`` (timeouts of calls).
"""
