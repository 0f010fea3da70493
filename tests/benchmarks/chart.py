"""Draws what was measured: for each row the contestants side by side, as multiples of lfssync's own time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.benchmarks.harness import Measured, Row

_OURS, _THEIRS, _LIMIT = "#1f6f8b", "#c9a227", "#b8b8b8"


def draw(found: Mapping[str, Mapping[str, Measured]], rows: Mapping[str, Row], ours: str, limit: str, to: Path) -> None:
    """Write the chart as a PNG.

    Args:
        found: What was measured, by row and contestant.
        rows: The rows by key.
        ours: lfssync's name among the contestants.
        limit: How the names of limits begin.
        to: The file.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    shown = [(key, row) for key, row in found.items() if len(row) > 1]
    heights = [0.5 + 0.32 * len(row) for _, row in shown]
    figure, axes = pyplot.subplots(
        len(shown), 1, figsize=(10, sum(heights) + 0.9 * len(shown)), height_ratios=heights, squeeze=False
    )
    for axis, (key, row) in zip(axes[:, 0], shown, strict=True):
        names = list(row)[::-1]
        seconds = [row[name].median_s for name in names]
        colors = [_LIMIT if name.startswith(limit) else _OURS if name.startswith(ours) else _THEIRS for name in names]
        axis.barh(names, seconds, color=colors)
        for place, value in enumerate(seconds):
            times = "" if names[place] == ours else f"  ({value / row[ours].median_s:.2g} x)"
            label = f" {value:.3g} s{times}"
            axis.text(value, place, label, va="center", fontsize=8)
        axis.set_title(rows[key].title, loc="left", fontsize=10)
        axis.set_xlim(0, max(seconds) * 1.25)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1, 0].set_xlabel("seconds, median")
    figure.tight_layout()
    figure.savefig(to, dpi=110)
    pyplot.close(figure)
