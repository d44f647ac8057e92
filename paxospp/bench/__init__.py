"""``paxospp bench``: measure calls per second and latency, and check that no acknowledged write is lost.

README.md says how to measure and what the numbers mean. A benchmark (``benchmark``) is run by ``measuring``: it starts
a cluster or takes the given one, generates load in this process (``load_generator``) or in client processes
(``client_processes``), measures the latency floor (``floor``) before and after, and reads everything back at the end
(``readback``). ``sweep`` runs many benchmarks and compares their medians with goals. ``paxospp.cli`` parses the flags
and prints the results.
"""
