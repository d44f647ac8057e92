"""The rules of the protocol, one per module: pure, returning values, with no knowledge of the output under construction."""
