"""What the daemon tells its service manager: that it is ready, how it does, and that it still moves.

Used by `daemon`, once in each turn of its main loop. The one thing to know: the watchdog hears from us only while the
main loop turns *and* no pass hangs. A pass that waits for a slow host does not hang: see `lifeline`. What the manager
gave us is taken out of the environment, so that no child speaks in our name.

Source: sd_notify(3), sd_watchdog_enabled(3).
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass

from lfssync.lifeline import Lifeline
from lfssync.model import State, human_bytes
from lfssync.records.report import state_of
from lfssync.service import journal
from lfssync.service.journal import MirrorLog
from lfssync.service.worker import Worker

STATUS_EVERY_S = 2.0
"""At least so long between two lines about how it does."""

_PINGS = 3
"""So many signs of life in the time after which the manager takes us for dead."""

_HANGS = 5
"""A pass that nothing was heard of for so many times that long hangs."""

_LOOK_AT_HANGS_S = 0.1
_SEND_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Doing:
    """What a mirror is doing.

    Args:
        name: The mirror.
        state: One word for it.
        left_bytes: So much it has to send.
        lifeline: That of its passes.
    """

    name: str
    state: State
    left_bytes: int
    lifeline: Lifeline


def doing(worker: Worker) -> Doing:
    """What a mirror is doing."""
    headway, trouble = worker.gauge.headway(), worker.trouble
    if headway is not None:
        state = headway.state
    elif trouble is not None:
        state = state_of(trouble.error)
    else:
        state = State.SETTLING if worker.is_waiting else State.IDLE
    left_bytes = headway.size_bytes - headway.done_bytes if headway else 0
    return Doing(worker.mirror.name, state, left_bytes, worker.session.stop)


class Notifier:
    """The way to the service manager, if there is one.

    Args:
        environment: Usually `os.environ`; what the manager put there for us alone is taken out of it.
        clock: Gives monotonic seconds.
    """

    def __init__(self, environment: MutableMapping[str, str], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._address = environment.pop("NOTIFY_SOCKET", "")
        limit_us, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        is_for_us = limit_us.isdecimal() and int(limit_us) > 0 and pid in ("", str(os.getpid()))
        self._watchdog_s = int(limit_us) / 1e6 if is_for_us else None
        self._ping_at = self._say_at = float("-inf")
        self._said = ""
        self._hangs: frozenset[str] = frozenset()

    def ready(self) -> None:
        """It does what it is there for, from now on; or again, after a reload."""
        self._send("READY=1", f"MAINPID={os.getpid()}")

    def reloading(self) -> None:
        """It reads its configuration again."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, within_s: float | None = None) -> None:
        """It comes to its end.

        Args:
            within_s: So many seconds it may take from now on, where that can be told.
        """
        self._said = "stopping" if within_s is None else f"delivering what is complete, for at most {within_s:.0f} s"
        extension = [] if within_s is None else [f"EXTEND_TIMEOUT_USEC={within_s * 1e6:.0f}"]
        self._send("STOPPING=1", f"STATUS={self._said}", *extension)

    def turn(self, doings: Sequence[Doing], others: Mapping[str, Lifeline], complaints: Sequence[str] = ()) -> float:
        """The main loop turns: say how all mirrors do if that changed, and that all move, if they do.

        Args:
            doings: What each mirror does.
            others: The lifelines of what goes on besides, by what it is.
            complaints: What is wrong with what all mirrors share.

        Returns:
            When to be called again at the latest, in monotonic seconds.
        """
        now = self._clock()
        self._look_for_those_that_hang(doings, others)
        line = "; ".join([status_line(doings, self._hangs), *complaints])
        if line != self._said and now >= self._say_at:
            self._said, self._say_at = line, now + STATUS_EVERY_S
            self._send(f"STATUS={line}")
        if self._watchdog_s is not None and now >= self._ping_at and not self._hangs:
            self._ping_at = now + self._watchdog_s / _PINGS
            self._send("WATCHDOG=1")
        again_at = self._say_at if line != self._said else float("inf")
        return again_at if self._watchdog_s is None else min(again_at, max(self._ping_at, now + _LOOK_AT_HANGS_S))

    def _look_for_those_that_hang(self, doings: Collection[Doing], others: Mapping[str, Lifeline]) -> None:
        if self._watchdog_s is None:
            return
        limit_s = self._watchdog_s * _HANGS
        found = {one.name for one in doings if one.lifeline.hangs(limit_s)}
        found |= {name for name, lifeline in others.items() if lifeline.hangs(limit_s)}
        for name in sorted(found - self._hangs):
            words = "hangs: nothing has moved for %.0f s; to be started anew"
            MirrorLog(name).error(words, limit_s, fields={"MESSAGE_ID": journal.HANGS})
        self._hangs = frozenset(found)

    def _send(self, *assignments: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        with socket.socket(socket.AF_UNIX, kind) as sender, contextlib.suppress(OSError):
            sender.settimeout(_SEND_TIMEOUT_S)
            sender.sendto("\n".join(assignments).encode(), address)


def status_line(doings: Sequence[Doing], hangs: Collection[str] = ()) -> str:
    """What all mirrors do, in one line: `12 mirrors: 10 idle, 1 uploading (3.2 GB left), 1 offline`.

    Args:
        doings: What each of them does.
        hangs: Names of those that do nothing any more and should.
    """
    if hangs:
        return f"{', '.join(sorted(hangs))}: hangs, to be started anew"
    if not doings:
        return "no mirrors"
    counts = Counter(one.state for one in doings)
    left_bytes = sum(one.left_bytes for one in doings if one.state is State.UPLOADING)
    words = []
    for state in State:
        if counts[state]:
            left = f" ({human_bytes(left_bytes)} left)" if state is State.UPLOADING and left_bytes else ""
            number = f"{counts[state]} " if len(doings) > 1 else ""
            words.append(f"{number}{state.value}{left}")
    return f"{len(doings)} mirror{'s'[: len(doings) != 1]}: {', '.join(words)}"
