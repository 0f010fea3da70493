"""`python -m tests.benchmarks [ROW ...] [--rounds N]`: runs rows and shows what came of it."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from tests.benchmarks.chart import draw
from tests.benchmarks.harness import Measured, Row, run_row
from tests.benchmarks.others import absent
from tests.benchmarks.places import lfs_server
from tests.benchmarks.rows import LIMIT, US, rows

BUILD = Path(__file__).parents[2] / "build"
_WIDTH = 140
"""For files, which have none: so wide is the widest row."""


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(
        prog="make bench ROWS='...'",
        description=__doc__,
        epilog="Figures of rows that are not run stay what they were in build/bench.json.",
    )
    parser.add_argument("rows", nargs="*", help="which rows (all)")
    parser.add_argument("--rounds", type=int, help="how often each contestant runs")
    parser.add_argument(
        "--shrink",
        type=int,
        default=1,
        help="everything so many times smaller, to try it out; what comes of it is called trial",
    )
    parser.add_argument("--draw", action="store_true", help="table and chart of the last figures; measures nothing")
    parser.add_argument("--huge", action="store_true", help="also a tree of a million files")
    arguments = parser.parse_args()
    found: dict[str, dict[str, Measured]] = {}
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    if missing := absent():
        console.print(f"not installed, and left out: {', '.join(missing)}")
    with lfs_server() as lfs:
        known = rows(lfs, arguments.shrink, arguments.huge)
        unknown = set(arguments.rows) - {row.key for row in known}
        if unknown:
            parser.error(f"no row is called {', '.join(sorted(unknown))}; there are {', '.join(r.key for r in known)}")
        for row in known:
            if (not arguments.rows or row.key in arguments.rows) and not arguments.draw:
                found[row.key] = run_row(row, arguments.rounds, lfs.clear)
                console.print(table(row, found[row.key]))
    BUILD.mkdir(exist_ok=True)
    name = "bench" if arguments.shrink == 1 else "trial"
    file = BUILD / f"{name}.json"
    before = recorded(file.read_text()) if file.exists() and arguments.shrink == 1 else {}
    found = {row.key: both[row.key] for row in known if row.key in (both := before | found)}
    if not arguments.draw:
        file.write_text(json.dumps(document(found), indent=2) + "\n")
    (BUILD / f"{name}.md").write_text(summary(found, {row.key: row for row in known}))
    draw(found, {row.key: row for row in known}, US, LIMIT, BUILD / f"{name}.png")
    console.print(f"figures: {file} and {name}.md, chart: {BUILD / name}.png")
    return 0


def table(row: Row, found: Mapping[str, Measured]) -> Table:
    """A row for people."""
    shown = Table(title=f"{row.title}\ngoal: {row.goal}", title_justify="left", box=SIMPLE)
    for heading in ("", "median", "spread", "ratio", "rate", "memory", "written"):
        shown.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
    ours = found[US].median_s
    for name, one in found.items():
        rate = f"{row.size_bytes / one.median_s / 1e6:,.0f} MB/s" if row.size_bytes else ""
        ratio = "" if name == US else f"{one.median_s / ours:.2f} x"
        written = f"{max(one.written_bytes) / 1e6:,.0f} MB"
        memory = f"{one.memory_bytes / 1e6:,.0f} MB" if one.memory_bytes else ""
        shown.add_row(name, seconds(one.median_s), f"±{one.spread:.0%}", ratio, rate, memory, written)
    return shown


def seconds(value_s: float) -> str:
    """A time with as many digits as mean something."""
    return f"{value_s:.3g} s" if value_s >= 1 else f"{value_s * 1000:.3g} ms"


def summary(found: Mapping[str, Mapping[str, Measured]], rows: Mapping[str, Row]) -> str:
    """The rows as one table in Markdown: lfssync's time, the others' as multiples of it, and what comes of the goal."""
    lines = ["| what | goal | lfssync | others, as multiples of that | |", "|---|---|---|---|---|"]
    for key, row in found.items():
        about, ours = rows[key], row[US].median_s
        others = ", ".join(
            f"{name} {seconds(one.median_s)} ({one.median_s / ours:.2g} x)" for name, one in row.items() if name != US
        )
        weighs = about.size_bytes or len(row) == 1  # elsewhere it is no more than what the benchmark itself takes
        memory = f", {row[US].memory_bytes / 1e6:.0f} MB" if weighs and row[US].memory_bytes else ""
        lines.append(f"| {about.title} | {about.goal} | {seconds(ours)}{memory} | {others} | {verdict(row, about)} |")
    return "\n".join(lines) + "\n"


def verdict(found: Mapping[str, Measured], row: Row) -> str:
    """Whether lfssync is where it is meant to be, and what keeps it from there."""
    ours = found[US].median_s
    missed = [name for name, ratio in row.goals.items() if name in found and found[name].median_s < ratio * ours]
    if row.flat_within and any(one.median_s > row.flat_within * ours for one in found.values()):
        missed.append("flat")
    if not missed:
        return "reached" if row.goals or row.flat_within else ""
    return f"missed: {row.reason}" if len(missed) == len(row.goals) else f"reached in part: {row.reason}"


def recorded(text: str) -> dict[str, dict[str, Measured]]:
    """The figures in what `document` made."""
    rows = json.loads(text)["rows"]
    return {key: {name: Measured(**one) for name, one in row.items()} for key, row in rows.items()}


def document(found: Mapping[str, Mapping[str, Measured]]) -> dict[str, object]:
    """Everything measured, and on what."""
    machine = {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}
    measured = {
        key: {
            name: {"seconds": one.seconds, "memory_bytes": one.memory_bytes, "written_bytes": one.written_bytes}
            for name, one in row.items()
        }
        for key, row in found.items()
    }
    return {"at": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "machine": machine, "rows": measured}


if __name__ == "__main__":
    sys.exit(main())
