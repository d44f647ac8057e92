"""Playing a scenario: a command, or a whole file, whose blocks say what happens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from paxospp.engine.settings import Settings
from paxospp.testing.engine_settings import engine_settings
from paxospp.testing.scenario.language import ScenarioError
from paxospp.testing.scenario.verbs import perform
from paxospp.testing.scenario.world import World


class Scenario:
    """Runs commands one by one; each returns the lines that tell what it caused."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._world = World(settings or engine_settings())

    def run(self, command: str) -> list[str]:
        """Do what one line says.

        Raises:
            ScenarioError: it cannot be understood or done.
        """
        self._world.story = []
        try:
            perform(self._world, command.split())
        except ScenarioError as error:
            raise ScenarioError(f"{command!r}: {error}") from error
        return self._world.story


class _Block(NamedTuple):
    """Lines between two blank ones: prose and commands, without what happened."""

    line: int
    """The number of the first line."""
    lines: list[str]


def play(path: Path, *, settings: Settings | None = None) -> str:
    """Return the text of the scenario file ``path``, with what happens now in the place of what it says.

    Raises:
        ScenarioError: a command cannot be understood or done; it names file, line and command.
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
