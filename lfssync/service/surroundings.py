"""What happens around the daemon: the network comes back, the machine wakes up.

Owned by `daemon`, whose main thread is told by a job. The one thing to know: the kernel says when a link, an address or
a route appears, to everybody who listens and without privileges; whether anything is reachable by it only a try can
tell. Where the kernel does not say so, nothing is lost but time: everything is tried again by itself.

Source: rtnetlink(7), netlink(7), clock_gettime(2).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import select
import socket
import struct
import threading
import time
from collections.abc import Callable

QUIET_S = 1.5
MAX_WAIT_S = 5.0
"""Links, addresses and routes come one after the other: told once that rests, but never later than this."""

SLEPT_S = 5.0
"""A machine that slept for less has hardly lost anything."""

_NETLINK_ROUTE = 0
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400  # LINK, IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR, IPV6_ROUTE
_NEW_LINK, _NEW_ADDRESS, _NEW_ROUTE = 16, 20, 24
_RUNNING = 0x40
_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_RECEIVE_BYTES = 1 << 16

_log = logging.getLogger("lfssync")


def tells_of_return(datagram: bytes) -> bool:
    """Whether a message of the kernel's says that there is a way to others that was not there before.

    Args:
        datagram: One or several messages, as rtnetlink sends them.
    """
    at = 0
    while at + _HEADER.size <= len(datagram):
        length, kind, *_ = _HEADER.unpack_from(datagram, at)
        if length < _HEADER.size:
            return False
        if kind in (_NEW_ADDRESS, _NEW_ROUTE):
            return True
        if kind == _NEW_LINK and at + _HEADER.size + _LINK.size <= len(datagram):
            *_, flags, _ = _LINK.unpack_from(datagram, at + _HEADER.size)
            if flags & _RUNNING:
                return True
        at += (length + 3) & ~3
    return False


class Network:
    """Tells when the network is back, from a thread of its own.

    Args:
        returned: Called in that thread.
    """

    def __init__(self, returned: Callable[[], None]) -> None:
        self._returned = returned
        self._thread = threading.Thread()
        self._ends: tuple[socket.socket, socket.socket] | None = None

    def start(self) -> None:
        """Begin to listen, where the kernel lets us."""
        try:
            messages = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE)
        except (AttributeError, OSError) as error:
            _log.debug("the kernel does not tell about the network: %s", error)
            return
        try:
            messages.setblocking(False)
            messages.bind((0, _GROUPS))
            self._ends = socket.socketpair()
            self._thread = threading.Thread(
                target=self._listen, args=(messages, self._ends[1]), name="network", daemon=True
            )
            self._thread.start()
        except (OSError, RuntimeError) as error:
            messages.close()
            self._close()
            _log.debug("the kernel does not tell about the network: %s", error)

    def stop(self, timeout_s: float) -> None:
        """Stop listening, within so many seconds."""
        if self._ends is not None:
            self._ends[0].send(b"\0")
            self._thread.join(timeout_s)
        if not self._thread.is_alive():
            self._close()

    def _close(self) -> None:
        for end in self._ends or ():
            end.close()
        self._ends = None

    def _listen(self, messages: socket.socket, end: socket.socket) -> None:
        with messages:
            poll = select.poll()
            poll.register(messages, select.POLLIN)
            poll.register(end, select.POLLIN)
            since: float | None = None
            while True:
                left_s = None if since is None else min(QUIET_S, since + MAX_WAIT_S - time.monotonic())
                ready = dict(poll.poll(None if left_s is None else max(left_s, 0) * 1000))
                if end.fileno() in ready:
                    return
                now = time.monotonic()
                try:
                    if ready and _received(messages) and since is None:
                        since = now
                except OSError as error:
                    _log.warning("the kernel does not tell about the network any more: %s", error.strerror)
                    return
                if since is not None and (not ready or now >= since + MAX_WAIT_S):
                    since = None
                    self._returned()


def _received(messages: socket.socket) -> bool:
    """Take what the kernel has sent; whether the network may be back."""
    try:
        return tells_of_return(messages.recv(_RECEIVE_BYTES))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno != errno.ENOBUFS:
            raise
        return True  # there was more than we could be told


def _boot_time() -> float:
    with contextlib.suppress(AttributeError, OSError):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class Sleep:
    """Notices that the machine has slept: one clock goes on then, and the other one does not.

    Args:
        through: Seconds, sleep included.
        awake: Seconds without it.
    """

    def __init__(self, through: Callable[[], float] = _boot_time, awake: Callable[[], float] = time.monotonic) -> None:
        self._through = through
        self._awake = awake
        self._ahead_s = self._through() - awake()

    def is_over(self) -> bool:
        """Whether the machine has slept since this was asked last."""
        ahead_s = self._through() - self._awake()
        slept_s, self._ahead_s = ahead_s - self._ahead_s, ahead_s
        if slept_s < SLEPT_S:
            return False
        _log.info("the machine was asleep for %.0f s: everything is looked at and verified again", slept_s)
        return True
