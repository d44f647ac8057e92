"""What ends a run: an invariant that does not hold, or work that is not done in time."""

from __future__ import annotations


class RuleBroken(BaseException):
    """``rule`` is a number of *FAULTS.md (e)* or a word; ``text`` says what was seen.

    No Exception, for the node would take one for its own trouble and stop, as it should.
    """

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"{rule}: {text}")
        self.rule = rule
        self.text = text
