"""Snapshots of one node: taking them and trimming the log, sending them to peers, fetching and installing a peer's.

``policy`` says when a snapshot is due and which slots stay in the log. ``taking`` writes one from the machine to the
storage. ``sending`` sends the current one to peers in chunks. ``fetching`` gets a peer's, and ``restoring`` makes it,
or the one found at a start, the state of the machine. ``coordinator`` runs these one at a time and keeps in the log
what a peer still needs.
"""
