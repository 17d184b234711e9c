"""How cost grows, as SVG: a plot for each scenario of growth.

Knows: matplotlib. Must not know: tables, documents, how anything is measured.

The same result gives the same bytes: no date, and identifiers that hang on nothing but the plot.
"""

# matplotlib's own types are partial.
# pyright: reportUnknownMemberType=false, reportMissingImports=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["plot"]

SIZE = (6.0, 3.6)
"""Inches."""


def plot(scenario: Mapping[str, Any], path: Path) -> None:
    """Milliseconds over the work, a line each reader, from zero."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    lines: dict[str, list[tuple[float, float]]] = {}
    for peer in scenario["peers"].values():
        median = peer["median"]
        lines.setdefault(median["line"], []).append((median["x"], median["seconds"] * 1e3))
    with matplotlib.rc_context({"svg.hashsalt": "mpflow", "svg.fonttype": "none"}):
        figure, axes = pyplot.subplots(figsize=SIZE, layout="constrained")
        for name, points in sorted(lines.items()):
            xs, ys = zip(*sorted(points), strict=True)
            axes.plot(xs, ys, marker="o", label=name)
        axes.set_xlabel(scenario["growth"])
        axes.set_ylabel("ms")
        axes.set_title(scenario["title"])
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend()
        figure.savefig(path, metadata={"Date": None, "Creator": None})
        pyplot.close(figure)
    # It ends lines with spaces, which no other file here does.
    text = path.read_text(encoding="utf-8")
    path.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n", encoding="utf-8")
