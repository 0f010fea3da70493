"""Writes a revision of a mirror into an empty folder: what `lfssync restore` does.

The opposite way of the line: tag, branch or commit -> tree -> files, every LFS file hashed. It asks the remote, not
this machine, so it gives what others would get. The one thing to know: everything is written beside the destination
first and then renamed, so the destination is whole or not there; links are made last, so nothing is ever written
through one.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from lfssync.errors import BlockedError, LfssyncError, UserError
from lfssync.git.gitcommand import Git
from lfssync.git.repository import Repository
from lfssync.line.classification import lfs_files
from lfssync.line.transfers import transfer_for
from lfssync.line.workbench import Session
from lfssync.model import Mirror, Monitor, Plan, State, show
from lfssync.rules.ignore import is_git_name
from lfssync.transfer.copying import workroom
from lfssync.versions.looking import fetched, resolve

_BATCH = 200
_BATCH_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What was written: the commit, how many files, and their sizes together in bytes."""

    commit: str
    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Entry:
    path: bytes
    mode: str
    oid: str
    size_bytes: int


def restore(
    mirror: Mirror, state_dir: Path, destination: Path, revision: str | None, session: Session
) -> RestoreResult:
    """Write a revision into a folder.

    Args:
        mirror: Whose; with `into`, only that sub-folder of the repository.
        state_dir: Its state folder, whose objects are not fetched again.
        destination: Absent, or an empty folder.
        revision: A tag, a branch or a commit; None for the mirror's branch.
        session: Who watches, when to stop, and who knows the login for the remote.

    Raises:
        UserError: The destination is not empty, or the revision is unknown.
        LfssyncError: The remote does not hold what the revision names, or holds it damaged.
    """
    with contextlib.ExitStack() as rooms:
        try:
            _require_empty(destination)
            parent = destination.absolute().parent
            parent.mkdir(parents=True, exist_ok=True)
            folder = rooms.enter_context(workroom(parent, ".lfssync-"))
        except OSError as error:
            raise UserError(
                f"{error.filename}: {(error.strerror or '').lower()}", "choose a folder you may write"
            ) from error
        try:
            repository = fetched(mirror, state_dir, Git(folder / "git", stop=session.stop, login=session.login))
            commit = resolve(repository, revision or mirror.branch)
            written = _write(repository, mirror, commit, folder / "files", session.progress)
            if destination.exists():
                destination.rmdir()
            os.rename(folder / "files", destination)
        except OSError as error:
            raise LfssyncError(
                f"{error.filename or destination}: {(error.strerror or str(error)).lower()}",
                "free disk space or choose another folder",
            ) from error
    return RestoreResult(commit, *written)


def _require_empty(destination: Path) -> None:
    if os.path.lexists(destination) and (not destination.is_dir() or os.listdir(destination)):
        raise UserError(f"{destination} is not an empty folder", "choose a new or an empty one")


def _write(repository: Repository, mirror: Mirror, commit: str, root: Path, monitor: Monitor) -> tuple[int, int]:
    """Write all files of a commit; returns how many, and their bytes."""
    prefix = os.fsencode(mirror.into) + b"/" if mirror.into else b""
    wanted = [entry for entry in _entries(repository, commit) if entry.path.startswith(prefix)]
    if not wanted:
        raise UserError(
            f"{commit[:7]} holds no files of {mirror.name}", "choose another revision: lfssync log shows them"
        )
    _require_honest(wanted)
    root.mkdir()
    places = {entry: root / os.fsdecode(entry.path.removeprefix(prefix)) for entry in wanted}
    for folder in {place.parent for place in places.values()}:
        folder.mkdir(parents=True, exist_ok=True)
    lfs_of = lfs_files(repository, commit)
    plain = [entry for entry in wanted if entry.path not in lfs_of]
    objects = [(entry, lfs_of[entry.path]) for entry in wanted if entry.path in lfs_of]
    links = []
    for batch in _batches(plain):
        blobs = repository.contents([entry.oid.encode() for entry in batch])
        for entry, blob in zip(batch, blobs, strict=True):
            if blob is None:
                raise LfssyncError(
                    f"the remote does not hold {show(entry.path)}", "sync the mirror that still has the file"
                )
            if entry.mode == "120000":
                links.append((entry, blob))
            else:
                places[entry].write_bytes(blob)
                _set_mode(places[entry], entry)
    monitor(Plan(State.STAGING, len(objects), sum(lfs.size_bytes for _, lfs in objects)))
    transfer = transfer_for(mirror, repository.git)
    for entry, lfs in objects:
        transfer.download(lfs, places[entry], monitor)
        _set_mode(places[entry], entry)
    for entry, target in links:
        os.symlink(target, os.fsencode(places[entry]))
    size_bytes = sum(entry.size_bytes for entry in plain if entry.mode != "120000")
    return len(wanted), size_bytes + sum(lfs.size_bytes for _, lfs in objects)


def _entries(repository: Repository, commit: str) -> list[_Entry]:
    found = []
    for line in repository.git.run("ls-tree", "-r", "-l", "-z", "--full-tree", commit).stdout.split(b"\0"):
        if line:
            words, _, path = line.partition(b"\t")
            mode, kind, oid, size = words.decode().split()
            if kind == "blob":
                found.append(_Entry(path, mode, oid, int(size)))
    return found


def _batches(entries: list[_Entry]) -> list[list[_Entry]]:
    """Cut into parts whose contents fit into memory together."""
    batches: list[list[_Entry]] = [[]]
    room = _BATCH_BYTES
    for entry in entries:
        if batches[-1] and (len(batches[-1]) >= _BATCH or entry.size_bytes > room):
            batches.append([])
            room = _BATCH_BYTES
        batches[-1].append(entry)
        room -= entry.size_bytes
    return batches


def _require_honest(entries: list[_Entry]) -> None:
    """Make sure that every file of a tree has one place of its own within the folder.

    Raises:
        BlockedError: A path would leave the folder, is one that git itself refuses, or leads through another file:
            through a link, that is anywhere.
    """
    files: set[bytes] = set()
    folders: set[bytes] = set()
    for entry in entries:
        parts = entry.path.split(b"/")
        above = {b"/".join(parts[:count]) for count in range(1, len(parts))}
        if (
            any(part in (b"", b".", b"..") or is_git_name(part) for part in parts)
            or entry.path in files
            or entry.path in folders
            or above & files
        ):
            raise BlockedError(
                f"the revision holds the path {show(entry.path)}, which no honest one does", "do not trust that remote"
            )
        files.add(entry.path)
        folders |= above


def _set_mode(place: Path, entry: _Entry) -> None:
    if entry.mode == "100755":
        mode = place.stat().st_mode
        place.chmod(mode | (mode & 0o444) >> 2)
