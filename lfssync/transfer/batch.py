"""What is asked of an LFS server about many objects at once, and what its reply says about each of them.

Stands under the transfers over HTTP. Pure. The one thing to know: "no action" means that the server has the object, so
every reply that is not exactly about what was asked is an error here; read kindly, it would lose an object.

Source: git-lfs docs/api/batch.md; giftless docs/multipart-spec.md; huggingface_hub lfs.py (`chunk_size`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeAlias

from lfssync.errors import LfssyncError
from lfssync.model import LfsObject, show
from lfssync.rules.remotes import has_control_character
from lfssync.web.messages import require_safe

BASIC = "basic"
MULTIPART = "multipart"
MULTIPART_BASIC = "multipart-basic"

OFFERED = (MULTIPART_BASIC, MULTIPART, BASIC)
"""The transfers that we speak, offered to every server for objects of every size: the Hub takes large ones only from
those who offer `multipart`, and leaves the others as they are. To most the order says nothing; giftless takes the first
that it knows, and better one that can go on where it broke. `xet` must never stand here: it would be taken at its word.
"""

BATCH_OBJECTS = 100
MEDIA_TYPE = "application/vnd.git-lfs+json"
HASH_ALGORITHM = "sha256"

_CHUNK_SIZE = "chunk_size"
_NOT_OURS_TO_SEND = frozenset({"transfer-encoding", "content-length", "host", "connection", "expect"})
"""What servers hint at and HTTP itself decides; sent literally they break the request."""

_KNOWN_FIELDS = frozenset({"href", "header", "expires_at", "expires_in", "method", "body"})
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_METHOD = re.compile(r"[A-Z]{1,16}")
_YEAR_S = 365 * 86400.0


class Operation(StrEnum):
    """What a batch is for."""

    UPLOAD = "upload"
    DOWNLOAD = "download"


@dataclass(frozen=True, slots=True)
class Action:
    """One request that the server wants to have made.

    Args:
        href: Its address, absolute; it may hold a signature.
        headers: What goes with it; of `multipart` also what is no header at all.
        expires_at: Until when it is good, by the clock of `Sent`; None when nobody knows.
        authenticated: Whether the server says that it needs no login besides its headers.
        method: What the server wants in place of the kind's own method, or empty.
        body: What the server wants to be sent, or None.
        extras: Everything else about it, such as `pos`, `size` and `want_digest` of a part.
    """

    href: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    expires_at: float | None = None
    authenticated: bool = False
    method: str = ""
    body: bytes | None = field(default=None, repr=False)
    extras: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Present:
    """The server says that it has the object."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The server wants the object, or gives it.

    Args:
        kind: How: `basic`, `multipart` or `multipart-basic`.
        actions: By name: `upload`, `verify`, `download`, `init`, `commit`, `abort`.
        parts: Those of `multipart-basic`.
    """

    kind: str
    actions: Mapping[str, Action]
    parts: tuple[Action, ...] = ()

    @property
    def expires_at(self) -> float | None:
        """When the first of the actions ends; None when nobody knows."""
        ends = [one.expires_at for one in (*self.actions.values(), *self.parts) if one.expires_at is not None]
        return min(ends, default=None)

    @property
    def chunk_bytes(self) -> int | None:
        """Into parts of which size `multipart` cuts the object; None where there is no such number."""
        upload = self.actions.get("upload")
        text = upload.headers.get(_CHUNK_SIZE, "") if upload else ""
        return int(text) if re.fullmatch(r"0*[1-9][0-9]{0,18}", text) else None


@dataclass(frozen=True, slots=True)
class Failed:
    """The server refuses this object; the code is like an HTTP status, 0 when there is none."""

    code: int
    message: str = ""


Standing: TypeAlias = Present | Wanted | Failed


@dataclass(frozen=True, slots=True)
class Sent:
    """When a batch was sent.

    Args:
        clock_s: By the clock that actions are measured with later; any clock that only runs forward.
        epoch_s: In seconds since the epoch, by the server's own clock where its answer tells.
    """

    clock_s: float
    epoch_s: float


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server said: which transfer it chose, and how each object stands, by its oid."""

    transfer: str
    standings: Mapping[str, Standing]


def batches(objects: Iterable[LfsObject], limit: int = BATCH_OBJECTS) -> list[list[LfsObject]]:
    """Cut into batches, the largest objects first; each object once, and no oid twice in a batch.

    Two objects of one oid and different sizes come from a pointer that lies; a server answers for an oid once.
    """
    found: list[list[LfsObject]] = []
    left = sorted(dict.fromkeys(objects), key=lambda lfs: lfs.size_bytes, reverse=True)
    while left:
        first = {lfs.oid: lfs for lfs in reversed(left)}
        once = [lfs for lfs in left if first[lfs.oid] is lfs]
        found += [once[start : start + limit] for start in range(0, len(once), limit)]
        left = [lfs for lfs in left if first[lfs.oid] is not lfs]
    return found


def request(
    operation: Operation, objects: Sequence[LfsObject], branch: str, kinds: Sequence[str] = (BASIC,)
) -> dict[str, Any]:
    """The document to send.

    Args:
        operation: What it is about.
        objects: About which; at least one, no oid twice.
        branch: What they are for; empty for none (an empty or null `ref` is refused by some servers).
        kinds: Transfers that we speak.
    """
    return {
        "operation": str(operation),
        "transfers": list(kinds),
        **({"ref": {"name": f"refs/heads/{branch}"}} if branch else {}),
        "objects": [{"oid": lfs.oid, "size": lfs.size_bytes} for lfs in objects],
        "hash_algo": HASH_ALGORITHM,
    }


def parse(
    document: Any, operation: Operation, objects: Sequence[LfsObject], kinds: Collection[str], sent: Sent
) -> Reply:
    """What a reply says about each object that was asked about.

    Args:
        document: The reply, as JSON.
        operation: What was asked.
        objects: About which.
        kinds: Transfers that were offered.
        sent: When it was asked.

    Raises:
        LfssyncError: The reply is no answer to that question.
        BlockedError: It leads to where nothing may be sent.
    """
    if not isinstance(document, dict) or not isinstance(document.get("objects"), list):
        raise broken("its reply names no objects")
    if (algorithm := document.get("hash_algo") or HASH_ALGORITHM) != HASH_ALGORITHM:
        raise broken(f"it wants the hash algorithm {_quoted(algorithm)}")
    transfer = document.get("transfer") or BASIC
    if transfer != BASIC and transfer not in kinds:
        raise broken(f"it answers with the transfer {_quoted(transfer)}, which was not offered")
    asked = {lfs.oid: lfs for lfs in objects}
    standings: dict[str, Standing] = {}
    for row in document["objects"]:
        oid = row.get("oid") if isinstance(row, dict) else None
        if not isinstance(oid, str) or oid not in asked:
            raise broken(f"it answers about the object {_quoted(oid)}, which was not asked for")
        if oid in standings:
            raise broken(f"it answers twice about the object {oid}")
        standings[oid] = _standing(row, operation, asked[oid], transfer, sent)
    if missing := asked.keys() - standings.keys():
        raise broken(f"it does not answer about the object {min(missing)}")
    return Reply(transfer, standings)


def _standing(row: Mapping[str, Any], operation: Operation, lfs: LfsObject, transfer: str, sent: Sent) -> Standing:
    error = row.get("error")
    if error is not None:
        code, message = (error.get("code"), error.get("message")) if isinstance(error, dict) else (0, error)
        return Failed(code if type(code) is int else 0, message if isinstance(message, str) else "")
    if (size := row.get("size")) is not None and size != lfs.size_bytes:
        return Failed(422, f"it has another size there: {_quoted(size)} instead of {lfs.size_bytes} bytes")
    specifications = row.get("actions")
    if specifications is None:
        specifications = row.get("_links") or {}
    if not isinstance(specifications, dict):
        raise broken(f"its actions for the object {lfs.oid} are none")
    is_authenticated = row.get("authenticated") is True
    actions = {
        name: _action(one, is_authenticated, sent)
        for name, one in specifications.items()
        if one is not None and name != "parts"
    }
    parts = tuple(_action(one, is_authenticated, sent) for one in _list(specifications.get("parts")))
    if operation is Operation.DOWNLOAD:
        return Wanted(BASIC, actions) if "download" in actions else Failed(404, "there is no link to it")
    if not parts and actions.keys().isdisjoint(("upload", "verify", "init", "commit")):
        return Present()
    return Wanted(_kind(transfer, actions), actions, parts)


def _kind(transfer: str, actions: Mapping[str, Action]) -> str:
    """How an object is sent: the Hub tells by the object and not by the reply."""
    if "upload" not in actions:
        return transfer
    return MULTIPART if _CHUNK_SIZE in actions["upload"].headers else BASIC


def _action(specification: Any, is_authenticated: bool, sent: Sent) -> Action:
    if not isinstance(specification, dict):
        raise broken("one of its actions is none")
    method, body = specification.get("method") or "", specification.get("body")
    if not isinstance(method, str) or not _METHOD.fullmatch(method or "GET"):
        raise broken(f"it wants the method {_quoted(method)}")
    if body is not None and not isinstance(body, str):
        raise broken("it wants a body that is no text")
    return Action(
        _href(specification.get("href")),
        _headers(specification.get("header")),
        expiry(specification, sent),
        is_authenticated,
        method,
        None if body is None else body.encode("utf-8", "surrogatepass"),
        {key: value for key, value in specification.items() if key not in _KNOWN_FIELDS},
    )


def _href(href: Any) -> str:
    """An address that may be talked to; what it says is not repeated, for it may be signed."""
    if not isinstance(href, str) or not re.match(r"https?://", href, re.IGNORECASE) or has_control_character(href):
        raise broken("it gives a link that is no absolute address")
    require_safe(href)
    return href


def _headers(header: Any) -> dict[str, str]:
    if header is None:
        return {}
    if not isinstance(header, dict):
        raise broken("its headers are none")
    found = {}
    for name, value in header.items():
        text = str(value) if type(value) in (int, float) else value
        if not isinstance(text, str) or not _HEADER_NAME.fullmatch(name) or re.search(r"[\r\n\0]", text):
            raise broken("one of its headers is none")
        if name.lower() not in _NOT_OURS_TO_SEND:
            found[name] = text
    return found


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise broken("its parts are no list")
    return value


def expiry(specification: Mapping[str, Any], sent: Sent) -> float | None:
    """Until when something is good, by the clock of `sent`; None when it does not say, or makes no sense.

    `expires_in` goes before `expires_at`. No lifetime, and Go's zero time, stand for "not known".
    """
    lifetime_s = _number(specification.get("expires_in"))
    if lifetime_s:
        return sent.clock_s + min(lifetime_s, _YEAR_S)
    text = specification.get("expires_at")
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text.strip().upper())
        at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return None if moment.year <= 1 else sent.clock_s + min(at - sent.epoch_s, _YEAR_S)


def _number(value: Any) -> float:
    try:
        number = float(value) if type(value) in (int, float, str) else 0.0
    except (ValueError, OverflowError):
        return 0.0
    return number if math.isfinite(number) else 0.0


def _quoted(value: Any) -> str:
    """Something of a server's, short and safe to show."""
    return show(repr(value)[:80].encode("utf-8", "backslashreplace"))


def broken(what: str) -> LfssyncError:
    """What is raised about a server that does not keep to the protocol."""
    return LfssyncError(f"the LFS server breaks the protocol: {what}", "ask who runs it")
