"""The end of a run that fails: an invariant does not hold, or work is not done in time."""

from __future__ import annotations


class RuleBroken(BaseException):
    """The exception that ends a run.

    ``rule``: the number of an invariant in ``paxospp/testing/simulation/README.md``, or a word; ``text``: what was
    seen. It is not an Exception, because a node would treat an Exception as a failure of its own and stop.
    """

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"{rule}: {text}")
        self.rule = rule
        self.text = text
