"""`make longrun MINUTES=10`: one daemon, several mirrors, and changes at many times the pace of real life, measured.

What months do to a daemon is done to it in minutes: checkpoints come and go, small files change, commands ask, the
configuration is edited, a mirror is added and removed. Its memory, descriptors, threads, children and what it keeps on
the disk are printed now and then, and compared at the end with what they were after the first minute; then every
directory is compared with its remote.
The one thing to know: what is allowed to grow is the remotes, which hold a history, and nothing else.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lfssync.model import State
from lfssync.service import operations
from tests.benchmarks.idle import be_alone
from tests.helpers import assert_whole, git, make_bare
from tests.integration.daemons import Daemon, Pair, configure, lfssync, places, remote_tree, soon, status

MIRRORS = 3
KEPT_CHECKPOINTS = 3
PAUSE_S = 0.05
REPORT_EVERY_S = 30.0
SETTLED_AFTER_S = 60.0
"""What is measured then is what the end is compared with: all caches are warm."""

MORE_MEMORY_BYTES = 16 << 20
STATE_BYTES = 24 << 20
"""Of each mirror: what is packed, and as many loose objects as are left alone."""

LEFT_BY_COMMIT_BYTES = 40 << 10
"""What a commit leaves that nothing refers to any more; it is kept for an hour, and no run is as long as that."""


@dataclass(frozen=True)
class Sample:
    """A daemon at one moment, when nothing waits: sizes in bytes."""

    memory_bytes: int
    threads: int
    descriptors: int
    children: int
    state_bytes: int
    files: int
    remotes_bytes: int
    commits: int

    @classmethod
    def of(cls, daemon: Daemon, remotes: Path, commits: int) -> Sample:
        """Measure now."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{daemon.pid}/status").read_text())
        assert found is not None
        children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()
        state_bytes, files = _size(places().state_dir)
        return cls(
            int(found[1]) * 1024, len(daemon.threads()), len(daemon.descriptors()), len(children), state_bytes, files,
            _size(remotes)[0], commits,
        )  # fmt: skip

    def __str__(self) -> str:
        return (
            f"memory {self.memory_bytes / 2**20:6.1f} MiB, {self.threads} threads, {self.descriptors} descriptors, "
            f"{self.children} children, state {self.state_bytes / 2**20:6.1f} MiB in {self.files} files, "
            f"remotes {self.remotes_bytes / 2**20:7.1f} MiB"
        )


def _size(folder: Path) -> tuple[int, int]:
    """How many bytes of the disk a tree takes, and how many files it has."""
    sizes = []
    for place, folders, names in os.walk(folder):  # which passes over folders that vanish under its eyes
        for name in (*folders, *names):
            with suppress(FileNotFoundError):
                sizes.append(os.lstat(os.path.join(place, name)).st_blocks * 512)
    return sum(sizes), len(sizes)


def main() -> int:
    """Run the story; gives 1 when something grew that must not, or is not what it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.longrun", description=__doc__.partition(": ")[2])
    parser.add_argument("minutes", type=float, help="for how long")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    words = parser.parse_args()
    chance = random.Random(words.seed)
    print(f"seed {words.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="lfssync-longrun-") as folder:
        base = Path(folder)
        be_alone(base)
        (base / "remotes").mkdir()
        pairs = [_pair(base, number) for number in range(MIRRORS)]
        _configure(pairs, 0)
        with Daemon(base / "daemon.log").start() as daemon:
            samples = list(_lived(daemon, base, pairs, chance, words.minutes * 60))
            complaints = _complaints(samples[0], samples[-1])
        for pair in pairs:
            assert_whole(pair.remote)
        commits = sum(int(git("rev-list", "--count", "main", cwd=pair.remote)) for pair in pairs)
        print(f"{commits} commits; every directory is on its remote, byte by byte")
    print("".join(f"  {line}\n" for line in complaints), end="")
    return 1 if complaints else 0


def _pair(base: Path, number: int) -> Pair:
    directory = base / f"model-{number}"
    directory.mkdir()
    return Pair(directory, make_bare(base / "remotes" / f"{number}.git"))


def _configure(pairs: list[Pair], round_number: int) -> None:
    """Write the configuration; other times at each round, as somebody would who tries what fits."""
    keys = {"quiet": "100ms", "max_wait": f"{2 + round_number % 2}s", "rescan": "30s"}
    configure(*(pair.table() for pair in pairs), defaults=keys)


def _lived(daemon: Daemon, base: Path, pairs: list[Pair], chance: random.Random, seconds: float) -> Iterator[Sample]:
    """Live for so long; the first sample is of the time when all has settled, the last of the end."""
    began = time.monotonic()
    report_at = began + min(SETTLED_AFTER_S, seconds / 4)
    step = 0
    while time.monotonic() < began + seconds:
        step += 1
        _change(chance.choice(pairs).directory, step, chance)
        if step % 97 == 0:
            _configure(pairs, step // 97)
        if step % 203 == 0:
            _visit(base, pairs, step)
        if step % 41 == 0:
            operations.daemon_info(places())
        time.sleep(PAUSE_S)
        if time.monotonic() >= report_at:
            report_at = time.monotonic() + REPORT_EVERY_S
            yield _sample(daemon, base, pairs, began, step)
    yield _sample(daemon, base, pairs, began, step)


def _change(directory: Path, step: int, chance: random.Random) -> None:
    """One thing that happens to a training directory."""
    match chance.randrange(6):
        case 0:
            checkpoint = directory / f"checkpoint-{step}"
            checkpoint.mkdir()
            (checkpoint / "weights.bin").write_bytes(chance.randbytes(40_000))
            (checkpoint / "state.txt").write_text(f"step {step}")
            kept = sorted(directory.glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))
            for old in kept[:-KEPT_CHECKPOINTS]:
                shutil.rmtree(old)
        case 1:
            new = directory / "best.new"
            new.write_bytes(chance.randbytes(20_000))
            os.replace(new, directory / "best.bin")
        case 2:
            with (directory / "train.log").open("a") as log:
                log.write(f"step {step}: loss {chance.random():.4f}\n")
        case _:
            folder = directory / f"notes-{chance.randrange(5)}"
            folder.mkdir(exist_ok=True)
            (folder / f"{chance.randrange(40)}.txt").write_text(f"{step} " * chance.randrange(1, 200))


def _visit(base: Path, pairs: list[Pair], step: int) -> None:
    """A mirror comes, is delivered, and goes again with its state."""
    directory = base / f"guest-{step}"
    directory.mkdir()
    (directory / "file.txt").write_text(f"{step}")
    _configure([*pairs, Pair(directory, make_bare(base / "remotes" / f"guest-{step}.git"))], step)
    assert lfssync("sync", directory.name).returncode == 0
    assert lfssync("remove", directory.name, "--purge").returncode == 0
    assert not places().mirror_state(directory.name).exists()
    shutil.rmtree(directory)


def _sample(daemon: Daemon, base: Path, pairs: list[Pair], began: float, step: int) -> Sample:
    for pair in pairs:
        pair.arrives()
        soon(lambda name=pair.name: status(name).state is State.IDLE, lambda name=pair.name: status(name))  # type: ignore[misc]
    soon(lambda: not any("state.db" in name for name in daemon.descriptors()), daemon.descriptors)
    commits = sum(len(git("rev-list", "main", cwd=pair.remote).split()) for pair in pairs if remote_tree(pair.remote))
    sample = Sample.of(daemon, base / "remotes", commits)
    print(f"{time.monotonic() - began:5.0f} s, {step} changes, {commits} commits: {sample}", flush=True)
    return sample


def _complaints(first: Sample, last: Sample) -> list[str]:
    """What grew that must not."""
    found = []
    if last.memory_bytes > first.memory_bytes + MORE_MEMORY_BYTES:
        found.append(f"memory grew from {first.memory_bytes} to {last.memory_bytes} bytes")
    if last.threads > first.threads + 1:
        found.append(f"threads grew from {first.threads} to {last.threads}")
    if last.descriptors > first.descriptors + 2:
        found.append(f"descriptors grew from {first.descriptors} to {last.descriptors}")
    if last.children:
        found.append(f"{last.children} children are left")
    if last.state_bytes > MIRRORS * STATE_BYTES + last.commits * LEFT_BY_COMMIT_BYTES:
        found.append(f"the state grew from {first.state_bytes} to {last.state_bytes} bytes")
    return found


if __name__ == "__main__":
    sys.exit(main())
