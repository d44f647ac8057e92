"""Plays scenarios: single commands, or a whole file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from paxospp.engine.settings import Settings
from paxospp.testing.engine_settings import engine_settings
from paxospp.testing.scenario.language import ScenarioError
from paxospp.testing.scenario.verbs import perform
from paxospp.testing.scenario.world import ScenarioWorld


class Scenario:
    """Runs commands one by one on a cluster of its own."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._world = ScenarioWorld(settings or engine_settings())

    def run(self, command: str) -> list[str]:
        """Carry out one command, and return the lines that say what happened.

        Raises:
            ScenarioError: the command cannot be understood or carried out.
        """
        self._world.story = []
        try:
            perform(self._world, command.split())
        except ScenarioError as error:
            raise ScenarioError(f"{command!r}: {error}") from error
        return self._world.story


class _Block(NamedTuple):
    """The prose and the commands of one block, without the lines that say what happened."""

    line: int
    """The number of the first line."""
    lines: list[str]


def play(path: Path, *, settings: Settings | None = None) -> str:
    """Play the scenario file ``path``, and return its text with what happens now.

    Raises:
        ScenarioError: a command cannot be understood or carried out; the text names file, line and command.
    """
    scenario = Scenario(settings)
    told: list[str] = []
    for block in _blocks(path.read_text()):
        story: list[str] = []
        is_told = False
        for number, line in enumerate(block.lines, block.line):
            if not line or line.startswith("#"):
                continue
            is_told = True
            try:
                story.extend(scenario.run(line))
            except ScenarioError as error:
                raise ScenarioError(f"{path.name}:{number}: {error}") from error
            except Exception as error:
                error.add_note(f"{path.name}:{number}: {line!r}")
                raise
        told.append("\n".join([*block.lines, "----", *(story or ["ok"])] if is_told else block.lines))
    return "\n\n".join(told) + "\n"


def _blocks(text: str) -> Iterator[_Block]:
    line = 1 + len(text) - len(text.lstrip("\n"))
    for block in text.strip("\n").split("\n\n"):
        yield _Block(line, block.split("\n----", 1)[0].splitlines())
        line += block.count("\n") + 2
