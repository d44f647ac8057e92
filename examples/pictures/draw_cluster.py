"""Draw ``cluster.svg``, the diagram in README.md: how one call travels through three nodes.

Run ``python examples/pictures/draw_cluster.py`` after a change; a test compares the file with what this script draws.
The colors follow the reader's light or dark mode, and the background is part of the picture, so the text stays
readable on any page.
"""

from pathlib import Path
from xml.sax.saxutils import escape

TARGET = Path(__file__).with_name("cluster.svg")

WIDTH, HEIGHT = 860, 420
NODE_WIDTH, NODE_TOP, NODE_HEIGHT = 220, 150, 170
CENTERS = (140, 430, 720)
"""The horizontal center of each node, from left to right; the second node is the leader."""

STYLE = """
  .page { fill: #ffffff; stroke: #d0d7de }
  .node { fill: #f6f8fa; stroke: #8c959f }
  .leader { fill: #ddf4ff; stroke: #0969da; stroke-width: 2 }
  .part { fill: #ffffff; stroke: #8c959f }
  .arrow { stroke: #0969da; stroke-width: 2; fill: none }
  .head { fill: #0969da }
  .badge { fill: #0969da }
  text { fill: #1f2328; font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; font-size: 14px }
  .title { font-weight: 600 }
  .code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 13px }
  .small { font-size: 13px }
  .number { fill: #ffffff; font-size: 12px; font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; stroke: #30363d }
    .node { fill: #161b22; stroke: #6e7681 }
    .leader { fill: #12263f; stroke: #58a6ff }
    .part { fill: #0d1117; stroke: #6e7681 }
    .arrow { stroke: #58a6ff }
    .head { fill: #58a6ff }
    .badge { fill: #1f6feb }
    text { fill: #e6edf3 }
    .number { fill: #ffffff }
  }
"""


def draw() -> str:
    """Return the whole diagram as SVG."""
    left, middle, right = CENTERS
    edge = NODE_WIDTH // 2
    caller_bottom, row = 84, NODE_TOP + 62
    shapes = [
        box(0.5, 0.5, WIDTH - 1, HEIGHT - 1, "page", radius=10),
        *caller(middle, 24, caller_bottom),
        *node(left, "n1", "follower", "node"),
        *node(middle, "n2", "leader", "leader"),
        *node(right, "n3", "follower", "node"),
        *arrow((middle - 40, caller_bottom), (middle - 40, NODE_TOP), 1),
        *arrow((middle + 40, NODE_TOP), (middle + 40, caller_bottom), 4),
        *arrow((middle - edge, row), (left + edge, row), 2),
        *arrow((middle + edge, row), (right - edge, row), 2),
        *arrow((left + edge, row + 56), (middle - edge, row + 56), 3),
        *arrow((right - edge, row + 56), (middle + edge, row + 56), 3),
        *legend(
            344,
            "Your code calls a command. Any node takes it and passes it to the leader.",
            "The leader gives it a slot in the log and sends it to the others; every node writes it to disk and syncs.",
            "The others report that their disks have it. Two disks out of three are enough: it is decided.",
            "Every node runs the command on its copy of your class, in log order. You get the result.",
        ),
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
            "<title>One call in a cluster of three nodes</title>",
            f"<style>{STYLE}</style>",
            *shapes,
            "</svg>\n",
        ]
    )


def caller(x: int, top: int, bottom: int) -> list[str]:
    """The program that uses the cluster."""
    return [
        box(x - 220, top, 440, bottom - top, "part"),
        label(x, top + 25, "your service", "title"),
        label(x, top + 46, 'await client.execute(Bank.transfer, "ann", "bob", 4)', "code"),
    ]


def node(x: int, name: str, role: str, style: str) -> list[str]:
    """One node: its copy of the user's class above its log."""
    left = x - NODE_WIDTH // 2
    top = NODE_TOP + 44
    cells = [box(x - 76 + 38 * place, top + 74, 38, 26, "part", radius=0) for place in range(4)]
    return [
        box(left, NODE_TOP, NODE_WIDTH, NODE_HEIGHT, style),
        label(x, NODE_TOP + 26, f"{name}, the {role}" if role == "leader" else f"{name}, a {role}", "title"),
        box(x - 76, top, 152, 40, "part"),
        label(x, top + 25, "Bank: your class", "small"),
        *cells,
        label(x, top + 64, "log, on its own disk", "small"),
    ]


def legend(top: int, *lines: str) -> list[str]:
    """The meaning of the numbers on the arrows."""
    shapes = []
    for number, line in enumerate(lines, 1):
        y = top + 20 * (number - 1)
        shapes += [*badge(44, y, number), label(62, y + 4, line, "small", anchor="start")]
    return shapes


def arrow(start: tuple[int, int], end: tuple[int, int], number: int) -> list[str]:
    """A horizontal or vertical arrow with its number in the middle."""
    (x1, y1), (x2, y2) = start, end
    dx, dy = (x2 > x1) - (x2 < x1), (y2 > y1) - (y2 < y1)
    tip = 9
    head = " ".join(
        f"{x},{y}"
        for x, y in (
            (x2, y2),
            (x2 - tip * dx - 5 * dy, y2 - tip * dy - 5 * dx),
            (x2 - tip * dx + 5 * dy, y2 - tip * dy + 5 * dx),
        )
    )
    return [
        f'<path class="arrow" d="M{x1} {y1} L{x2 - tip * dx} {y2 - tip * dy}"/>',
        f'<polygon class="head" points="{head}"/>',
        *badge((x1 + x2) // 2, (y1 + y2) // 2, number),
    ]


def badge(x: int, y: int, number: int) -> list[str]:
    return [f'<circle class="badge" cx="{x}" cy="{y}" r="8"/>', label(x, y + 4, str(number), "number")]


def box(x: float, y: float, width: float, height: float, style: str, radius: int = 6) -> str:
    return f'<rect class="{style}" x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}"/>'


def label(x: int, y: int, text: str, style: str, anchor: str = "middle") -> str:
    return f'<text class="{style}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


if __name__ == "__main__":
    TARGET.write_text(draw(), encoding="utf-8")
