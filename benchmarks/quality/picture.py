"""The picture: false alarms against delay, one panel for each of a few changes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.quality.report import Row
from detectors.errors import BadInput

_ALPHA: Final = 0.01
_LEAST: Final = 1e-3
"""How near to no and to all rollouts the axis of shares goes, on which both are infinitely far away."""

_CAUGHT_MIN: Final = 0.5
_PANELS: Final = ("errors +30 %", "errors x2 in 2 of 20 colos", "level +10 %")
_LOOK: Final = {
    "holdfast": ("o", "#c1121f"),
    "classical": ("s", "#1d3557"),
    "classical, once": ("D", "#457b9d"),
    "1.10x thrice": ("^", "#2a9d8f"),
    "1.25x thrice": ("v", "#6a994e"),
    "Welch": ("P", "#e09f3e"),
    "mSPRT": ("X", "#8d5a97"),
    "mSPRT, 2 %": ("*", "#7f7f7f"),
}
"""Shape and colour of each method."""


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw the picture; the ending of the path names the format, svg or png.

    Raises
    ------
    BadInput
        If there is nothing to set against each other, or the file cannot be written.
    """
    # An optional dependency, that takes a second to load, for those who want a picture.
    import matplotlib as mpl
    from matplotlib.figure import Figure

    harmless = next((row for row in rows if not row.is_bad), None)
    bad = [row for row in rows if row.is_bad]
    shown = [row for row in bad if row.kind in _PANELS] or bad[:3]
    if harmless is None or not shown:
        msg = "a picture needs harmless rollouts and bad ones"
        raise BadInput(msg)
    # The same figures are the same bytes; text stays text.
    with mpl.rc_context({"svg.hashsalt": "holdfast", "svg.fonttype": "none", "font.size": 9.5}):
        figure = Figure(figsize=(9.6, 4.3), layout="constrained")
        panels = figure.subplots(1, len(shown), sharex=True, sharey=True, squeeze=False)[0]
        for panel, row in zip(panels, shown, strict=True):
            _fill(panel, harmless, row)
        panels[0].set_ylabel("median delay, ticks")
        panels[len(panels) // 2].set_xlabel(
            "share of harmless rollouts stopped, with its 95 % interval (shaded: at most alpha)"
        )
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False)
        try:
            figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)
        except OSError as error:
            msg = f"{path}: cannot be written: {error.strerror or error}"
            raise BadInput(msg) from error


def _fill(panel: Any, harmless: Row, row: Row) -> None:
    """Draw one change: each method's false alarms and delay. Lower left is better."""
    panel.set_title(row.kind, loc="left", fontsize=10)
    ends = _LEAST * 0.7, 1 - _LEAST * 0.7
    panel.set(xscale="logit", yscale="log", xlim=ends, ylim=(1.6, 700))
    panel.set_xticks([_LEAST, 0.01, 0.1, 0.5, 0.9, 1 - _LEAST], ["0", "1 %", "10 %", "50 %", "90 %", "all"])
    panel.set_yticks([2, 5, 10, 20, 50, 100, 240, 520], ["2", "5", "10", "20", "50", "100", "240", "not caught"])
    panel.minorticks_off()
    panel.axvspan(ends[0], _ALPHA, color="#2a9d8f", alpha=0.08, lw=0)
    panel.axhline(350, color="#bbbbbb", lw=0.8)
    panel.grid(color="#eeeeee")
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    for name, cell in row.cells.items():
        false = harmless.cells[name]
        shares = (sum(false.stopped) / false.rollouts, *false.interval())
        share, low, high = (min(max(one, _LEAST), 1 - _LEAST) for one in shares)
        is_caught = cell.median is not None and cell.detected >= _CAUGHT_MIN
        delay = cell.median if is_caught else 520
        marker, colour = _LOOK[name]
        is_own = name == "holdfast"
        panel.plot([low, high], [delay, delay], color=colour, lw=1, alpha=0.6, zorder=2)
        panel.plot(
            share,
            delay,
            marker,
            color=colour,
            markersize=10 if is_own else 7,
            markerfacecolor=colour if is_own else "white",
            markeredgewidth=1.6,
            linestyle="none",
            label=name,
            zorder=4 if is_own else 3,
            clip_on=False,
        )
