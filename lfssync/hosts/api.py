"""What the interfaces of all hosts share: JSON to and fro, tried again where that helps, refusals in our own words.

Under the single hosts. The one thing to know: an answer that a host is asked for is success or one of the statuses
that the caller can make something of; everything else is an error with the host's own words in it.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lfssync.credentials import Credential
from lfssync.errors import AuthError, BlockedError, LfssyncError, TransientError, UserError
from lfssync.web import statuses
from lfssync.web.messages import Answer, Request
from lfssync.web.retrying import Patience, persist

if TYPE_CHECKING:
    from lfssync.web.client import Client

PATIENCE = Patience(tries=4, asked_s=20.0)
"""A person waits for these answers."""

_LICENSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,99}")


class UnknownLoginError(AuthError):
    """The host does not know the login at all; another one might do."""


def refusal(answer: Answer, what: str) -> LfssyncError:
    """As `statuses.refusal`; a login that is unknown is told from one that may not do what was asked."""
    error = statuses.refusal(answer, what)
    if answer.status == 403 and answer.headers.get("X-RateLimit-Remaining", "").strip() == "0":
        return TransientError(error.message, "the host wants fewer requests; it is tried again", _reset_s(answer))
    return UnknownLoginError(error.message, error.remedy) if answer.status == 401 else error


def _reset_s(answer: Answer) -> float | None:
    """When a forge counts requests anew, in seconds from now; it says so in seconds since the epoch."""
    said = answer.headers.get("X-RateLimit-Reset", "").strip()
    return min(max(float(said) - time.time(), 1.0), statuses.RETRY_AFTER_LIMIT_S) if said.isdecimal() else None


@dataclass(frozen=True, slots=True)
class Api:
    """The interface of one host, for one login.

    Args:
        client: Sends requests.
        address: What all paths are appended to.
        authorization: The `Authorization` header; empty for none.
        accept: The `Accept` header.
    """

    client: Client
    address: str
    authorization: str = ""
    accept: str = "application/json"

    def ask(
        self, what: str, method: str, path: str, given: Mapping[str, object] | None = None, also: Sequence[int] = ()
    ) -> Answer:
        """One question.

        Args:
            what: What it means when it does not work, such as `GitHub does not create me/m`.
            method: In capitals.
            path: Below the address, with its `/`.
            given: Sent as JSON.
            also: Statuses that are answers as well, besides success.

        Raises:
            LfssyncError: The host refused, or is out of reach.
        """
        headers = {"Accept": self.accept}
        if self.authorization:
            headers["Authorization"] = self.authorization
        body = None if given is None else json.dumps(given).encode()
        if body is not None:
            headers["Content-Type"] = "application/json"

        def once() -> Answer:
            answer = self.client.send(Request(method, self.address + path, headers, body))
            if answer.is_success or answer.status in also:
                return answer
            raise refusal(answer, what)

        return persist(once, patience=PATIENCE)


def text(document: Any, *keys: str) -> str:
    """The string at a path of keys in an answer.

    Raises:
        TransientError: It is not there: that is no answer of this host.
    """
    found = document
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    if not isinstance(found, str):
        raise TransientError(f"an answer has no {'.'.join(keys)}", "it is tried again; is that the right host?")
    return found


def texts(found: Any, key: str = "") -> tuple[str, ...]:
    """The strings of a list in an answer, or those under one key of its tables; what is none is passed over."""
    rows = found if isinstance(found, list) else []
    values = [row.get(key) if key and isinstance(row, dict) else row for row in rows]
    return tuple(value for value in values if isinstance(value, str))


def basic(credential: Credential) -> str:
    """A login as HTTP has it. Source: RFC 7617."""
    return "Basic " + base64.b64encode(f"{credential.username}:{credential.secret}".encode()).decode()


def owner_and_name(path: str, host: str) -> tuple[str, str]:
    """The two parts of a repository's path.

    Raises:
        UserError: There are more or fewer.
    """
    owner, _, name = path.strip("/").removesuffix(".git").partition("/")
    if not owner or not name or "/" in name:
        raise UserError(f"{path} is no repository of {host}", "write owner/name")
    return owner, name


def licence(identifier: str) -> str:
    """A licence's identifier, unchanged.

    Raises:
        UserError: It cannot be one.
    """
    if not _LICENSE.fullmatch(identifier):
        raise UserError(f"{identifier!r} is no licence", "write an identifier such as apache-2.0 or mit")
    return identifier


def require_tag(client: Client, credential: Credential, git_url: str, tag: str) -> None:
    r"""Make sure that a tag is on the remote, so that no host makes it up.

    Raises:
        BlockedError: It is not.

    Source: git's gitprotocol-http(5) and gitprotocol-pack(5): one line for each ref, `<length><oid> <name>\n`.
    """
    where = f"{git_url}/info/refs?service=git-upload-pack"
    headers = {"Authorization": basic(credential)}

    def once() -> Answer:
        answer = client.send(Request("GET", where, headers))
        if answer.is_success:
            return answer
        raise refusal(answer, f"{git_url} does not list its tags")

    lines = persist(once, patience=PATIENCE).content.splitlines()
    name = f" refs/tags/{tag}".encode()
    if not any(line.partition(b"\0")[0].endswith(name) for line in lines):
        raise BlockedError(f"the tag {tag} is not on {git_url}", f"release it first: lfssync tag {tag}")


def quoted(part: str) -> str:
    """One part of a path: `/` in it is no separator."""
    return quote(part, safe="")
