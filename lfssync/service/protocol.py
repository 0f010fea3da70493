"""The words that pass between command line and daemon: requests, answers, progress and errors as JSON documents.

Used by `control`, which carries them, and by both of its ends. Pure, and every document has its inverse here.
The one thing to know: a path is bytes and may be no text at all, so it travels with Python's surrogates and JSON's
escapes, and comes out as the same bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lfssync.answers import Headway
from lfssync.errors import AuthError, BlockedError, LfssyncError, NotDoneError, TransientError, UserError
from lfssync.model import Deferred, PassResult, Plan, Progress, Receipt, State

if TYPE_CHECKING:
    from lfssync.results import Release

PROTOCOL = 1
"""Goes up whenever one side would misunderstand the other; both must have the same."""

Document = dict[str, Any]

_ERRORS = {kind.kind: kind for kind in (LfssyncError, UserError, AuthError, TransientError, BlockedError, NotDoneError)}


def line(document: Mapping[str, object]) -> bytes:
    """A document as the line that travels."""
    return json.dumps(document).encode() + b"\n"


def error_document(error: LfssyncError) -> Document:
    """An error as it travels over the socket."""
    return {"kind": error.kind, "message": error.message, "remedy": error.remedy}


def error_of(document: Mapping[str, str]) -> LfssyncError:
    """The inverse of `error_document`; a kind of another version is a plain failure."""
    return _ERRORS.get(document["kind"], LfssyncError)(document["message"], document["remedy"])


def event_document(event: Plan | Progress) -> Document:
    """Progress as it travels over the socket."""
    if isinstance(event, Plan):
        return {"state": event.state.value, "files": event.files, "size": event.size_bytes}
    return {
        "state": event.state.value,
        "path": os.fsdecode(event.path),
        "done": event.done_bytes,
        "size": event.size_bytes,
    }


def event_of(document: Document) -> Plan | Progress:
    """The inverse of `event_document`."""
    state = State(document["state"])
    if "path" in document:
        return Progress(state, os.fsencode(document["path"]), document["done"], document["size"])
    return Plan(state, document["files"], document["size"])


def pass_document(result: PassResult) -> Document:
    """A pass result as it travels over the socket."""
    deferred = [one._asdict() | {"path": os.fsdecode(one.path)} for one in result.deferred]
    receipt = result.receipt._asdict() if result.receipt else None
    return result._asdict() | {"receipt": receipt, "deferred": deferred}


def pass_result(document: Document) -> PassResult:
    """The inverse of `pass_document`."""
    receipt = document["receipt"]
    fields = document | {
        "receipt": Receipt(**receipt) if receipt else None,
        "deferred": tuple(Deferred(**one | {"path": os.fsencode(one["path"])}) for one in document["deferred"]),
        "warnings": tuple(document["warnings"]),
    }
    return PassResult(**fields)


def release_document(release: Release) -> Document:
    """A release as it travels over the socket."""
    return {"version": release.version, "commit": release.commit, "receipt": release.receipt._asdict()}


def release_of(document: Document) -> Release:
    """The inverse of `release_document`."""
    from lfssync.results import Release

    return Release(document["version"], document["commit"], Receipt(**document["receipt"]))


def headway_document(headway: Headway) -> Document:
    """How far a pass is, as it travels over the socket."""
    return headway._asdict() | {"state": headway.state.value}


def headway_of(document: Document) -> Headway:
    """The inverse of `headway_document`."""
    return Headway(**document | {"state": State(document["state"])})
