"""Draws the main rows of results.json as bars, one small chart for each row.

`python -m benchmarks.plot` redraws them without measuring.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .units import number


class Panel(NamedTuple):
    """One chart."""

    row: str
    case: str
    title: str
    subtitle: str
    logarithmic: bool = False
    """If the servers are so far apart that short bars would be invisible."""


PANELS = (
    Panel("S2", "echo", "Echo, 64 B", "100 connections, 1 message in flight"),
    Panel("S3", "echo", "Echo, 64 B, pipelined", "10 connections, 64 messages in flight", True),
    Panel("S4", "64 KiB", "Echo, 64 KiB", "4 connections, 4 messages in flight"),
    Panel("F1", "1,000 members", "Fan-out, 128 B", "deliveries to 1,000 members"),
    Panel("F2", "1,000 members", "Application packets", "deliveries to 1,000 members"),
    Panel("C1", "connect and close", "Connections", "connect, upgrade and close"),
)
COLUMNS = 2
OURS, OURS_PURE, OTHERS, BOUND = "#1d4ed8", "#93b4f5", "#a8b0bb", "#dfe3e8"
INK, MUTED = "#1f2937", "#6b7280"
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "svg.hashsalt": "sono",  # makes the file depend on the figures alone
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": INK,
}


class Bar(NamedTuple):
    """One server in one chart."""

    name: str
    median: float
    low: float
    high: float


def bars(data: Mapping[str, Any], row: str, case: str) -> list[Bar]:
    """The servers measured in a case, the best first."""
    found = []
    for of_row in data["rows"]:
        for of_case in of_row["cases"]:
            if (of_row["row"], of_case["case"]) != (row, case):
                continue
            for name, server in of_case["servers"].items():
                values = [reading["value"] for reading in server["readings"]]
                if values and not server["failure"]:
                    found.append(Bar(name, statistics.median(values), min(values), max(values)))
    return sorted(found, key=lambda bar: bar.median, reverse=True)


def _colour(name: str) -> str:
    if name.startswith("ceiling"):
        return BOUND
    return {"sono": OURS, "sono (pure)": OURS_PURE}.get(name, OTHERS)


def _draw_panel(axes: Axes, panel: Panel, found: Sequence[Bar], room: int) -> None:
    """Draw one chart; `room` is for how many bars, so that all bars of a line are equally thick."""
    places = range(len(found))
    medians = [bar.median for bar in found]
    errors = [[b.median - b.low for b in found], [b.high - b.median for b in found]]
    axes.barh(
        places,
        medians,
        height=0.72,
        color=[_colour(bar.name) for bar in found],
        xerr=errors,
        error_kw={"elinewidth": 0.8, "ecolor": INK, "alpha": 0.55},
    )
    if panel.logarithmic:
        axes.set_xscale("log")
        axes.set_xlim(min(medians) / 2.5, max(bar.high for bar in found) * 3)
    else:
        axes.set_xlim(0, max(bar.high for bar in found) * 1.14)
    axes.set_yticks(places, [bar.name for bar in found])
    axes.set_ylim(room - 0.4, -0.6)
    for place, bar in zip(places, found, strict=True):
        ours = bar.name.startswith("sono")
        axes.annotate(
            number(bar.median),
            (bar.high, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontweight="bold" if ours else "normal",
        )
        axes.get_yticklabels()[place].set_fontweight("bold" if ours else "normal")
    _dress(axes, panel)


def _dress(axes: Axes, panel: Panel) -> None:
    """Add title and grid, and remove the frame."""
    axes.set_title(panel.title, loc="left", fontweight="bold", fontsize=11, pad=20)
    axes.annotate(
        panel.subtitle + (", logarithmic scale" if panel.logarithmic else ""),
        (0, 1),
        xytext=(0, 6),
        xycoords="axes fraction",
        textcoords="offset points",
        color=MUTED,
    )
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.spines["left"].set_color(OTHERS)
    axes.tick_params(axis="both", which="both", length=0)
    axes.xaxis.set_major_formatter(lambda value, _: number(value))
    axes.grid(axis="x", color="#e5e7eb", linewidth=0.7)
    axes.set_axisbelow(True)


def draw(data: Mapping[str, Any], path: Path) -> None:
    """Draw the panels that have figures; the suffix of the path selects the format."""
    found = {panel: bars(data, panel.row, panel.case) for panel in PANELS}
    panels = [panel for panel in PANELS if found[panel]]
    if not panels:
        return
    lines = [panels[at : at + COLUMNS] for at in range(0, len(panels), COLUMNS)]
    rooms = [max(len(found[panel]) for panel in line) for line in lines]
    heights = [room + 3.2 for room in rooms]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 0.235 * sum(heights) + 1.1), layout="constrained")
        figure.set_facecolor("white")  # legible on a dark page too
        grid = figure.subplots(len(lines), COLUMNS, squeeze=False, height_ratios=heights)
        figure.get_layout_engine().set(h_pad=0.12, w_pad=0.08)
        for at, (axes, panel) in enumerate(zip(grid.flat, panels, strict=False)):
            _draw_panel(axes, panel, found[panel], rooms[at // COLUMNS])
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        _caption(figure, data["machine"])
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=110)


def _caption(figure: Figure, machine: Mapping[str, str]) -> None:
    figure.suptitle(
        "Messages per second of server CPU time", x=0.012, ha="left", fontsize=14, weight="bold"
    )
    facts = [machine.get(name, "") for name in ("processor", "Python", "date")]
    figure.supxlabel(
        "one core for the server, one for the load; medians, whiskers are the range of the rounds; "
        f"{', '.join(filter(None, facts))}",
        x=0.012,
        ha="left",
        fontsize=8,
        color=MUTED,
    )


def main() -> None:
    """Draw the plot of the last whole run."""
    folder = Path(__file__).parent / "results"
    draw(json.loads((folder / "results.json").read_text("utf-8")), folder / "benchmarks.svg")


if __name__ == "__main__":
    main()
