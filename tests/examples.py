"""How many examples Hypothesis draws: few in a plain run, all of them in CI."""

from __future__ import annotations

import os

from hypothesis import settings


def examples(count: int) -> settings:
    """Draw ``count`` examples where ``.ci/run`` runs the test, which sets PAXOSPP_CI, and a fifth of them elsewhere."""
    return settings(max_examples=count if os.environ.get("PAXOSPP_CI") else max(10, count // 5), deadline=None)
