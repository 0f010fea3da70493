"""Stops a program, with all its children, at exactly the Nth of its calls that change files, and ends it there.

strace sends SIGSTOP with every such call, in whatever process of the program it happens; here the calls are counted
and the process is let go on, until the Nth: what the disk holds then is the work of exactly so many calls.
The one thing to know: strace itself counts for each thread alone, so its own `when=N` cannot sweep a program that does
half of its work in children that live for a moment.

Source: strace(1), "Tampering"; ptrace(2), "Group-stop".
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

CHANGES = (
    "write,pwrite64,writev,pwritev,copy_file_range,sendfile,ftruncate,truncate,fallocate,rename,renameat,renameat2,link,"
    "linkat,symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat,rmdir,fsync,fdatasync"
)
"""The calls that change what is on a disk, or bring it there."""

TIMEOUT_S = 120.0

_STOPPED = "--- stopped by SIGSTOP ---"
_CALL = re.compile(r"\d+ +(\w+)\(")
# Not to a disk: between processes, to a terminal, into memory.
_ELSEWHERE = re.compile(r"\d+ +\w+\(\d+<(?:(?:pipe|socket|UNIX|TCP|anon_inode|/memfd|/dev/)|[^>]*>\(deleted\))")


@dataclass
class Traced:
    """A program under strace.

    Args:
        command: What is run.
        log: Where its output goes.
        at: At which call `hook` is called, from 1 on, or at the first that strace describes so; None for none of them.
        hook: Called while everything stands still; usually ends the program.
        calls: What strace said about each counted call so far.
        status: How strace ended, which is how the program ended; None while it runs.
        struck: Set when `hook` was called, or when all is over.
    """

    command: Sequence[str]
    log: Path
    at: int | re.Pattern[str] | None = None
    hook: Callable[[Traced], None] = lambda traced: traced.kill_all()
    calls: list[str] = field(default_factory=list)
    status: int | None = None
    struck: threading.Event = field(default_factory=threading.Event)
    _strace: subprocess.Popen[bytes] | None = None
    _program: int = 0

    def run(self) -> Traced:
        """Run it until none of its processes is left."""
        reading, writing = os.pipe()
        words = ["strace", "-f", "-qq", "-y", "-s", "0", "-e", f"trace={CHANGES}", "-e", "signal=SIGSTOP"]
        words += ["-e", f"inject={CHANGES}:signal=STOP", "-o", f"/proc/self/fd/{writing}", "--", *self.command]
        with self.log.open("ab") as log, os.fdopen(reading, encoding="utf-8", errors="backslashreplace") as lines:
            try:
                self._strace = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(writing,), start_new_session=True
                )
            finally:
                os.close(writing)
            watchdog = threading.Timer(TIMEOUT_S, self.kill_all)
            watchdog.start()
            try:
                for line in lines:
                    self._take(line)
            finally:
                watchdog.cancel()
                watchdog.join()
                self.kill_all()
                self.status = self._strace.wait()
                self.struck.set()
        return self

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Run it, and have the block run beside what is left of it after `hook` was called."""
        thread = threading.Thread(target=self.run, name="traced")
        thread.start()
        try:
            assert self.struck.wait(TIMEOUT_S)
            yield
        finally:
            thread.join()

    def _take(self, line: str) -> None:
        """Take in a line of strace; the process that it is about may be waiting for us."""
        pid = int(line.split(maxsplit=1)[0])
        self._program = self._program or pid
        if _STOPPED in line:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        elif _CALL.match(line) and not _ELSEWHERE.match(line) and f"<{self.log}>" not in line:
            self.calls.append(line.rstrip())
            if self._is_time(line):
                self.at = None
                self.hook(self)
                self.struck.set()

    def _is_time(self, line: str) -> bool:
        if isinstance(self.at, re.Pattern):
            return bool(self.at.search(line))
        return len(self.calls) == self.at

    def processes(self) -> list[int]:
        """Everything of it that lives now."""
        assert self._strace is not None
        mark = f"TracerPid:\t{self._strace.pid}\n"
        found = []
        for name in os.listdir("/proc"):
            with suppress(OSError):
                if name.isdecimal() and mark in Path(f"/proc/{name}/status").read_text():
                    found.append(int(name))
        return found

    def freeze(self) -> None:
        """Have all its processes stand still."""
        alive = self.processes()
        for pid in alive:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        deadline = time.monotonic() + TIMEOUT_S
        while not all(_stands_still(pid) for pid in alive):
            assert time.monotonic() < deadline, "it does not stop"
            time.sleep(0.001)

    def kill_all(self) -> None:
        """End all its processes at once, as when a machine or its container is killed."""
        while alive := self.processes():
            for pid in alive:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def kill_caller(self) -> None:
        """End the process that made the call."""
        with suppress(ProcessLookupError):
            os.kill(int(self.calls[-1].split(maxsplit=1)[0]), signal.SIGKILL)

    def kill_first(self) -> None:
        """End the program alone; what it had started goes on."""
        with suppress(ProcessLookupError):
            os.kill(self._program, signal.SIGKILL)


def failing(command: Sequence[str], calls: str, error: str, when: str, path: str = "") -> list[str]:
    """The command line that runs a program some of whose system calls fail.

    Args:
        command: What is run.
        calls: The calls that fail, as strace(1) takes them.
        error: How they fail, such as "EIO".
        when: Which ones, counted in each thread by itself, as strace takes it: "1" the first, "1+" all.
        path: Only those that are about this path; empty for any.
    """
    words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", *(("-P", path) if path else ())]
    return [*words, "-e", f"inject={calls}:error={error}:when={when}", "--", *command]


def _stands_still(pid: int) -> bool:
    """Whether no thread of a process runs. Source: proc(5), the field `state`."""
    try:
        return all(
            file.read_text().rpartition(") ")[2][0] in "tTZX" for file in Path(f"/proc/{pid}/task").glob("*/stat")
        )
    except FileNotFoundError:
        return True
