"""Log lines in the journal of systemd, with priorities and fields that can be asked for.

Used by `cli` when standard error leads there, and by all who log about a mirror (`MirrorLog`). The one thing to know:
only standard error's own stream counts (JOURNAL_STREAM): who sends the words elsewhere wants them there, as text.

Source: systemd's "Native Journal Protocol" (docs/JOURNAL_NATIVE_PROTOCOL.md); systemd.journal-fields(7); JOURNAL_STREAM
in systemd.exec(5).
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

SOCKET = "/run/systemd/journal/socket"
MESSAGE_BYTES_MAX = 64 << 10
"""Longer words are cut: a datagram has room for about 200 KiB."""

DELIVERED = "bbda60f88f484d8c899d764a93b59932"
FAILED = "1f775c96af2d4220b4caccd5f2c5bef5"
RECOVERED = "dfd5f0761e58400991815bcfff2f6025"
HANGS = "bf1bf381b57846deba0c037c3ca5eeb6"
"""What is worth an alarm, or its end, has a name that no wording changes. Source: MESSAGE_ID=."""

_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_SEND_TIMEOUT_S = 2.0
_SAY_AGAIN_S = 3600.0
_SAID_AT_MOST = 1000


def is_there(environment: Mapping[str, str], fd: int) -> bool:
    """Whether a descriptor leads to the journal.

    Args:
        environment: Usually `os.environ`.
        fd: Usually standard error.
    """
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class MirrorLog(logging.LoggerAdapter[logging.Logger]):
    """Where is logged what is about one mirror: its name comes first, and is a field of its own.

    The calls take `fields`, a mapping of more of them, besides what a logger's take.

    Args:
        mirror: Its name.
    """

    def __init__(self, mirror: str) -> None:
        super().__init__(logging.getLogger("lfssync"), {"MIRROR": mirror})
        self._mirror = mirror
        self._said: dict[str, float] = {}

    def process(self, msg: object, kwargs: MutableMapping[str, Any]) -> tuple[str, MutableMapping[str, Any]]:
        """See `logging.LoggerAdapter`."""
        fields = {"MIRROR": self._mirror} | kwargs.pop("fields", {})
        return f"{self._mirror}: {msg}", {**kwargs, "extra": {"fields": fields}}

    def say(self, level: int, text: str, now: float, ending: str = "", fields: Mapping[str, str] | None = None) -> None:
        """Log what may be true for weeks: once, and every hour as long as it is.

        Args:
            level: How bad it is.
            text: The words that make it the same.
            now: Monotonic seconds.
            ending: More words, which may differ.
            fields: As for the other calls.
        """
        if now < self._said.get(text, float("-inf")):
            return
        if len(self._said) >= _SAID_AT_MOST:
            self._said.clear()
        self._said[text] = now + _SAY_AGAIN_S
        self.log(level, "%s%s", text, ending, fields=fields or {})

    def forget(self, text: str) -> None:
        """Those words were not said, as far as the next time goes."""
        self._said.pop(text, None)


class Journal(logging.Handler):
    """Sends records to the journal.

    Args:
        words: What a record says, for people.
        address: The journal's socket.
    """

    def __init__(self, words: Callable[[logging.LogRecord], str], address: str = SOCKET) -> None:
        super().__init__()
        self._words = words
        self._address = address

    def emit(self, record: logging.LogRecord) -> None:
        """Send one; where nobody takes it there is nobody left to tell."""
        priority = next((number for level, number in _PRIORITIES if record.levelno >= level), 7)
        fields = {
            "MESSAGE": self._words(record),
            "PRIORITY": str(priority),
            "SYSLOG_IDENTIFIER": "lfssync",
            "LOGGER": record.name,
            "CODE_FILE": record.pathname,
            "CODE_LINE": str(record.lineno),
            "CODE_FUNC": record.funcName or "",
        } | getattr(record, "fields", {})
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        with socket.socket(socket.AF_UNIX, kind) as sender, contextlib.suppress(OSError):
            sender.settimeout(_SEND_TIMEOUT_S)
            sender.sendto(datagram(fields), self._address)


def datagram(fields: Mapping[str, str]) -> bytes:
    """One entry as the journal takes it: a value with a newline comes with its length in front.

    Args:
        fields: Names of capital letters, digits and `_`, and their values.
    """
    parts = []
    for name, value in fields.items():
        raw = value.encode("utf-8", "backslashreplace")[:MESSAGE_BYTES_MAX]
        key = name.encode()
        parts.append(
            b"%b\n%b%b\n" % (key, struct.pack("<Q", len(raw)), raw) if b"\n" in raw else b"%b=%b\n" % (key, raw)
        )
    return b"".join(parts)
