"""Who takes part: lfssync as its commands, stock git with git-lfs, and the bare work that nobody can do without.

Each function gives a `prepare` for `harness.Contestant`. The one thing to know: a model is written into the arena
before the clock starts, as a training job would have, so all of them find the same warm files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.harness import Meter, Prepared, write_new, write_tree
from tests.benchmarks.places import LfsPlace

Prepare = Callable[[Path, Meter], Prepared]
PROJECT = Path(__file__).parents[2]
LFSSYNC = (sys.executable, "-m", "lfssync")
FIRST, FIRST_BYTES = "first.safetensors", 1 << 16
"""An LFS object that was delivered before, as in every directory that is in use."""

_MIB = 1 << 20
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Model:
    """What is in the directory: new weights, and small files that were delivered before.

    Args:
        weights: So many files ...
        weight_mib: ... of this size.
        small: So many small files beside them.
    """

    weights: int = 0
    weight_mib: int = 0
    small: int = 0

    def write_weights(self, root: Path) -> list[Path]:
        """Write the new weights."""
        files = [root / f"model-{number:05d}.safetensors" for number in range(self.weights)]
        for file in files:
            write_new(file, self.weight_mib * _MIB)
        return files


def new_remote(folder: Path, meter: Meter) -> Path:
    meter.run(["git", "init", "--quiet", "--bare", "remote.git"], folder)
    return folder / "remote.git"


def stock(model: Model, lfs: LfsPlace | None = None, *, push: bool = True, first: bool = False) -> Prepare:
    """`git add`, `git commit` and `git push` in a repository that tracks the weights with git-lfs.

    Args:
        model: What is in the directory.
        lfs: Where LFS objects go, or None for the bare repository itself.
        push: Whether the push counts.
        first: The small files are new as well.
    """

    def prepare(folder: Path, meter: Meter) -> Prepared:
        work = folder / "work"
        meter.run(["git", "init", "--quiet", str(work)], folder)
        meter.run(["git", "lfs", "install", "--local"], work)  # with the hook that pushes objects
        (work / ".gitattributes").write_text("*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
        write_tree(work / "small", model.small)
        meter.run(["git", "remote", "add", "origin", str(new_remote(folder, meter))], work)
        if lfs is not None:
            meter.run(["git", "config", "lfs.url", lfs.url], work)
            meter.run(["git", "config", "lfs.locksverify", "false"], work)
        if not first:
            write_new(work / FIRST, FIRST_BYTES)
            for words in (["add", "."], ["commit", "--quiet", "-m", "first"], ["push", "--quiet", "origin", "main"]):
                meter.run(["git", *words], work)
            touch_one(work)
        model.write_weights(work)

        def timed() -> None:
            meter.run(["git", "add", "."], work)
            meter.run(["git", "commit", "--quiet", "-m", "new weights"], work)
            if push:
                meter.run(["git", "push", "--quiet", "origin", "main"], work)

        return timed

    return prepare


def push_alone(model: Model) -> Prepare:
    """`git push` of a commit that is there already: what a tool that pushes with git cannot go below."""

    def prepare(folder: Path, meter: Meter) -> Prepared:
        stock(model, push=False)(folder, meter)()

        def timed() -> None:
            meter.run(["git", "push", "--quiet", "origin", "main"], folder / "work")

        return timed

    return prepare


def lfssync(model: Model, lfs: LfsPlace | None = None, *, known: bool = False, first: bool = False) -> Prepare:
    """`lfssync sync`, which ends when the remote has confirmed everything.

    Args:
        model: What is in the directory.
        lfs: Where LFS objects go, or None for the bare repository itself.
        known: The remote has the objects already, so only staging, commit, push and proof are left.
        first: The small files are new as well.
    """

    def prepare(folder: Path, meter: Meter) -> Prepared:
        directory = folder / "model"
        write_tree(directory / "small", model.small)
        (directory / "config.json").write_text("{}")
        remote = new_remote(folder, meter)
        lines = ["[[mirror]]", f"path = {json.dumps(str(directory))}", f"remote = {json.dumps(str(remote))}"]
        if lfs is not None:
            lines += ['transfer = "http"', f"lfs_url = {json.dumps(lfs.url)}"]
        (folder / "config.toml").write_text("\n".join(lines) + "\n")
        extra = {"LFSSYNC_CONFIG": str(folder / "config.toml"), "LFSSYNC_STATE_DIR": str(folder / "state")}
        if not first:
            write_new(directory / FIRST, FIRST_BYTES)
            meter.run([*LFSSYNC, "sync"], PROJECT, extra)
            touch_one(directory)
        files = model.write_weights(directory)
        if known and lfs is not None:
            have_there(files, lfs)

        def timed() -> None:
            meter.run([*LFSSYNC, "sync"], PROJECT, extra)

        return timed

    return prepare


def delivered(model: Model, lfs: LfsPlace | None = None) -> Callable[[Path], None]:
    """A check that the remote has the commit, and the objects behind its pointers, in full size."""

    def check(folder: Path) -> None:
        remote = folder / "remote.git"
        for number in range(model.weights):
            name = f"main:model-{number:05d}.safetensors"
            pointer = subprocess.run(["git", "show", name], cwd=remote, check=True, capture_output=True, text=True)
            oid, size = re.findall(r"oid sha256:(\w{64})\nsize (\d+)\n", pointer.stdout)[0]
            place = remote / "lfs" / "objects" / oid[:2] / oid[2:4] if lfs is None else lfs.objects / oid[:2]
            if int(size) != model.weight_mib * _MIB or (place / oid).stat().st_size != int(size):
                raise RuntimeError(f"{name} was not delivered")

    return check


def touch_one(root: Path) -> None:
    """Change one small file, if there are any."""
    small = root / "small" / "part-00000" / "0000000.json"
    if small.exists():
        small.write_bytes(b'{"changed": "' + os.urandom(8).hex().encode() + b'"}\n')


def have_there(files: list[Path], lfs: LfsPlace) -> None:
    """Put files into an LFS server's store behind its back."""
    for file in files:
        with file.open("rb") as opened:
            oid = hashlib.file_digest(opened, "sha256").hexdigest()
        (lfs.objects / oid[:2]).mkdir(exist_ok=True)
        shutil.copyfile(file, lfs.objects / oid[:2] / oid)


def hashing(model: Model, *, copy: bool = False) -> Prepare:
    """The limit: two threads of SHA-256 over the same files, and a copy of them that is safe on the disk."""

    def prepare(folder: Path, _: Meter) -> Prepared:
        files = model.write_weights(folder)

        def timed() -> None:
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(_digest, files))
            if copy:
                for file in files:
                    target = file.with_suffix(".copy")
                    shutil.copyfile(file, target)
                    with target.open("rb") as opened:
                        os.fsync(opened.fileno())

        return timed

    return prepare


def _digest(file: Path) -> str:
    view = memoryview(bytearray(_BLOCK_BYTES))
    hashed = hashlib.sha256()
    with file.open("rb", buffering=0) as opened:
        while count := opened.readinto(view):
            hashed.update(view[:count])
    return hashed.hexdigest()


def raw_upload(model: Model, lfs: LfsPlace, *, hashed: bool = False) -> Prepare:
    """The limit: curl puts the same files to the same server, two at a time, without proof; it may hash them before."""

    def prepare(folder: Path, _: Meter) -> Prepared:
        files = model.write_weights(folder)

        def timed() -> None:
            for file in files if hashed else ():
                _digest(file)
            children = [
                subprocess.Popen(
                    ["curl", "--silent", "--fail", "--upload-file", str(file), f"{lfs.store}/raw/{os.urandom(8).hex()}"]
                )
                for file in files
            ]
            statuses = [child.wait(600) for child in children]
            if any(statuses):
                raise RuntimeError("curl failed")

        return timed

    return prepare
