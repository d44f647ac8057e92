"""The input of ``paxospp demo`` (``input_pairs``) and its writes and reads (``timed_writes``)."""
