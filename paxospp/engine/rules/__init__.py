"""The rules of the protocol, one per module: pure functions and classes that return values and know no output."""
