"""What a long-running process owes to its surroundings: signals, limits, and a word to the service manager.

Used by `daemon`. The one thing to know: a signal handler interrupts the main thread anywhere, also where it holds a
lock. So it only hands on what shall be done, through the `put` of a `queue.SimpleQueue`, which may interrupt itself;
an `Event` may not.

Source: signal-safety in the documentation of queue.SimpleQueue; sd_notify(3); getrlimit(2).
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator, Mapping

Job = Callable[[], None]
"""What the main thread shall do."""

_DESCRIPTORS = 1 << 16


@contextlib.contextmanager
def on_signals(jobs: Mapping[signal.Signals, Job], put: Callable[[Job], None]) -> Iterator[None]:
    """Hand on a job whenever its signal comes; the handlers that were there come back afterwards.

    Args:
        jobs: What shall be done for each signal.
        put: Takes the job; must be safe to be interrupted by itself.
    """
    before = {number: signal.signal(number, lambda *_, job=job: put(job)) for number, job in jobs.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def allow_descriptors() -> None:
    """Raise our own limit of open files as far as we may: every mirror takes a few, and their transfers more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def notify(state: str) -> None:
    """Tell systemd how we are, if it is there to listen. Source: sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender, contextlib.suppress(OSError):
        sender.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
