"""Servers that are programs of their own: each runs in its own session, and is ended and reaped with all it started.

The one thing to know: what a server says goes to a file in its private folder, and into the error when it does not
come up, so that nobody has to guess.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

START_S = 60.0
"""So long a server may take until it answers, on a busy machine."""

_GRACE_S = 5.0
_LOOK_S = 0.02


@contextmanager
def running(
    command: Sequence[str],
    log: Path,
    answers: Callable[[], bool],
    variables: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends.

    Args:
        command: The program and its arguments.
        log: Where its output goes; its folder becomes the current folder.
        answers: Whether the server answers; asked again and again, and must return soon.
        variables: More environment variables.
        pass_fds: Descriptors that it inherits.

    Raises:
        AssertionError: It does not come up; with what it said.
    """
    with open(log, "wb") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            env=os.environ | dict(variables or {}),
            pass_fds=pass_fds,
            start_new_session=True,
        )
    try:
        _await(child, answers, log)
        yield child
    finally:
        _end(child)


def _await(child: subprocess.Popen[bytes], answers: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not answers():
        said = log.read_text(errors="replace")[-2000:]
        assert child.poll() is None, f"{child.args!r} ended with status {child.returncode}: {said}"
        assert time.monotonic() < deadline, f"{child.args!r} does not answer: {said}"
        time.sleep(_LOOK_S)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the whole session; the leader is reaped last, so that its number stays its own while signals are sent."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_S
    while child.returncode is None and time.monotonic() < deadline:
        if os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            break
        time.sleep(_LOOK_S)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
