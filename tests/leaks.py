"""What a test left behind: threads, child processes and open file descriptors.

`conftest` takes a census before each test and asks for the leaks after it. A process that lost its parent is found too,
because it still carries the test's private HOME in its environment. The one thing to know: descriptors are compared by
the file behind the number (device and inode), because the same number may have been closed and opened anew.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

PATIENCE_S = 2.0
"""How long things that are about to end may take before they count as leaked."""

_POLL_S = 0.01


class Process(NamedTuple):
    """A process by number and start time, because numbers are used again."""

    pid: int
    started_ticks: int


class Descriptor(NamedTuple):
    """An open descriptor by number and by the file behind it."""

    fd: int
    device: int
    inode: int


@dataclass(frozen=True)
class Census:
    """What runs and is open in this process at one moment."""

    threads: frozenset[threading.Thread]
    processes: frozenset[Process]
    descriptors: frozenset[Descriptor]

    def without(self, before: Census) -> Census:
        """What is here and was not there before."""
        return Census(
            self.threads - before.threads, self.processes - before.processes, self.descriptors - before.descriptors
        )

    def describe(self) -> list[str]:
        """One line for each thing, sorted, for people."""
        return sorted(
            [f"thread {thread.name}" for thread in self.threads]
            + [f"process {process.pid}: {_command(process.pid)}" for process in self.processes]
            + [f"descriptor {descriptor.fd}: {_target(descriptor.fd)}" for descriptor in self.descriptors]
        )


def census(home: str) -> Census:
    """Counts what is there now.

    Args:
        home: The test's private HOME; a process that has it in its environment belongs to the test.
    """
    return Census(frozenset(threading.enumerate()), frozenset(_processes(home)), frozenset(_descriptors()))


def leaks(before: Census, home: str, patience_s: float = PATIENCE_S) -> Census:
    """What was not there before and does not go away within `patience_s` seconds."""
    left = census(home).without(before)
    if not any((left.threads, left.processes, left.descriptors)):
        return left
    deadline = time.monotonic() + patience_s
    gc.collect()
    while True:
        left = census(home).without(before)
        if not any((left.threads, left.processes, left.descriptors)) or time.monotonic() > deadline:
            return left
        time.sleep(_POLL_S)


def end(processes: frozenset[Process]) -> None:
    """Kills leaked processes and collects those that are children of ours, so that no later test meets them."""
    for process in processes:
        if _started_ticks(process.pid) != process.started_ticks:
            continue
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(process.pid, 0)


def _processes(home: str) -> list[Process]:
    """Children of this process, zombies included, and every process with that HOME."""
    own_pid = os.getpid()
    mark = b"\0HOME=" + os.fsencode(home) + b"\0"
    found = []
    for name in os.listdir("/proc"):
        if not name.isdecimal() or int(name) == own_pid:
            continue
        stat = _stat(int(name))
        if stat and (int(stat[1]) == own_pid or mark in _environment(int(name))):
            found.append(Process(int(name), int(stat[19])))
    return found


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the state (field 3) on; empty when the process is gone. Source: proc(5)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The command stands in brackets and may itself contain spaces and brackets.
            return file.read().rpartition(b") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _started_ticks(pid: int) -> int | None:
    stat = _stat(pid)
    return int(stat[19]) if stat else None


def _environment(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return b"\0" + file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return "(gone)"
    return b" ".join(words).decode(errors="backslashreplace").strip() or "(ended, never waited for)"


def _descriptors() -> list[Descriptor]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the descriptor of the listing itself is closed by now
            status = os.fstat(int(name))
            found.append(Descriptor(int(name), status.st_dev, status.st_ino))
    return found


def _target(fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except FileNotFoundError:
        return "(closed)"
