"""What ``paxospp demo`` writes (``input_pairs``), and how it writes and times it (``timed_writes``)."""
