"""The benchmark itself works: all rows, all contestants, the same work done. Nothing is said about time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_row_runs_and_is_written_down() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "--rounds", "1", "--shrink", "200"],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads((ROOT / "build" / "trial.json").read_text())["rows"]
    assert {"stage", "bare", "http", "change"} <= rows.keys()
    for row in rows.values():
        assert "lfssync" in row
        assert all(len(one["seconds"]) == 1 for one in row.values())
        assert all(f" {name.split()[0]}" in done.stdout for name in row)
