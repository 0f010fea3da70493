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
from collections.abc import Callable
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
        Contestant("git-annex add + sync --content", _annex(model), _annexed(model)),
        Contestant("dvc add + push, git push", _dvc(model)),
        Contestant("restic backup", _restic(model)),
        Contestant("borg create", _borg(model)),
    )
    return tuple(one for program, one in zip(PROGRAMS, known, strict=True) if shutil.which(program))


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
            meter.run(["git", "annex", "add", "--quiet", "."], work)
            # commits, copies and pushes; merges the branch of locations, which the copy changes on both sides
            meter.run(["git", "annex", "sync", "--quiet", "--content", "--message", "new weights", "origin"], work)

        return timed

    return prepare


def _annexed(model: Model) -> Callable[[Path], None]:
    """A check that the remote's branch has the links, and the remote what they lead to, in full size."""

    def check(folder: Path) -> None:
        remote = folder / "remote.git"
        for number in range(model.weights):
            name = f"main:model-{number:05d}.safetensors"
            link = subprocess.run(["git", "show", name], cwd=remote, check=True, capture_output=True, text=True).stdout
            sizes = [
                file.stat().st_size for file in (remote / "annex" / "objects").rglob(Path(link).name) if file.is_file()
            ]
            if sizes != [model.weight_mib << 20]:
                raise RuntimeError(f"{name} was not delivered")

    return check


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
