"""Markers: names of branches that matter for safety, reported when the branch is taken.

They let a sweep of random runs say which branches it reached. An object that reports markers gets
a ``Markers`` when it is made. In production that is ``NO_MARKERS``, and a marker costs one call of an
empty method.
"""

from __future__ import annotations


class Markers:
    """Receives markers. This class ignores them; a subclass records them."""

    def reached(self, marker: str) -> None:
        """Report that a branch was taken. ``marker`` is a literal, ``part: what happened``."""


NO_MARKERS = Markers()
"""The ``Markers`` of production."""
