"""What came into a branch, commit by commit, as the release rules look at it: checkpoints, and what was measured.

Read from git for `applying`. The one thing to know: a checkpoint counts where its folder came into being or where its
trainer's state was written anew, and not where files of it are deleted or change otherwise; so whoever rotates
checkpoints away releases nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from lfssync.errors import LfssyncError, TransientError
from lfssync.git.repository import Repository
from lfssync.model import Mirror
from lfssync.results import Version
from lfssync.rules.groups import Key, Kind, folder_of
from lfssync.rules.releaserules import Checkpoint, Happening
from lfssync.rules.trainerstate import NAME, Training
from lfssync.versions import training, trees
from lfssync.versions.contents import Contents

LIMIT = 5000
"""No more commits than this are looked at, the youngest of them."""


@dataclass(frozen=True, slots=True)
class _Brought:
    """What a commit did in a checkpoint folder."""

    folder: bytes
    only_adds: bool
    state: tuple[str, str] | None  # git mode and blob of its trainer's state, when that is new


def happenings(near: Contents, mirror: Mirror, head: str, since: str | None) -> list[Happening]:
    """What came into a branch, oldest first; merges bring nothing of their own.

    Args:
        near: Where the bytes of trainer states are.
        mirror: Which folders are checkpoints, and where in the repository they are.
        head: The newest commit.
        since: A commit whose history is left out, or None for all.
    """
    repository = near.repository
    rows = list(_rows(repository, mirror, head, since))
    asked = [f"{commit}^1:".encode() + _place(mirror, one.folder) for commit, _, brought in rows for one in brought]
    was_there = iter(repository.kinds(asked))
    found: list[tuple[str, float, list[_Brought]]] = []
    for commit, at, brought in rows:
        kept = [one for one in brought if _counts(one, next(was_there))]
        found.append((commit, at, sorted(kept, key=lambda one: Key(one.folder, Kind.FOLDER).step)))
    last = {one.folder: commit for commit, _, brought in found for one in brought}
    kinds = repository.kinds([head.encode() + b":" + _place(mirror, folder) for folder in last])
    staying = {folder for folder, kind in zip(last, kinds, strict=True) if kind == b"tree"}
    versions = iter(trees.versions(repository, [one.state for _, _, all_ in found for one in all_ if one.state]))
    return [
        Happening(commit, at, tuple(
            replace(
                _checkpoint(near, one, versions), stays=one.folder in staying and last[one.folder] == commit
            ) for one in brought
        ))
        for commit, at, brought in found
    ]  # fmt: skip


def _counts(brought: _Brought, was_there: bytes) -> bool:
    return brought.state is not None or (brought.only_adds and was_there != b"tree")


def _place(mirror: Mirror, path: bytes) -> bytes:
    return (os.fsencode(mirror.into) + b"/" if mirror.into else b"") + path


def _checkpoint(near: Contents, brought: _Brought, versions: Iterable[Version]) -> Checkpoint:
    name = brought.folder.decode("utf-8", "surrogateescape")
    told = _told(near, next(iter(versions))) if brought.state else Training()
    has_no_number, number, _ = Key(brought.folder, Kind.FOLDER).step
    step = told.step if told.step is not None else None if has_no_number else number
    return Checkpoint(name, step, told.epoch, told.metrics)


def _told(near: Contents, version: Version) -> Training:
    """What a trainer said; what nobody has any more tells nothing, what cannot be had just now is asked for again."""
    try:
        return training.read(near, version)
    except TransientError:
        raise
    except LfssyncError:
        return Training()


def _rows(
    repository: Repository, mirror: Mirror, head: str, since: str | None
) -> Iterator[tuple[str, float, list[_Brought]]]:
    """Commits, oldest first, each with when it was made and what it did in checkpoint folders."""
    stdout = repository.git.run(
        "-c", "log.showRoot=true", "log", "--reverse", "--topo-order", "--no-merges", f"--max-count={LIMIT}",
        "--raw", "-z", "--no-renames", "--no-abbrev", "--format=%x00%H %ct", head, *([f"^{since}"] if since else []),
    ).stdout  # fmt: skip
    prefix = _place(mirror, b"")
    commit, at, changes = "", 0.0, list[tuple[bytes, list[str]]]()
    fields = iter(stdout.split(b"\0"))
    for field in fields:
        words = field.strip(b"\n")
        if words.startswith(b":"):
            path = next(fields)
            if path.startswith(prefix):
                changes.append((path.removeprefix(prefix), words.decode().split()))
        elif words:
            if commit:
                yield commit, at, _brought(changes, mirror.groups)
            oid, when = words.decode().split()
            commit, at, changes = oid, float(when), []
    if commit:
        yield commit, at, _brought(changes, mirror.groups)


def _brought(changes: Sequence[tuple[bytes, list[str]]], patterns: tuple[str, ...]) -> list[_Brought]:
    folders: dict[bytes, _Brought] = {}
    for path, (_, mode, _, oid, status) in changes:
        folder = folder_of(path, patterns)
        if folder is None:
            continue
        one = folders.get(folder, _Brought(folder, True, None))
        is_state = status != "D" and path == folder + b"/" + NAME
        folders[folder] = _Brought(folder, one.only_adds and status == "A", (mode, oid) if is_state else one.state)
    return list(folders.values())
