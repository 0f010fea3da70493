"""Programs on real terminals, for tests of what people see and type.

The one thing to know: a terminal shows what was typed as well, so a test waits for words that it did not type.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

PATIENCE_S = 60.0
ROWS, COLUMNS = 40, 120


class Screen:
    """Our end of a terminal: keys go in, what is shown comes out."""

    def __init__(self, descriptor: int) -> None:
        self._file = open(descriptor, "r+b", buffering=0)  # noqa: SIM115 (closed by `close`)
        self._shown = ""

    def close(self) -> None:
        """Takes the terminal away; may be called again."""
        self._file.close()

    def press(self, keys: str) -> None:
        """Types."""
        self._file.write(keys.encode())

    def shown_until(self, text: str) -> str:
        """What was shown between what was waited for before and this text.

        Raises:
            AssertionError: It never came; shows what came instead.
        """
        deadline = time.monotonic() + PATIENCE_S
        while text not in self._shown:
            assert self._read(deadline), f"never saw {text!r} but {self._shown!r}"
        before, _, self._shown = self._shown.partition(text)
        return before

    def rest(self) -> str:
        """What is shown until every program has closed the terminal."""
        deadline = time.monotonic() + PATIENCE_S
        while self._read(deadline):
            pass
        rest, self._shown = self._shown, ""
        return rest

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._file], [], [], max(deadline - time.monotonic(), 0))
        data = b""
        with suppress(OSError):  # EIO: the other end is closed
            data = os.read(self._file.fileno(), 65536) if ready else b""
        self._shown += data.decode(errors="replace")
        return bool(data)


@contextmanager
def terminal() -> Iterator[tuple[Screen, TextIO]]:
    """A new terminal: our end of it, and the end that a program writes to."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    screen = Screen(ours)
    stream = open(theirs, "w", encoding="utf-8")  # noqa: SIM115 (closed below, or by the test)
    try:
        yield screen, stream
    finally:
        screen.close()
        with suppress(OSError):  # EIO: what is buffered has nowhere to go any more
            stream.close()


@dataclass(frozen=True)
class Session:
    """A program on a terminal of its own."""

    screen: Screen
    process: subprocess.Popen[bytes]

    def exit_code(self) -> int:
        """Waits for the program's end."""
        return self.process.wait(PATIENCE_S)


@contextmanager
def running(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Iterator[Session]:
    """A program on a terminal that controls its session (fish insists on that); ended at the latest with the context.

    Args:
        command: The program and its arguments.
        folder: Where it runs.
        environment: What is added to the test's own environment.
    """
    with terminal() as (screen, theirs):
        process = subprocess.Popen(
            ["setsid", "--ctty", *command],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=folder,
            env=os.environ | {"TERM": "xterm", "LC_ALL": "C.UTF-8"} | dict(environment),
        )
        theirs.close()
        try:
            yield Session(screen, process)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
