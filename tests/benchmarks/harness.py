"""Rows, contestants, rounds: runs them in turn and measures time, memory, and bytes written to the local disk."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

TIMEOUT_S = 1800.0
_BLOCK = os.urandom(8 << 20)
_STAMP_EVERY_BYTES = 64 << 10

Prepared = Callable[[], float | None]
"""What is timed; one that knows better what counts gives the seconds itself."""


@dataclass(slots=True)
class Meter:
    """Runs the commands of one contestant and notes how much memory they took.

    Args:
        memory_bytes: The largest process at its largest so far; never less than this process itself has, which
            Linux counts to what it starts.
        running: Processes that run beside the commands and do their work, such as a daemon.
        ends: Ends them.
    """

    memory_bytes: int = 0
    running: list[int] = field(default_factory=list)
    ends: ExitStack = field(default_factory=ExitStack)

    def run(self, command: Sequence[str | Path], cwd: Path, extra: Mapping[str, str] | None = None) -> str:
        """Run a command to its end; gives what it said.

        Raises:
            RuntimeError: It failed; holds what it said.
        """
        with tempfile.TemporaryFile() as said:
            child = subprocess.Popen(
                command, cwd=cwd, env=os.environ | dict(extra or {}), stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )
            timer = threading.Timer(TIMEOUT_S, child.kill)
            timer.start()
            _, status, usage = os.wait4(child.pid, 0)  # of the child and of all that it waited for, see getrusage(2)
            timer.cancel()
            child.returncode = os.waitstatus_to_exitcode(status)
            self.memory_bytes = max(self.memory_bytes, usage.ru_maxrss * 1024)
            said.seek(0)
            text = said.read().decode("utf-8", "replace")
            if child.returncode:
                raise RuntimeError(f"{' '.join(map(str, command))}: {text[-2000:]}")
            return text


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way to do what a row is about.

    Args:
        name: What the table calls it.
        prepare: Gets a new folder and a meter, and makes everything ready, which is not timed; gives what is timed.
        check: Called with the folder after the run: raises when the work was not done.
    """

    name: str
    prepare: Callable[[Path, Meter], Prepared]
    check: Callable[[Path], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Row:
    """One question.

    Args:
        key: What the command line calls it.
        title: What is done.
        goal: What is aimed at, in words.
        contestants: lfssync is the one whose ratios are shown.
        rounds: So often all of them run.
        size_bytes: What moves, for a rate; 0 for none.
        goals: What is aimed at, as far as it is about time: how many times lfssync's time others shall take at least,
            by name.
        flat_within: How many times lfssync's first time the others, which are lfssync as well, may take at most.
        reason: What a profile says lfssync spends its time with, for a goal that is missed.
    """

    key: str
    title: str
    goal: str
    contestants: tuple[Contestant, ...]
    rounds: int = 5
    size_bytes: int = 0
    goals: Mapping[str, float] = field(default_factory=dict)
    flat_within: float = 0.0
    reason: str = ""


@dataclass(slots=True)
class Measured:
    """What one contestant needed, a value a round.

    Args:
        seconds: Wall clock.
        memory_bytes: The largest process at its largest, of all rounds.
        written_bytes: What was written to block devices, by all its processes; 0 on file systems in memory.
    """

    seconds: list[float] = field(default_factory=list)
    memory_bytes: int = 0
    written_bytes: list[int] = field(default_factory=list)

    @property
    def median_s(self) -> float:
        """The middle one."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Half the distance from the fastest to the slowest, as a share of the median."""
        return (max(self.seconds) - min(self.seconds)) / 2 / self.median_s if self.median_s else 0.0


def run_row(row: Row, rounds: int | None, clear: Callable[[], None]) -> dict[str, Measured]:
    """Run all contestants of a row in turn, each round in another order.

    Args:
        row: What to run.
        rounds: Instead of the row's own number, or None.
        clear: Called after each run, to take away what it left outside of its own folder.

    Returns:
        What each of them needed, by name, in the row's order.
    """
    found = {one.name: Measured() for one in row.contestants}
    for number in range(rounds or row.rounds):
        shift = number % len(row.contestants)
        for one in row.contestants[shift:] + row.contestants[:shift]:
            _run_once(one, found[one.name])
            clear()
    return found


def _run_once(one: Contestant, into: Measured) -> None:
    with tempfile.TemporaryDirectory(prefix="lfssync-bench-") as name, private_home(Path(name)):
        folder = Path(name) / "arena"
        folder.mkdir()
        meter = Meter()
        with meter.ends:
            timed = one.prepare(folder, meter)
            meter.memory_bytes = 0
            os.sync()  # nobody pays for what another wrote
            written = _written_bytes(meter)
            began = time.perf_counter()
            seconds = timed()
            into.seconds.append(time.perf_counter() - began if seconds is None else seconds)
            into.written_bytes.append(_written_bytes(meter) - written)
            into.memory_bytes = max(into.memory_bytes, meter.memory_bytes, *map(_largest_bytes, meter.running))
        one.check(folder)


def _written_bytes(meter: Meter) -> int:
    """What this process, those beside it, and their children that have ended caused to be written to disks.

    Source: proc(5), /proc/pid/io.
    """
    bytes_ = 0
    for pid in ("self", *meter.running):
        lines = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
        bytes_ += int(lines["write_bytes"]) - int(lines["cancelled_write_bytes"])
    return bytes_


def _largest_bytes(pid: int) -> int:
    """The memory of a process at its largest. Source: proc(5), /proc/pid/status, VmHWM."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024


@contextmanager
def private_home(base: Path) -> Iterator[None]:
    """A home of its own for everybody, with git-lfs installed in it as its manual says."""
    before = dict(os.environ)
    for name in tuple(os.environ):
        if name.startswith(("GIT_", "LFSSYNC_", "XDG_", "HF_", "PYTHON")):  # without bytecode every start compiles
            del os.environ[name]
    (base / "run").mkdir(mode=0o700)
    os.environ |= {"HOME": str(base), "XDG_RUNTIME_DIR": str(base / "run"), "GIT_CONFIG_NOSYSTEM": "1"}
    try:
        for words in (
            ("config", "--global", "user.name", "Bench"),
            ("config", "--global", "user.email", "bench@example.org"),
            ("config", "--global", "init.defaultBranch", "main"),
            ("config", "--global", "gc.autoDetach", "false"),  # else it packs away what git-lfs is looking at
            ("config", "--global", "maintenance.autoDetach", "false"),
            ("lfs", "install", "--skip-repo"),
        ):
            Meter().run(["git", *words], base)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def write_new(path: Path, size_bytes: int, header: bytes = b"") -> None:
    """Write a file that nobody has seen before, nor any 64 KiB of it: some contestants store equal parts only once.

    Args:
        path: Where.
        size_bytes: Of the whole file.
        header: What it begins with.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    nonce = os.urandom(24)
    block = bytearray(_BLOCK)
    with path.open("wb") as file:
        file.write(header)
        done = len(header)
        while done < size_bytes:
            for at in range(0, len(block), _STAMP_EVERY_BYTES):
                block[at : at + 32] = nonce + (done + at).to_bytes(8, "little")
            done += file.write(memoryview(block)[: size_bytes - done])


def write_tree(root: Path, files: int, size_bytes: int = 300) -> None:
    """Write many small files, a hundred a folder."""
    root.mkdir(parents=True)
    for number in range(files):
        folder = root / f"part-{number // 100:05d}"
        if number % 100 == 0:
            folder.mkdir(parents=True)
        (folder / f"{number:07d}.json").write_bytes(b'{"n": %d, "x": "%b"}\n' % (number, b"y" * (size_bytes - 30)))
