"""The documents of `--json` about versions.

Beside `documents`, under the same promise: a key may be added, and none may change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lfssync import __version__
from lfssync.answers import LogEntry
from lfssync.commandline.documents import Document, exact, exact_path, iso_time
from lfssync.results import Difference, Tensor, TensorChange, Version

if TYPE_CHECKING:
    from lfssync.results import Revision
    from lfssync.versions.retiring import Retirement
    from lfssync.versions.tags import Listing


def log_document(name: str, entries: Sequence[LogEntry]) -> Document:
    """The answer of `log --json`."""
    return {
        "version": __version__,
        "name": name,
        "entries": [
            {
                "at": iso_time(entry.at),
                "kind": entry.kind.value,
                "commit": entry.commit,
                "text": exact(entry.text),
                "tags": list(entry.tags),
            }
            for entry in entries
        ],
    }


def tags_document(name: str, listing: Listing) -> Document:
    """The answer of `tags --json`."""
    return {
        "version": __version__,
        "name": name,
        "total": listing.total,
        "tags": [
            {
                "tag": exact(tag.name),
                "commit": tag.revision.commit,
                "at": iso_time(tag.at),
                "files": len(tag.revision.files),
                "bytes": tag.revision.size_bytes,
                "step": tag.revision.step,
                "metrics": dict(tag.revision.metrics),
                "message": exact(tag.message),
            }
            for tag in listing.tags
        ],
    }


def show_document(name: str, revision: Revision) -> Document:
    """The answer of `show --json`."""
    return {
        "version": __version__,
        "name": name,
        "commit": revision.commit,
        "at": iso_time(revision.at),
        "author": exact(revision.author),
        "message": exact(revision.message),
        "tags": [exact(tag) for tag in revision.tags],
        "step": revision.step,
        "metrics": dict(revision.metrics),
        "bytes": revision.size_bytes,
        "files": [{"path": exact_path(path), **_file(version)} for path, version in revision.files],
    }


def diff_document(name: str, differences: Sequence[Difference]) -> Document:
    """The answer of `diff --json`."""
    return {
        "version": __version__,
        "name": name,
        "differences": [
            {
                "path": exact_path(one.path),
                "old": _file(one.old) if one.old else None,
                "new": _file(one.new) if one.new else None,
                "tensors": None if one.tensors is None else [_tensor_change(change) for change in one.tensors],
                "unseen": exact(one.unseen) or None,
            }
            for one in differences
        ],
    }


def retire_document(name: str, done: Retirement) -> Document:
    """The answer of `retire --json`; `commit` is null when nothing was done."""
    return {
        "version": __version__,
        "name": name,
        "commit": done.commit,
        "before": done.before,
        "bytes": done.size_bytes,
        "checkpoints": [
            {
                "path": exact_path(one.candidate.folder),
                "files": one.candidate.files,
                "bytes": one.candidate.size_bytes,
                "stays": bool(one.reason),
                "reason": exact(one.reason) or None,
            }
            for one in done.decisions
        ],
    }


def _file(version: Version) -> Document:
    return {
        "mode": version.git_mode,
        "bytes": version.size_bytes,
        "blob": version.blob_oid,
        "lfs_oid": version.lfs_oid,
    }


def _tensor_change(change: TensorChange) -> Document:
    def side(tensor: Tensor | None) -> Document | None:
        return None if tensor is None else {"dtype": exact(tensor.dtype), "shape": list(tensor.shape)}

    return {"name": exact(change.name), "old": side(change.old), "new": side(change.new)}
