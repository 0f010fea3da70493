"""What an upload in parts consists of: Hugging Face's `multipart` and giftless's `multipart-basic`, as values.

Pure; `multipart` sends it. The one thing to know: the two have little in common but that bytes go in parts. The Hub
puts the addresses of all parts into the *header* of one action and wants their ETags back. giftless gives requests
that are to be made as they stand, and of the parts only those that it lacks.

Source: huggingface_hub, lfs.py; giftless, docs/source/multipart-spec.md; RFC 1864 (Content-MD5); RFC 3230 (Digest).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from lfssync.model import LfsObject
from lfssync.transfer.batch import MEDIA_TYPE, Action, Wanted, broken

Span = tuple[int, int]
"""A stretch of an object: where it begins, and how many bytes it has."""

_NUMBER = re.compile(r"[0-9]{1,9}")
_PASSING = re.compile(
    r"x-(amz|goog|ms)-.*|aws.*|google.*|(sig|signature|policy|token|jwt|key-pair-id|expires?|exp|expires[_-](at|in))"
    r"|s[eipprtv]|spr|srt|sk(oid|tid|[estv])",
    re.IGNORECASE,
)
"""Parameters of an address that sign it or say how long it is good for, at S3, Google, Azure, CloudFront and others."""

_DIGESTS: Mapping[str, tuple[str, Callable[..., Any]]] = {
    "sha-256": ("SHA-256", hashlib.sha256),
    "sha-512": ("SHA-512", hashlib.sha512),
    "md5": ("MD5", hashlib.md5),
}


@dataclass(frozen=True, slots=True)
class Taken:
    """What is known of a part that a server took: its ETag as received, and the sha256 of the bytes that were sent."""

    etag: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Part:
    """A part to send.

    Args:
        span: Which bytes.
        action: The request; its body are those bytes.
    """

    span: Span
    action: Action

    @property
    def want_digest(self) -> str:
        """Which checksum of the bytes the server wants in a header; empty for none."""
        return str(self.action.extras.get("want_digest") or "")


@dataclass(frozen=True, slots=True)
class InParts:
    """An upload in parts.

    Args:
        upload: Which upload this is: the same in two replies when the parts that were sent for one count for the other.
        parts: What to send, from the first byte on.
        is_tagged: `parts` are all there are, and their ETags are needed at the end. Else the server keeps its own
            account, and `parts` are those that it lacks.
        first: What is to be asked before the parts.
        last: What is to be asked after them.
        abort: What is to be asked when the upload is given up.
    """

    upload: str
    parts: tuple[Part, ...]
    is_tagged: bool
    first: Action | None = None
    last: Action | None = None
    abort: Action | None = None


def tagged(lfs: LfsObject, wanted: Wanted) -> InParts:
    """The upload in parts that the Hub describes in the header of an upload action, under names that are numbers.

    Raises:
        LfssyncError: They are not as many as fit into the object.
    """
    upload, chunk_bytes = wanted.actions["upload"], wanted.chunk_bytes or 0
    keys = sorted(filter(_NUMBER.fullmatch, upload.headers), key=int)
    if not chunk_bytes or not len({*map(int, keys)}) == len(keys) == -(-lfs.size_bytes // chunk_bytes):
        raise broken(f"it wants the object {lfs.oid} in parts that do not make it up")
    spans = [(at, min(chunk_bytes, lfs.size_bytes - at)) for at in range(0, lfs.size_bytes, chunk_bytes)]
    links = (Action(upload.headers[key], {}, upload.expires_at, authenticated=True) for key in keys)
    headers = {"Accept": MEDIA_TYPE, "Content-Type": MEDIA_TYPE}
    last = Action(upload.href, headers, upload.expires_at, authenticated=True)  # signed, too: no login goes there
    same = _same(last, upload.headers.get("upload_id"), chunk_bytes)
    return InParts(same, tuple(map(Part, spans, links)), True, last=last)


def completion(lfs: LfsObject, taken: Mapping[Span, Taken]) -> bytes:
    """What the Hub wants to hear when all parts are there: their ETags, in the order of the parts."""
    parts = [{"partNumber": number, "etag": taken[span].etag} for number, span in enumerate(sorted(taken), 1)]
    return json.dumps({"oid": lfs.oid, "parts": parts}).encode()


def listed(lfs: LfsObject, wanted: Wanted) -> InParts:
    """The upload that the actions of `multipart-basic` stand for.

    Raises:
        LfssyncError: The parts overlap or lie outside of the object.
    """
    parts = sorted(
        (Part(_span(lfs, action), replace(action, body=None)) for action in wanted.parts), key=lambda part: part.span
    )
    if holes(lfs, (part.span for part in parts)) is None:
        raise broken(f"it wants the object {lfs.oid} in parts that do not fit into it")
    last = wanted.actions.get("commit")
    first, abort = wanted.actions.get("init"), wanted.actions.get("abort")
    return InParts(_same(last) if last else lfs.oid, tuple(parts), False, first, last, abort)


def _span(lfs: LfsObject, action: Action) -> Span:
    at = action.extras.get("pos") or 0
    size_bytes = action.extras.get("size") or lfs.size_bytes - at if type(at) is int else 0
    return (at, size_bytes) if type(at) is type(size_bytes) is int else (-1, -1)


def _same(call: Action, *more: object) -> str:
    """A name for an upload that stays when only signatures and expiry are new; a hash, for an address may be a key."""
    address = urlsplit(call.href)
    words = sorted(pair for pair in parse_qsl(address.query, keep_blank_values=True) if not _PASSING.fullmatch(pair[0]))
    text = json.dumps([call.method, address.scheme, address.netloc, address.path, words, *more])
    return hashlib.sha256(text.encode()).hexdigest()


def holes(lfs: LfsObject, spans: Iterable[Span]) -> list[Span] | None:
    """What of an object some stretches leave out; None when they overlap, are empty or are not all in it."""
    left: list[Span] = []
    done = 0
    for at, size_bytes in sorted(spans):
        if at < done or size_bytes <= 0 or at + size_bytes > lfs.size_bytes:
            return None
        if at > done:
            left.append((done, at - done))
        done = at + size_bytes
    return [*left, (done, lfs.size_bytes - done)] if done < lfs.size_bytes else left


def checksum(want_digest: str, blocks: Callable[[], Iterable[bytes]]) -> dict[str, str]:
    """The header with the checksum that a server wants of a part; none where it wants none that we know.

    Args:
        want_digest: `contentMD5`, or names of algorithms with their weights: `sha-256;q=1.0, md5;q=0.5`.
        blocks: Gives the part's bytes, asked only where they are needed.
    """
    if want_digest == "contentMD5":
        return {"Content-MD5": _hashed(hashlib.md5, blocks())}
    weighed = []
    for wish in want_digest.lower().split(","):
        name, _, weight = wish.partition(";")
        said = re.fullmatch(r"\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*", weight)
        if name.strip() in _DIGESTS:
            weighed.append((float(said[1]) if said else 1.0, name.strip()))
    wished = max(weighed, key=lambda one: one[0], default=(0.0, ""))
    if not wished[0]:
        return {}
    name, algorithm = _DIGESTS[wished[1]]
    return {"Digest": f"{name}={_hashed(algorithm, blocks())}"}


def _hashed(algorithm: Callable[..., Any], blocks: Iterable[bytes]) -> str:
    hashed = algorithm(usedforsecurity=False)
    for block in blocks:
        hashed.update(block)
    return base64.b64encode(hashed.digest()).decode()
