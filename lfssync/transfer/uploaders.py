"""The ways an object goes to a server, one for each kind of transfer that servers speak; here the plain one, `basic`.

Stands between `http`, which decides what is sent and when it is tried again, and the requests that the server asked
for. The one thing to know: an uploader sends once, and raises what went wrong; whoever called it asks the server anew
before anything is sent again, because the object may be there after all. `verify` is the caller's, too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lfssync.errors import AuthError, TransientError
from lfssync.model import LfsObject
from lfssync.transfer import Source
from lfssync.transfer.batch import BASIC, Action, Wanted
from lfssync.transfer.body import Advance, GuardedBody, Throttle
from lfssync.web.messages import Answer, Body
from lfssync.web.retrying import Patience

ANSWER_S = 120.0
_HASHED_BYTES_PER_S = 20e6
"""A server may hash a large object, at no more than this, before it answers."""


class LinkRefused(AuthError):
    """A link says 401 or 403: mostly it is too old, and a new one will do."""


class Further(TransientError):
    """The object is not there yet, but more of it is than before: that is worth new patience."""


@dataclass(frozen=True, slots=True)
class Errand:
    """A request to a link.

    Args:
        action: The link, with the headers that go with it.
        method: Unless the action has one of its own.
        what: What the host does not do when it fails, such as `does not take part 3 of`; the object's name follows.
        body: What is sent, unless the action has a body of its own.
        headers: More headers; those of the action go before them.
        answer_timeout_s: How long the server may think.
        expected: Statuses besides 2xx that are an answer, too.
    """

    action: Action
    method: str
    what: str
    body: bytes | Body | None = None
    headers: Mapping[str, str] | None = None
    answer_timeout_s: float = ANSWER_S
    expected: Collection[int] = ()


@dataclass(frozen=True, slots=True)
class Tools:
    """What an uploader works with.

    Args:
        run: Does an errand. Gives an answer of 2xx or one that is expected, else raises: `LinkRefused` for 401 and 403,
            `TransientError` for what passes, `BlockedError` or `LfssyncError` for what does not. Follows redirects,
            and gives no login away.
        throttle: How fast to send; for the bodies.
        advance: Told how many bytes of the object have left; it may be called with fewer than before, and from
            several threads.
        keep: A folder of the mirror's for what lets a later run go on; may not exist yet. What an uploader puts there
            it removes when the object is whole.
        each: Runs a job for each of many things, several at a time; when one fails, no other is begun.
        stop: When set, nothing is tried any more.
        patience: How long to try.
    """

    run: Callable[[Errand], Answer]
    throttle: Throttle
    advance: Advance
    keep: Path
    each: Callable[[Callable[[Any], None], Sequence[Any]], object]
    stop: threading.Event
    patience: Patience


class Uploader(Protocol):
    """One kind of transfer."""

    kind: str
    """Its name in the LFS protocol."""

    def send(self, source: Source, wanted: Wanted, tools: Tools) -> None:
        """Bring one object to the server, complete or not at all.

        Raises:
            ContentChanged: The file is not the object any more; nothing was completed.
            LfssyncError: What `Tools.run` raises. A `TransientError` or `LinkRefused` has the server asked again,
                and then this called again with what it says.
        """

    def forget(self, lfs: LfsObject, tools: Tools) -> None:
        """The object is there, however it came: what was kept for going on goes, here and at the server."""


class Basic:
    """The whole object in one PUT. Source: git-lfs docs/api/basic-transfers.md."""

    kind = BASIC

    def send(self, source: Source, wanted: Wanted, tools: Tools) -> None:
        """See `Uploader.send`."""
        if "upload" in wanted.actions:  # else all that is left to do is to verify it
            tools.run(
                Errand(
                    wanted.actions["upload"],
                    "PUT",
                    "does not take",
                    GuardedBody(source, tools.throttle, tools.advance),
                    {"Content-Type": "application/octet-stream"},
                    answer_timeout_s(source.lfs.size_bytes),
                )
            )

    def forget(self, lfs: LfsObject, tools: Tools) -> None:
        """See `Uploader.forget`: nothing is kept."""


def answer_timeout_s(size_bytes: int) -> float:
    """How long a server may think about so many bytes."""
    return ANSWER_S + size_bytes / _HASHED_BYTES_PER_S
