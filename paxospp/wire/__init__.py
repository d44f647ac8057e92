"""The encoding between nodes: ``frames`` around ``peer_messages``, both in protobuf.

``v1`` is generated from ``protos/``; ``fields`` writes protobuf by hand where that saves a copy.
"""
