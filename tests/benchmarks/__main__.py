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

from rich.console import Console
from rich.table import Table

from tests.benchmarks.contestants import Model, delivered, hashing, lfssync, raw_upload, stock
from tests.benchmarks.harness import Contestant, Measured, Row, run_row
from tests.benchmarks.places import LfsPlace, lfs_server

US = "lfssync"
BUILD = Path(__file__).parents[2] / "build"


def rows(lfs: LfsPlace, shrink: int = 1) -> tuple[Row, ...]:
    """All rows.

    Args:
        lfs: The server that all of them use.
        shrink: Everything is so many times smaller: to see that the benchmark itself works.
    """
    two, four = Model(2, 512 // shrink), Model(4, 1024 // shrink)
    host, change = Model(2, 256 // shrink), Model(small=20_000 // shrink)
    return (
        Row(
            "stage",
            "stage and commit 2 x 512 MiB of new weights",
            "10 x faster than git add && git commit",
            (
                Contestant(US, lfssync(two, lfs, known=True), delivered(two, lfs)),
                Contestant("git add + commit", stock(two, push=False)),
                Contestant("two threads of SHA-256", hashing(two)),
            ),
            size_bytes=(2 << 29) // shrink,
        ),
        Row(
            "limit",
            "the same with 4 x 1 GiB",
            "1.3 x two threads of SHA-256",
            (
                Contestant(US, lfssync(four, lfs, known=True), delivered(four, lfs)),
                Contestant("two threads of SHA-256", hashing(four)),
            ),
            rounds=3,
            size_bytes=(4 << 30) // shrink,
        ),
        Row(
            "bare",
            "2 x 512 MiB to a bare repository, verified",
            "4 x faster than git add + commit + push; 1.3 x hash and copy",
            (
                Contestant(US, lfssync(two), delivered(two)),
                Contestant("git add + commit + push", stock(two), delivered(two)),
                Contestant("SHA-256, then a synced copy", hashing(two, copy=True)),
            ),
            rounds=3,
            size_bytes=(2 << 29) // shrink,
        ),
        Row(
            "http",
            "2 x 256 MiB to an LFS server over HTTP, verified",
            "5 x faster than git add + commit + push; 1.5 x the raw upload",
            (
                Contestant(US, lfssync(host, lfs), delivered(host, lfs)),
                Contestant("git add + commit + push", stock(host, lfs), delivered(host, lfs)),
                Contestant("raw upload with curl", raw_upload(host, lfs)),
            ),
            size_bytes=(2 << 28) // shrink,
        ),
        Row(
            "change",
            "one small file changed among 20,000, to a bare repository, verified",
            "20 x faster than git add + commit + push (at 100,000)",
            (Contestant(US, lfssync(change)), Contestant("git add + commit + push", stock(change))),
        ),
    )


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="make bench ROWS='...'", description=__doc__)
    parser.add_argument("rows", nargs="*", help="which rows (all)")
    parser.add_argument("--rounds", type=int, help="how often each contestant runs")
    parser.add_argument("--shrink", type=int, default=1, help="everything so many times smaller, to try it out")
    arguments = parser.parse_args()
    found: dict[str, dict[str, Measured]] = {}
    console = Console()
    with lfs_server() as lfs:
        known = rows(lfs, arguments.shrink)
        unknown = set(arguments.rows) - {row.key for row in known}
        if unknown:
            parser.error(f"no row is called {', '.join(sorted(unknown))}; there are {', '.join(r.key for r in known)}")
        for row in known:
            if not arguments.rows or row.key in arguments.rows:
                found[row.key] = run_row(row, arguments.rounds)
                console.print(table(row, found[row.key]))
    BUILD.mkdir(exist_ok=True)
    (BUILD / "bench.json").write_text(json.dumps(document(found), indent=2) + "\n")
    console.print(f"figures: {BUILD / 'bench.json'}")
    return 0


def table(row: Row, found: Mapping[str, Measured]) -> Table:
    """A row for people."""
    shown = Table(title=f"{row.title}\ngoal: {row.goal}", title_justify="left")
    for heading in ("", "median", "spread", "ratio", "rate", "memory", "written"):
        shown.add_column(heading, justify="left" if not heading else "right")
    ours = found[US].median_s
    for name, one in found.items():
        rate = f"{row.size_bytes / one.median_s / 1e6:,.0f} MB/s" if row.size_bytes else ""
        ratio = "" if name == US else f"{one.median_s / ours:.2f} x"
        written = f"{max(one.written_bytes) / 1e6:,.0f} MB"
        memory = f"{one.memory_bytes / 1e6:,.0f} MB" if one.memory_bytes else ""
        shown.add_row(name, f"{one.median_s:.2f} s", f"±{one.spread:.0%}", ratio, rate, memory, written)
    return shown


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
