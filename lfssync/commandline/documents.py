r"""The documents of `--json`, key by key as the contract has them.

It stands outside the line and reads only its values: every function here is pure. The one thing to know: these keys are
a promise that scripts rely on, so one may be added and none may change; and names keep their own characters here (JSON
escapes what is dangerous to look at), only bytes that are no text become `\x..`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lfssync import __version__
from lfssync.answers import Headway, MirrorStatus
from lfssync.model import Deferred, PassResult

if TYPE_CHECKING:
    from lfssync.answers import DaemonInfo
    from lfssync.errors import LfssyncError
    from lfssync.line.findings import Finding
    from lfssync.model import Mirror
    from lfssync.results import Scrubbed

Document = dict[str, Any]
"""What `--json` prints: dicts, lists, strings, numbers and None."""


def iso_time(seconds: float | None) -> str | None:
    """Seconds since the epoch as `2026-11-23T10:05:12Z`; None stays None."""
    return None if seconds is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def moment(recorded: object) -> str:
    """A recorded time for a document, whether it is seconds since the epoch or the text of a document already."""
    return str(iso_time(recorded)) if isinstance(recorded, int | float) else exact(str(recorded))


def exact(text: str) -> str:
    r"""Text for a document: unchanged if it is text at all; bytes that are none become `\x..`."""
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a pair, which stands for no byte of a name
        raw = text.encode("utf-8", "backslashreplace")
    return raw.decode("utf-8", "backslashreplace")


def exact_path(path: bytes) -> str:
    r"""A path for a document: its own text; bytes that are no text become `\x..`."""
    return path.decode("utf-8", "backslashreplace")


def status_document(statuses: Sequence[MirrorStatus], daemon: DaemonInfo) -> Document:
    """The answer of `status --json`, key by key as the contract has it."""
    return {
        "version": __version__,
        "daemon": {
            "running": daemon.running,
            "pid": daemon.pid,
            "since": iso_time(daemon.since),
            "complaints": [exact(words) for words in daemon.complaints],
        },
        "mirrors": [_status_document(status) for status in statuses],
    }


def _status_document(status: MirrorStatus) -> Document:
    return {
        "name": status.name,
        "path": exact(status.path),
        "remote": exact(status.remote),
        "branch": status.branch,
        "state": status.state.value,
        "pending": {"files": status.pending_files, "bytes": status.pending_bytes},
        "deferred": _deferred_document(status.deferred),
        "head": status.head,
        "pushed": status.pushed,
        "verified_at": iso_time(status.verified_at),
        "error": None if status.error is None else _error_document(status.error),
        "tags": list(status.tags),
        "scrubbed_at": iso_time(status.scrubbed_at),
        "progress": None if status.progress is None else _progress_document(status.progress),
        "waits": None if status.waits is None else _waits_document(status.waits),
        "looked": status.looked,
        "paused": None if status.paused is None else {key: iso_time(at) for key, at in status.paused.items()},
    }


def _waits_document(waits: Mapping[str, Any]) -> Document:
    until = waits.get("until")
    return {"why": exact(str(waits["why"])), "until": None if until is None else moment(until)}


def _progress_document(headway: Headway) -> Document:
    left_s = headway.left_s
    return {
        "files": {"done": headway.files, "total": headway.files_total},
        "bytes": {"done": headway.done_bytes, "total": headway.size_bytes},
        "bytes_per_second": None if headway.rate is None else round(headway.rate),
        "seconds_left": None if left_s is None else round(left_s),
    }


def _error_document(error: Mapping[str, object]) -> Document:
    return {key: moment(value) if key == "since" else exact(str(value)) for key, value in error.items()}


def _deferred_document(deferred: Sequence[Deferred]) -> list[Document]:
    return [{"path": exact_path(one.path), "reason": exact(one.reason)} for one in deferred]


def list_document(mirrors: Sequence[Mirror]) -> Document:
    """The answer of `list --json`."""
    return {
        "version": __version__,
        "mirrors": [
            {
                "name": mirror.name,
                "path": exact(str(mirror.path)),
                "remote": exact(mirror.remote),
                "branch": mirror.branch,
                "into": exact(mirror.into),
                "embedded": mirror.embedded,
            }
            for mirror in mirrors
        ],
    }


def pass_document(name: str, result: PassResult) -> Document:
    """One mirror in the answer of `sync --json`, when its pass went through."""
    return {
        "name": name,
        "commit": result.commit,
        "verified_at": iso_time(result.receipt.verified_at) if result.receipt else None,
        "files": {"added": result.added, "changed": result.changed, "removed": result.removed},
        "bytes": result.content_bytes,
        "sent_bytes": result.sent_bytes,
        "deferred": _deferred_document(result.deferred),
        "warnings": [exact(warning) for warning in result.warnings],
        "error": None,
    }


def failure_document(name: str, error: LfssyncError) -> Document:
    """One mirror in the answer of `sync --json`, when its pass failed; the keys of `pass_document`."""
    empty = pass_document(name, PassResult(commit=None, receipt=None))
    return {**empty, "error": {"kind": error.kind, "message": exact(error.message), "remedy": exact(error.remedy)}}


def sync_document(mirrors: Sequence[Document]) -> Document:
    """The answer of `sync --json` and of `scrub --json`."""
    return {"version": __version__, "mirrors": list(mirrors)}


def doctor_document(found: Sequence[Finding]) -> Document:
    """The answer of `doctor --json`."""
    return {
        "version": __version__,
        "ok": all(finding.ok for finding in found),
        "findings": [
            {
                "mirror": finding.mirror or None,
                "check": finding.check,
                "ok": finding.ok,
                "message": exact(finding.message),
                "remedy": exact(finding.remedy) or None,
            }
            for finding in found
        ],
    }


def scrub_document(name: str, scrubbed: Scrubbed) -> Document:
    """One mirror in the answer of `scrub --json`, when its remote could be asked."""
    return {
        "name": name,
        "objects": scrubbed.objects,
        "sampled": scrubbed.sampled,
        "missing": [lfs.oid for lfs in scrubbed.missing],
        "damaged": [lfs.oid for lfs in scrubbed.damaged],
        "mended": [lfs.oid for lfs in scrubbed.mended],
        "lost": [
            {"oid": one.oid, "bytes": one.size_bytes, "path": one.path, "remedy": one.remedy} for one in scrubbed.lost
        ],
        "scrubbed_at": iso_time(scrubbed.since),
        "error": None,
    }


def unscrubbed_document(name: str, error: LfssyncError) -> Document:
    """One mirror in the answer of `scrub --json`, when its remote could not be asked; the keys of `scrub_document`."""
    from lfssync.results import Scrubbed

    empty = scrub_document(name, Scrubbed(0, 0, 0, (), (), (), (), None))
    return {**empty, "error": {"kind": error.kind, "message": exact(error.message), "remedy": exact(error.remedy)}}
