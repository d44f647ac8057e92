"""Markers: names of branches that matter for safety, reported when they are taken.

A sweep of random runs can so say which branches it reached. Whoever reports markers is given somebody to
report them to when it is made. In production that is ``UNWATCHED``, and a marker costs one call of an
empty method.
"""

from __future__ import annotations


class Markers:
    """Hears of markers; this one forgets them."""

    def reached(self, marker: str) -> None:
        """The branch that ``marker`` names was taken: ``module: what happened``, a literal at its place."""


UNWATCHED = Markers()
"""Nobody listens."""
