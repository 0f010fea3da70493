"""What a notification says: the document that programs read, and the line that people read.

Pure. `senders` carries both. The one thing to know: a message may quote a file's name or a server's answer, and chat
programs obey words such as `@all`; so what people read is disarmed, while the document keeps it exact.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from lfssync import __version__
from lfssync.configuration.telling import Occasion
from lfssync.model import show
from lfssync.telling.notices import Notice

TEXT_CHARACTERS = 1500
"""Discord takes 2,000."""

_DISARMED = str.maketrans(
    {
        "<": "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}",
        ">": "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}",
        "@": "@\N{ZERO WIDTH SPACE}",
    }
)


@dataclass(frozen=True, slots=True)
class Letter:
    """A notification as it goes out.

    Args:
        occasion: What kind of news it is.
        title: A few words for people.
        text: One line for people, title included.
        document: The same for programs.
    """

    occasion: Occasion
    title: str
    text: str
    document: dict[str, Any]


def letter(notice: Notice, remote: str, host: str, at: float) -> Letter:
    """A notification as it goes out.

    Args:
        notice: What is to be told.
        remote: Where the mirror goes, without logins; empty for none.
        host: The name of this machine.
        at: Now, in seconds since the epoch.
    """
    about = notice.mirror or "lfssync"
    title, text = _words(notice, remote, None if notice.since is None else at - notice.since)
    if notice.remedy:
        text += f"; {notice.remedy}"
    line = _disarmed(f"{about} on {host}: {text}")
    facts = {
        "mirror": notice.mirror or None,
        "host": host,
        "remote": remote or None,
        "kind": notice.kind or None,
        "message": notice.message,
        "remedy": notice.remedy or None,
        "since": None if notice.since is None else _iso(notice.since),
        "at": _iso(at),
        "version": notice.version or None,
        "commit": notice.commit or None,
    }
    document: dict[str, Any] = {
        "event": notice.occasion.value,
        **{key: _exact(value) if isinstance(value, str) else value for key, value in facts.items()},
        "lfssync": __version__,
        "text": line,  # Slack, Mattermost, Rocket.Chat, Google Chat, Microsoft Teams
        "content": line,  # Discord
        "allowed_mentions": {"parse": []},
    }
    return Letter(notice.occasion, _disarmed(f"{about}: {title}"), line, document)


def _words(notice: Notice, remote: str, lasted_s: float | None) -> tuple[str, str]:
    """A title and a sentence."""
    if notice.occasion is Occasion.RECOVERY and notice.mirror:
        return "works again", f"works again after {_long(lasted_s or 0)} ({notice.kind})"
    if notice.occasion is Occasion.RELEASE and notice.version:
        return notice.version, f"released {notice.version} ({notice.commit[:7]}) to {remote}"
    if not notice.kind:
        return notice.occasion.value, notice.message
    lasting = f" for {_long(lasted_s)}" if lasted_s is not None and lasted_s >= 1 else ""
    return notice.kind, f"{notice.kind}{lasting}: {notice.message}"


def _disarmed(text: str) -> str:
    shown = show(text.encode("utf-8", "surrogateescape")).translate(_DISARMED)
    return shown if len(shown) <= TEXT_CHARACTERS else f"{shown[: TEXT_CHARACTERS - 1]}…"


def _exact(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _long(seconds: float) -> str:
    """A length of time in its largest unit."""
    passed = max(int(seconds), 0)
    for unit_s, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if passed >= unit_s:
            return f"{passed // unit_s} {unit}"
    return f"{passed} s"
