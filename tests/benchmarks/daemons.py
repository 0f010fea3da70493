"""lfssync as people run it: a daemon that notices by itself, timed from the write to the confirmed commit.

The one thing to know: when something was verified is read from the mirror's own record, which is written after the
remote has confirmed it; the quiet time, which the user chooses, is taken off.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lfssync.answers import MirrorStatus
from lfssync.configuration.config import load
from lfssync.places import Places
from lfssync.records.report import read_status
from tests.benchmarks.contestants import (
    FIRST,
    FIRST_BYTES,
    LFSSYNC,
    PROJECT,
    Model,
    Prepare,
    have_there,
    new_remote,
    touch_one,
)
from tests.benchmarks.harness import Meter, Prepared, write_new, write_tree
from tests.benchmarks.places import LfsPlace

PATIENCE_S = 1800.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Mirrored:
    """A directory that a daemon mirrors.

    Args:
        directory: The directory.
        folder: Holds the configuration and the state.
    """

    directory: Path
    folder: Path

    @classmethod
    def make(cls, folder: Path, meter: Meter, quiet: str, lfs: LfsPlace | None = None) -> Mirrored:
        """An empty directory, its remote and its configuration."""
        directory, remote = folder / "model", new_remote(folder, meter)
        directory.mkdir()
        lines = ["[[mirror]]", f"path = {json.dumps(str(directory))}", f"remote = {json.dumps(str(remote))}"]
        if lfs is not None:
            lines += ['transfer = "http"', f"lfs_url = {json.dumps(lfs.url)}"]
        (folder / "mirror.toml").write_text("\n".join(lines) + "\n")
        made = cls(directory, folder)
        made.be_quiet(quiet)
        return made

    def be_quiet(self, quiet: str) -> None:
        """Change the quiet time; a running daemon has to be told."""
        text = (self.folder / "mirror.toml").read_text()
        (self.folder / "config.toml").write_text(f'{text}quiet = "{quiet}"\n')

    @property
    def variables(self) -> dict[str, str]:
        """What every command and the daemon get."""
        return {"LFSSYNC_CONFIG": str(self.folder / "config.toml"), "LFSSYNC_STATE_DIR": str(self.folder / "state")}

    def sync(self, meter: Meter) -> None:
        """Deliver what is there."""
        meter.run([*LFSSYNC, "sync"], PROJECT, self.variables)

    @contextmanager
    def daemon(self) -> Iterator[subprocess.Popen[bytes]]:
        """A daemon that has looked at everything once."""
        began = time.time()
        child = subprocess.Popen(
            [*LFSSYNC, "run"], cwd=PROJECT, env=os.environ | self.variables, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            self.verified_after(began, child)
            yield child
        finally:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(60)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def verified_after(self, moment: float, child: subprocess.Popen[bytes]) -> float:
        """When the remote confirmed everything that was written before a moment, in seconds since the epoch."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and child.poll() is None:
            status = self._status()
            if status.verified_at is not None and status.verified_at > moment and status.state.value == "idle":
                return status.verified_at
            time.sleep(0.02)
        raise RuntimeError("the daemon does not get done")

    def committed_at(self) -> float:
        """When the next commit is there, on the clock of `time.perf_counter`; seen up to 5 ms late."""
        (ref,) = (self.folder / "state" / "mirrors").glob("*/repo.git/refs/heads/main")
        before, deadline = ref.read_bytes(), time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if ref.read_bytes() != before:
                return time.perf_counter()
            time.sleep(0.005)
        raise RuntimeError("no commit was made")

    def _status(self) -> MirrorStatus:
        places = Places.from_environment(os.environ | self.variables)
        (mirror,) = load(places).mirrors
        return read_status(mirror, places.mirror_state(mirror.name))


def asked(model: Model, lfs: LfsPlace | None = None, *, known: bool = False, to_the_commit: bool = False) -> Prepare:
    """`lfssync sync` where a daemon mirrors the directory, which has seen the files come and still waits.

    Args:
        model: What is in the directory.
        lfs: Where LFS objects go, or None for the bare repository itself.
        known: The remote has the objects already, so only staging, commit, push and proof are left.
        to_the_commit: Push and proof, which follow it, do not count.
    """

    def prepare(folder: Path, meter: Meter) -> Prepared:
        mirrored = Mirrored.make(folder, meter, "0s", lfs)
        write_new(mirrored.directory / FIRST, FIRST_BYTES)
        mirrored.sync(meter)
        child = meter.ends.enter_context(mirrored.daemon())
        meter.running.append(child.pid)
        mirrored.be_quiet("120s")
        child.send_signal(signal.SIGHUP)
        time.sleep(1.0)
        files = model.write_weights(mirrored.directory)
        if known and lfs is not None:
            have_there(files, lfs)

        def timed() -> float:
            began = time.perf_counter()
            with ThreadPoolExecutor(1) as pool:
                committed = pool.submit(mirrored.committed_at) if to_the_commit else None
                said = meter.run([*LFSSYNC, "sync"], PROJECT, mirrored.variables)
                ended = committed.result() if committed else time.perf_counter()
            if f"{model.weights} files added" not in said:
                raise RuntimeError(f"the daemon began before it was asked: {said}")
            return ended - began

        return timed

    return prepare


def one_change(files: int) -> Prepare:
    """One small file changes among many; from the event to verified, without a quiet time."""

    def prepare(folder: Path, meter: Meter) -> Prepared:
        mirrored = Mirrored.make(folder, meter, "0s")
        write_tree(mirrored.directory / "small", files)
        mirrored.sync(meter)

        def timed() -> float:
            with mirrored.daemon() as child:
                touch_one(mirrored.directory)  # a first one, as in every run of a daemon but its first
                mirrored.verified_after(time.time() - 0.001, child)
                time.sleep(1.0)
                began = time.time()
                touch_one(mirrored.directory)
                return mirrored.verified_after(began, child) - began

        return timed

    return prepare


def shards(count: int, shard_mib: float, over_s: float, lfs: LfsPlace) -> Prepare:
    """Shards are written one after the other; from the last close to verified, less the quiet time."""
    quiet_s = 1.0

    def prepare(folder: Path, meter: Meter) -> Prepared:
        mirrored = Mirrored.make(folder, meter, f"{quiet_s:g}s", lfs)
        write_new(mirrored.directory / FIRST, FIRST_BYTES)
        mirrored.sync(meter)

        def timed() -> float:
            with mirrored.daemon() as child:
                names = [f"model-{number + 1:05d}-of-{count:05d}.safetensors" for number in range(count)]
                for name in names:
                    began = time.monotonic()
                    _write_shard(mirrored.directory / name, int(shard_mib * (1 << 20)))
                    if name != names[-1]:
                        time.sleep(max(0.0, over_s / count - (time.monotonic() - began)))
                index = {"metadata": {}, "weight_map": {f"w{name}": name for name in names}}
                (mirrored.directory / "model.safetensors.index.json").write_text(json.dumps(index))
                closed = time.time()
                return mirrored.verified_after(closed, child) - closed - quiet_s

        return timed

    return prepare


def _write_shard(path: Path, size_bytes: int) -> None:
    """Write a whole safetensors file. Source: the safetensors format."""
    data_bytes = size_bytes - 200
    text = json.dumps({"w": {"dtype": "U8", "shape": [data_bytes], "data_offsets": [0, data_bytes]}})
    header = text.ljust(200 - 8).encode()
    write_new(path, size_bytes, len(header).to_bytes(8, "little") + header)


def idle(model: Model, for_s: float) -> Prepare:
    """A daemon with nothing to do: the processor time it takes, in seconds; its memory is in the table beside it."""

    def prepare(folder: Path, meter: Meter) -> Prepared:
        mirrored = Mirrored.make(folder, meter, "1s")
        write_tree(mirrored.directory / "small", model.small)
        mirrored.sync(meter)

        def timed() -> float:
            with mirrored.daemon() as child:
                time.sleep(min(5.0, for_s))
                before = _processor_s(child.pid)
                threading.Event().wait(for_s)
                meter.memory_bytes = _resident_bytes(child.pid)
                return _processor_s(child.pid) - before

        return timed

    return prepare


def _processor_s(pid: int) -> float:
    """Source: proc(5), /proc/pid/stat, utime and stime."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
