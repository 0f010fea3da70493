"""What an HTTP status means for us: which kind of error it is, what to tell people, and how long to wait.

Below the line, under everybody who gets an `Answer`. Pure. The one thing to know: the kind decides what happens next
(`errors`), so a status in the wrong row either hammers a host that said no, or gives up on one that said "later".

Source: RFC 9110; RFC 6585 (429); git-lfs docs/api/batch.md; Hugging Face's RateLimit headers
(draft-ietf-httpapi-ratelimit-headers).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

from lfssync.errors import AuthError, LfssyncError, RefusedError, TransientError
from lfssync.model import show
from lfssync.web.messages import Answer, host_of

RETRY_AFTER_LIMIT_S = 6 * 3600.0
"""Nobody is believed who says to come back later than this."""

_SAID_LIMIT = 300
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
_TOO_LARGE = "it is larger than this host takes: leave it out (`ignore`), split it, or mirror elsewhere"
_ROOM = "make room at the host or raise its quota; then sync again"
_SERVER = "ask who runs the server"
_BLOCKED: Mapping[int, str] = {
    402: "see to the account at the host",
    404: "check the address, and that the repository exists and has LFS switched on",
    409: "see what the server says",
    410: "the host took it away; mirror elsewhere or ask there",
    413: _TOO_LARGE,
    422: "see what the server says",
    423: "it is locked at the host; ask who locked it",
    451: "the host may not keep it",
    507: _ROOM,
    509: _ROOM,
}
_RATE = re.compile(r"(?:^|[;,\s])(?P<key>[rt])=(?P<value>\d{1,9})\b")


def refusal(answer: Answer, what: str) -> LfssyncError:
    """The error for an answer that is no success.

    Args:
        answer: What the server said.
        what: What did not work and where, such as `https://host does not take the LFS object 12ab`.

    Returns:
        `AuthError` for 401, 403 and 407; `TransientError` for what passes, with the server's own wish how long to
        wait; `RefusedError` for what a person must decide; `LfssyncError` for what must be a fault of ours.
    """
    message = f"{what}: {told(answer)}"
    if answer.status == 401:
        return AuthError(message, f"log in again: lfssync login {host_of(answer.url)}")
    if answer.status == 403:
        if (wait_s := retry_after_s(answer.headers)) is not None:  # a forge's limit on requests
            return TransientError(message, "the host wants fewer requests; it is tried again", wait_s)
        remedy = f"use an account or a token that may write there: lfssync login {host_of(answer.url)}"
        return AuthError(message, remedy)
    if answer.status == 407:
        return AuthError(message, "give the proxy its login: git config http.proxy http://USER@HOST")
    if answer.status in _TRANSIENT:
        return TransientError(message, "it is tried again", retry_after_s(answer.headers))
    if answer.status in _BLOCKED:
        return RefusedError(message, _BLOCKED[answer.status])
    return LfssyncError(message, _SERVER)


def told(answer: Answer) -> str:
    """The status and what the server says about it, in one line that is safe to show."""
    said = answer.headers.get("X-Error-Message") or _message(answer.content)
    line = show(" ".join(said.split()).encode("utf-8", "surrogateescape"))[:_SAID_LIMIT]
    return f"HTTP {answer.status}" + (f" ({line})" if line else "")


def _message(content: bytes) -> str:
    """The words in an error's body; a page of a proxy has none that help."""
    if not content.lstrip().startswith(b"{"):
        return ""
    try:
        document = json.loads(content)
    except ValueError:
        return ""
    found = document.get("message") or document.get("error") if isinstance(document, dict) else ""
    if isinstance(found, dict):
        found = found.get("message")
    return found if isinstance(found, str) else json.dumps(found) if found else ""


def retry_after_s(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """How long the server asks us to wait, in seconds, or None when it does not say.

    Args:
        headers: Of an answer. `Retry-After` as seconds or as a date; else `RateLimit` with nothing remaining.
        now: Seconds since the epoch, for dates; the answer's own `Date` where it has one is better than our clock.
    """
    asked = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", asked):
        return min(float(asked), RETRY_AFTER_LIMIT_S)
    if (at := _moment(asked)) is not None:
        began = date_s(headers)
        began = now if began is None else began
        return None if began is None else min(max(at - began, 0.0), RETRY_AFTER_LIMIT_S)
    rates = {match["key"]: int(match["value"]) for match in _RATE.finditer(headers.get("RateLimit", ""))}
    if rates.get("r") == 0 and "t" in rates:
        return min(rates["t"] + 1.0, RETRY_AFTER_LIMIT_S)
    return None


def date_s(headers: Mapping[str, str]) -> float | None:
    """When an answer was sent by its sender's own clock, in seconds since the epoch; None when it does not say."""
    return _moment(headers.get("Date", ""))


def _moment(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
