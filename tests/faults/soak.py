"""`make soak MINUTES=30`: the random faults again and again, each time at other points, and what came of it.

Runs the tests of this folder that strike by a seed, one after the other. The one thing to know: a violation is printed
with the command that strikes at the same points again.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

PROJECT = Path(__file__).parents[2]
TESTS = ("test_restless.py", "test_kills.py", "test_powerloss.py", "test_disks.py")
"""Those that ask `dice` where to strike."""

_RESULT = re.compile(r"(\d+) (passed|failed|error)")


def main() -> int:
    """Strike until the time is over; gives 1 when something that must hold did not."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("minutes", type=float, help="for how long")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30), help="where to begin")
    words = parser.parse_args()
    deadline = time.monotonic() + words.minutes * 60
    seed, runs, faults, violations = words.seed, 0, Counter[str](), list[str]()
    with tempfile.TemporaryDirectory(prefix="lfssync-soak-") as folder:
        tally = Path(folder) / "tally"
        while time.monotonic() < deadline or not runs:
            for test in TESTS:
                done, failed = _strike(test, seed, tally)
                runs, violations = runs + done, violations + failed
                if time.monotonic() > deadline:
                    break
            seed += 10
        faults.update(tally.read_text().splitlines() if tally.exists() else ())
    kills = faults.pop("kills", 0)
    listed = ", ".join(f"{count} {what}" for what, count in sorted(faults.items()))
    print(f"{runs} runs, {kills} kills, {faults.total()} other faults ({listed}), {len(violations)} violations")
    print("".join(f"  {line}\n" for line in violations), end="")
    return 1 if violations else 0


def _strike(test: str, seed: int, tally: Path) -> tuple[int, list[str]]:
    """Run the tests of a file at the points of a seed; gives how many ran, and how to run those again that failed."""
    variables = {"FAULTS_SEED": str(seed), "FAULTS_TALLY": str(tally)}
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(os.cpu_count() or 1), "--dist", "loadgroup"]
    done = subprocess.run(
        [*command, "--timeout", "1800", f"tests/faults/{test}"],
        cwd=PROJECT, env=os.environ | variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    counts = {kind: int(count) for count, kind in _RESULT.findall(done.stdout[-300:])}
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    print(f"{test}, seed {seed}: {counts}", flush=True)
    if done.returncode:
        print(done.stdout + done.stderr)
        failed = failed or [test]
    return sum(counts.values()), [f"FAULTS_SEED={seed} python -m pytest '{one}'" for one in failed]


if __name__ == "__main__":
    sys.exit(main())
