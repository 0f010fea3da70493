"""What is sent to a server and what comes back, as values: requests, bodies and answers.

Below the line, under `client`. The one thing to know: an address or a header may hold a signature or a token, so
neither shows in a repr, and messages name the host alone (`host_of`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from lfssync.errors import BlockedError, TransientError
from lfssync.rules.remotes import is_loopback

ANSWER_TIMEOUT_S = 60.0


class Body(Protocol):
    """What is sent: exactly as many bytes as its length says."""

    def __len__(self) -> int:
        """How many bytes there are."""

    def read(self, size: int = -1) -> bytes:
        """The next bytes; what it raises ends the exchange and comes out of `Client.send`."""

    def rewind(self) -> None:
        """Start again from the first byte."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a server.

    Args:
        method: In capitals.
        url: Absolute, https, or http on this machine.
        headers: Sent as they are; what is not named here is not sent, logins included.
        body: Bytes, or what gives them.
        answer_timeout_s: How long the server may think after it has everything.
        stays: Whether a redirect to another server is refused, because the address itself is secret.
    """

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | Body | None = field(default=None, repr=False)
    answer_timeout_s: float = ANSWER_TIMEOUT_S
    stays: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said.

    Args:
        url: Who said it, after redirects; may hold a signature, so it is for no log.
        status: The HTTP status.
        headers: By name, in any case of letters.
        content: The body, decoded as its headers say.
    """

    url: str = field(repr=False)
    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)

    @property
    def is_success(self) -> bool:
        """Whether the status is one of 2xx."""
        return 200 <= self.status < 300

    def document(self) -> Any:
        """The body as JSON.

        Raises:
            TransientError: It is something else, as a proxy's page in the place of an answer is.
        """
        try:
            return json.loads(self.content)
        except ValueError as error:
            raise TransientError(
                f"{host_of(self.url)} answers with something that is no JSON",
                "it is tried again; is that the right host?",
            ) from error


def host_of(url: str) -> str:
    """Who an address belongs to, for messages: never its path or query, which may hold a signature."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2] or "the server"
    except ValueError:
        return "the server"


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port: who gets what is sent to an address."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def require_safe(url: str) -> None:
    """Make sure that an address is one, without a login in it, and that nobody on the way can read along.

    Raises:
        BlockedError: It is not.
    """
    try:
        parts = urlsplit(url)
        safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
        safe = safe and bool(parts.hostname) and parts.username is None and (parts.port or 1) > 0
    except ValueError:
        safe = False
    if not safe:
        raise BlockedError(f"{host_of(url)} may not be talked to in clear, or is no address", "use https://")
