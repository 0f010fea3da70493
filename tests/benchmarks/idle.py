"""`python -m tests.benchmarks.idle [--mirrors 200] [--files 100000]`: what a daemon costs that does nothing.

Makes so many mirrors with so many files altogether, waits until all are delivered, and measures one daemon from
outside: the time that took, and then threads, descriptors, memory and processor time while nothing happens. A second
daemon, started on what is delivered already, is measured the same way: its memory has never seen a first pass.
The one thing to know: it asserts nothing, as a busy machine would make such an assertion a lie.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from lfssync.answers import MirrorStatus
from lfssync.configuration import config
from lfssync.model import State
from lfssync.records.roster import roster
from lfssync.service import operations
from tests.integration.daemons import Daemon, configure, places, soon

FILE_BYTES = 60
FOLDER_FILES = 250
PATIENCE_S = 3600.0


def main() -> int:
    """Measure, and print a line for each figure."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.idle", description=__doc__.partition(": ")[2])
    parser.add_argument("--mirrors", type=int, default=200)
    parser.add_argument("--files", type=int, default=100_000, help="in all mirrors together")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long nothing happens")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lfssync-idle-") as folder:
        base = Path(folder)
        be_alone(base)
        _fill(base / "mirrored", words.mirrors, words.files // words.mirrors)
        configure(*({"path": path} for path in sorted((base / "mirrored").iterdir())))
        print(f"{words.mirrors} mirrors, {words.files:,} files", flush=True)
        for when in ("first", "again"):
            began = time.time()
            with Daemon(base / f"{when}.log").start() as daemon:
                soon(lambda: _all_are_idle(began), daemon.said, PATIENCE_S)  # noqa: B023
                print(f"{when}: all are verified after {time.time() - began:.1f} s", flush=True)
                _measure(daemon, words.seconds)
    return 0


def be_alone(base: Path) -> None:
    """A home of its own, and nothing of git's or of ours from outside."""
    for name in tuple(os.environ):
        if name.startswith(("GIT_", "LFSSYNC_", "XDG_", "NOTIFY_")):
            del os.environ[name]
    (base / "run").mkdir(mode=0o700)
    (base / "home").mkdir()
    os.environ |= {
        "HOME": str(base / "home"),
        "XDG_RUNTIME_DIR": str(base / "run"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
    }


def _fill(base: Path, mirrors: int, files: int) -> None:
    for mirror in range(mirrors):
        for number in range(files):
            folder = base / f"model-{mirror:03}" / f"part-{number // FOLDER_FILES}"
            if number % FOLDER_FILES == 0:
                folder.mkdir(parents=True)
            (folder / f"{number}.txt").write_bytes(f"{mirror} {number}".ljust(FILE_BYTES).encode())


def _all_are_idle(since: float) -> bool:
    """Whether every mirror was verified since then, and does nothing; asked seldom, as asking costs something too."""
    time.sleep(2)
    found: list[MirrorStatus] = operations.status(places(), roster(config.load(places()), places()).mirrors)
    return all(one.state is State.IDLE and (one.verified_at or 0.0) > since for one in found)


def _measure(daemon: Daemon, seconds: float) -> None:
    time.sleep(5)
    before, began = daemon.cpu_s(), time.monotonic()
    time.sleep(seconds)
    used_s, took_s = daemon.cpu_s() - before, time.monotonic() - began
    memory = dict(re.findall(r"(Vm\w+):\s+(\d+) kB", Path(f"/proc/{daemon.pid}/status").read_text()))
    print(f"  memory      {int(memory['VmRSS']) / 1024:8.1f} MiB, {int(memory['VmHWM']) / 1024:.1f} MiB at most")
    print(f"  threads     {len(daemon.threads()):8}  {json.dumps(Counter(daemon.threads()).most_common(5))}")
    print(f"  descriptors {len(daemon.descriptors()):8}  {json.dumps(Counter(daemon.descriptors()).most_common(5))}")
    print(f"  processor   {100 * used_s / took_s:8.3f} % while nothing happened for {took_s:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
