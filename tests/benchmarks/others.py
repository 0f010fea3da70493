"""Who else takes part: tools that people use instead, each as its own manual says, on the same files.

git-annex and DVC keep large files beside a git history; restic and borg keep copies without one; the loop is what
scripts like gitwatch do. The one thing to know: one whose program is not installed is left out, and `make bench`
installs them all.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.benchmarks.contestants import Model, Prepare, new_remote, touch_one
from tests.benchmarks.harness import Contestant, Meter, Prepared, write_tree

PATIENCE_S = 600.0
_DVC = Path(sys.prefix) / "tools" / "bin" / "dvc"
PROGRAMS = ("git-annex", str(_DVC), "restic", "borg")
_LOOP = Path(__file__).with_name("loop.py")


def others(model: Model) -> tuple[Contestant, ...]:
    """Those who bring new weights to a place on the same disk, as far as they are installed."""
    known = (
        ("git-annex add + copy + push", _annex(model)),
        ("dvc add + push, git push", _dvc(model)),
        ("restic backup", _restic(model)),
        ("borg create", _borg(model)),
    )
    paired = zip(PROGRAMS, known, strict=True)
    return tuple(Contestant(name, prepare) for program, (name, prepare) in paired if shutil.which(program))


def absent() -> list[str]:
    """Those who are left out because they are not installed."""
    return [Path(program).name for program in PROGRAMS if not shutil.which(program)]


def _annex(model: Model) -> Prepare:
    def prepare(folder: Path, meter: Meter) -> Prepared:
        work, remote = folder / "work", new_remote(folder, meter)
        meter.run(["git", "init", "--quiet", str(work)], folder)
        meter.run(["git", "annex", "init", "--quiet"], work)
        meter.run(["git", "annex", "init", "--quiet"], remote)
        meter.run(["git", "remote", "add", "origin", str(remote)], work)
        model.write_weights(work)

        def timed() -> None:
            for words in (
                ["annex", "add", "--quiet", "."],
                ["commit", "--quiet", "-m", "new weights"],
                ["annex", "copy", "--quiet", "--to", "origin"],
                ["push", "--quiet", "origin", "main", "git-annex"],
            ):
                meter.run(["git", *words], work)

        return timed

    return prepare


def _dvc(model: Model) -> Prepare:
    def prepare(folder: Path, meter: Meter) -> Prepared:
        work, extra = folder / "work", {"DVC_NO_ANALYTICS": "1"}
        meter.run(["git", "init", "--quiet", str(work)], folder)
        meter.run(["git", "remote", "add", "origin", str(new_remote(folder, meter))], work)
        meter.run([_DVC, "init", "--quiet"], work, extra)
        meter.run([_DVC, "remote", "add", "--quiet", "--default", "store", str(folder / "store")], work, extra)
        files = [file.name for file in model.write_weights(work)]

        def timed() -> None:
            meter.run([_DVC, "add", "--quiet", *files], work, extra)
            meter.run(["git", "add", "."], work)
            meter.run(["git", "commit", "--quiet", "-m", "new weights"], work)
            meter.run([_DVC, "push", "--quiet"], work, extra)
            meter.run(["git", "push", "--quiet", "origin", "main"], work)

        return timed

    return prepare


def _restic(model: Model) -> Prepare:
    def prepare(folder: Path, meter: Meter) -> Prepared:
        extra = {"RESTIC_PASSWORD": "bench", "RESTIC_REPOSITORY": str(folder / "store")}
        meter.run(["restic", "init", "--quiet"], folder, extra)
        model.write_weights(folder / "work")

        def timed() -> None:
            meter.run(["restic", "backup", "--quiet", "work"], folder, extra)

        return timed

    return prepare


def _borg(model: Model) -> Prepare:
    def prepare(folder: Path, meter: Meter) -> Prepared:
        meter.run(["borg", "init", "--encryption", "none", "store"], folder)
        model.write_weights(folder / "work")

        def timed() -> None:
            meter.run(["borg", "create", "store::one", "work"], folder)

        return timed

    return prepare


def loop(model: Model) -> Prepare:
    """A loop with watchdog that adds, commits and pushes at every event; timed from the write to the moved branch."""

    def prepare(folder: Path, meter: Meter) -> Prepared:
        work, remote = folder / "work", new_remote(folder, meter)
        meter.run(["git", "init", "--quiet", str(work)], folder)
        meter.run(["git", "remote", "add", "origin", str(remote)], work)
        write_tree(work / "small", model.small)
        for words in (["add", "."], ["commit", "--quiet", "-m", "first"], ["push", "--quiet", "origin", "main"]):
            meter.run(["git", *words], work)
        branch = remote / "refs" / "heads" / "main"

        def timed() -> float:
            child = subprocess.Popen([sys.executable, _LOOP, str(work)], stdout=subprocess.PIPE)
            try:
                assert child.stdout is not None
                child.stdout.readline()  # it watches
                before, began = branch.read_bytes(), time.perf_counter()
                touch_one(work)
                while branch.read_bytes() == before:
                    if time.perf_counter() - began > PATIENCE_S or child.poll() is not None:
                        raise RuntimeError("the loop does not push")
                    time.sleep(0.002)
                return time.perf_counter() - began
            finally:
                os.kill(child.pid, signal.SIGTERM)
                child.communicate()

        return timed

    return prepare
