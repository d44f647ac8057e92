"""Record ``demo.svg``, the picture in README.md: the output of ``paxospp demo``, run for this purpose.

Run ``python examples/pictures/record_demo.py`` when the output of the demo changes. It needs rich, from the extra
``cli``. The timings are those of the machine it runs on.
"""

import io
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

TARGET = Path(__file__).with_name("demo.svg")
COLUMNS = 80
COMMAND = "paxospp demo"

FORMAT = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px
}}
.{unique_id}-title {{ font-family: system-ui, "DejaVu Sans", sans-serif; font-size: 18px; font-weight: bold }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""The format of rich without its web font, which a page that shows the picture may not load."""

STYLES = {
    r"^\$ .*": "bold",
    r"^killed .*": "bold red",
    r"^writes were interrupted .*": "yellow",
    r"^\w+ was started again .*": "green",
    r"^all [\d,]+ values .*": "bold green",
    r"^measured by the client": "bold",
    r"^(writing|reading back): .*": "bright_black",
}


def picture(output: str) -> str:
    """Return ``output`` as a terminal window in SVG; its dark background suits light and dark pages."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for line in [f"$ {COMMAND}", *output.splitlines()]:
        console.print(
            Text(line, style=next((style for pattern, style in STYLES.items() if re.match(pattern, line)), ""))
        )
    return console.export_svg(title=COMMAND, code_format=FORMAT, unique_id="demo")


def run_demo() -> str:
    """Run the demo and return what it printed."""
    command = [sys.executable, "-m", *COMMAND.split()]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    TARGET.write_text(picture(run_demo()), encoding="utf-8")
