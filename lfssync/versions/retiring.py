"""Takes checkpoints off the tip of the branch, by a commit: what `lfssync retire` does, and `keep` by itself.

Beside the pass, which then brings the commit to the remote. Nothing is lost: the commit before has everything, and its
message says so. The one thing to know: by itself this touches only checkpoints that it has seen in this very
directory, and that are on the branch as they were here, so what others bring to the same branch is theirs, under
whatever name; and while the directory has no checkpoint at all, which may be a disk that is not mounted, it does
nothing.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from lfssync.errors import BlockedError, LfssyncError, TransientError, UserError
from lfssync.git.fastimport import Edit, FastImport
from lfssync.git.reconcile import place
from lfssync.git.repository import Repository
from lfssync.line import pipeline
from lfssync.line.delivery import Delivery
from lfssync.line.pipeline import Order
from lfssync.line.workbench import Session, Workbench, open_bench
from lfssync.model import Mirror, PassResult, human_bytes, show
from lfssync.records.lock import held
from lfssync.records.report import Report
from lfssync.records.store import Store, reading
from lfssync.results import Version
from lfssync.rules.groups import folder_of
from lfssync.rules.retention import Candidate, Decision, decide
from lfssync.rules.trainerstate import NAME
from lfssync.versions import training, trees
from lfssync.versions.contents import Contents
from lfssync.versions.happenings import happenings
from lfssync.versions.looking import contents, own
from lfssync.versions.tags import Pointing, on_remote

_FACT = "retention"
"""The store's name for which checkpoints were seen in the directory, and at which commit."""

_PICTURE_FACT = "mirrored"
"""The store's name for the picture of the directory, which the line keeps."""

_LOCK_WAIT_S = 3600.0
_LISTED = 50
_NAMED = 3
_SHORT = 7


@dataclass(frozen=True, slots=True)
class Retirement:
    """What stays at the tip and what leaves it.

    Args:
        before: The commit that has all of it, for an undo.
        decisions: The newest checkpoint first.
        commit: The commit that takes them off the tip; None when nothing was done.
    """

    before: str
    decisions: tuple[Decision, ...]
    commit: str | None = None

    @property
    def leaving(self) -> tuple[Candidate, ...]:
        """What leaves the tip."""
        return tuple(one.candidate for one in self.decisions if not one.reason)

    @property
    def size_bytes(self) -> int:
        """The size of what leaves the tip."""
        return sum(one.size_bytes for one in self.leaving)


def preview(mirror: Mirror, state_dir: Path, session: Session) -> Retirement:
    """What `retire` would do now, by what is known here of the remote's branch; nothing is changed.

    Raises:
        UserError: The mirror does not say what to keep, or has no commit yet.
    """
    _require_policy(mirror)
    repository = own(mirror, state_dir, session)
    head = repository.refs().head if repository else None
    if repository is None or head is None:
        raise UserError(f"{mirror.name} has no commit yet", f"run lfssync sync {mirror.name} first")
    with reading(state_dir / "state.db") as store:
        near = contents(mirror, state_dir, repository, store, session)
        tags = on_remote(Delivery(repository, mirror.remote)) if mirror.keep.tags else {}
        here = _here(store, mirror) if store else set()
        return Retirement(head, decide(mirror.keep, _candidates(near, mirror, head, tags, here)))


def retire(mirror: Mirror, state_dir: Path, session: Session) -> Retirement:
    """Commit what the mirror's `keep` says; the next pass brings it to the remote.

    Args:
        mirror: The mirror, synced already.
        state_dir: Its state folder.
        session: When to stop, and who knows the login.

    Raises:
        UserError: The mirror does not say what to keep, or has no commit yet.
        BlockedError: The directory is a git working copy, whose files are its user's.
    """
    _require_policy(mirror)
    with held(state_dir, _LOCK_WAIT_S, session.stop), Store(state_dir / "state.db") as store:
        bench = open_bench(mirror, state_dir, store, session)
        return _retired(bench, store, mirror, None)


def after_pass(mirror: Mirror, state_dir: Path, result: PassResult, session: Session) -> PassResult:
    """Retire what the mirror's `keep` says of what this directory had, and deliver that; never fails a pass.

    Args:
        mirror: The mirror; without a policy nothing is done.
        state_dir: Its state folder.
        result: Of the pass.
        session: When to stop, and who knows the login.

    Returns:
        The result, with the commit that the remote holds now.
    """
    if mirror.keep.last is None or result.receipt is None or session.stop.is_set():
        return result
    try:
        return _after_pass(mirror, state_dir, result, result.receipt.commit, session)
    except (LfssyncError, OSError, sqlite3.Error) as error:
        if session.stop.is_set():
            return result
        warnings = (*result.warnings, f"retention: {error}")
        with contextlib.suppress(LfssyncError, OSError, sqlite3.Error), Store(state_dir / "state.db") as store:
            Report(store, mirror).warned(warnings)
        return result._replace(warnings=warnings)


def _after_pass(mirror: Mirror, state_dir: Path, result: PassResult, head: str, session: Session) -> PassResult:
    with reading(state_dir / "state.db") as looking:
        if looking is not None and _memory(looking, mirror)[0] == [head, looking.fact(_PICTURE_FACT)]:
            return result  # neither branch nor directory is another than before
    with held(state_dir, _LOCK_WAIT_S, session.stop), Store(state_dir / "state.db") as store:
        bench = open_bench(mirror, state_dir, store, session)
        here = _here(store, mirror)
        refs = bench.refs()
        seen = _memory(store, mirror)[1]
        at_tip = _trees(bench.repository, head, mirror, seen.keys() | here)
        in_directory = _trees(bench.repository, refs.mirrored, mirror, here)
        seen |= {folder: tree for folder, tree in in_directory.items() if at_tip.get(folder) == tree}
        done = None
        if bench.copy is None and here and refs.head == head:
            ours = {folder for folder, tree in seen.items() if tree in ("", at_tip.get(folder))}
            done = _retired(bench, store, mirror, ours | here)
        gone = {one.folder for one in done.leaving} if done else set()
        folders = {os.fsdecode(folder): tree for folder, tree in sorted(seen.items()) if folder not in gone}
        with store.transaction():
            after = [done.commit if done and done.commit else head, store.fact(_PICTURE_FACT)]
            store.record_facts({_FACT: {"of": place(mirror), "after": after, "seen": folders}})
    if done is None or done.commit is None:
        return result
    delivered = pipeline.run_pass(mirror, state_dir, Order(paths=frozenset(), verify=True), session)
    warnings = tuple(dict.fromkeys((*result.warnings, *delivered.warnings)))
    return result._replace(commit=delivered.commit, receipt=delivered.receipt, warnings=warnings)


def _memory(store: Store, mirror: Mirror) -> tuple[object, dict[bytes, str]]:
    """At which commit and picture of the directory this was done last, and the tree of each folder ever seen in it.

    Releases before the trees were noted knew the names only; the tree is empty then.
    """
    found = store.fact(_FACT)
    if not isinstance(found, dict) or found.get("of") != place(mirror):
        return None, {}
    seen = found["seen"]
    names = seen if isinstance(seen, dict) else dict.fromkeys(seen, "")
    return found["after"], {os.fsencode(folder): tree for folder, tree in names.items()}


def _trees(repository: Repository, commit: str | None, mirror: Mirror, folders: Iterable[bytes]) -> dict[bytes, str]:
    """The trees of the mirror's folders in a commit, of those that are there."""
    if commit is None:
        return {}
    wanted = list(folders)
    oids = repository.oids([commit.encode() + b":" + _prefix(mirror) + folder for folder in wanted])
    return {folder: oid for folder, oid in zip(wanted, oids, strict=True) if oid}


def _require_policy(mirror: Mirror) -> None:
    if mirror.keep.last is None:
        raise UserError(
            f"{mirror.name} does not say which checkpoints stay", 'add keep = {last = 3} and delete = "keep" to it'
        )


def _retired(bench: Workbench, store: Store, mirror: Mirror, only: set[bytes] | None) -> Retirement:
    """Commit the retirement of what leaves; of these folders only, or of all."""
    if bench.copy is not None:
        raise BlockedError(f"{mirror.path} is a git working copy", "take checkpoints off its branch with: git rm")
    repository, refs = bench.repository, bench.refs()
    if refs.head is None:
        raise UserError(f"{mirror.name} has no commit yet", f"run lfssync sync {mirror.name} first")
    near = Contents(repository, mirror.path, store, bench.securing.copies, lambda: bench.securing.transfer)
    tags = on_remote(bench.delivery) if mirror.keep.tags else {}
    decisions = decide(mirror.keep, _candidates(near, mirror, refs.head, tags, _here(store, mirror)))
    if only is not None:
        decisions = tuple(
            one if one.reason or one.candidate.folder in only else replace(one, reason="not of this directory")
            for one in decisions
        )
    done = Retirement(refs.head, decisions)
    if not done.leaving:
        return done
    leaving = {one.folder for one in done.leaving}
    prefix = _prefix(mirror)
    edits = [
        Edit(path) for path, _, _ in repository.entries(refs.head)
        if path.startswith(prefix) and folder_of(path.removeprefix(prefix), mirror.groups) in leaving
    ]  # fmt: skip
    text = message(mirror, done)
    with FastImport(repository.git) as stream:
        after = repository.commit(refs, edits, [], bench.who(), (text, place(mirror)), stream)
    with store.transaction():
        store.record_facts({_PICTURE_FACT: after.mirrored})
    assert after.head is not None
    Report(store, mirror).committed(after.head, text)
    return replace(done, commit=after.head)


def _candidates(
    near: Contents, mirror: Mirror, head: str, tags: Mapping[str, Pointing], here: Collection[bytes]
) -> list[Candidate]:
    """All checkpoints at the tip."""
    prefix = _prefix(mirror)
    files: dict[bytes, dict[bytes, Version]] = {}
    for path, version in trees.files(near.repository, head).items():
        folder = folder_of(path.removeprefix(prefix), mirror.groups) if path.startswith(prefix) else None
        if folder is not None:
            files.setdefault(folder, {})[path.removeprefix(prefix)] = version
    return [
        Candidate(
            folder, len(versions), sum(one.size_bytes for one in versions.values()),
            folder in here or _holds_files(os.path.join(os.fsencode(mirror.path), folder)),
            _metrics(near, versions.get(folder + b"/" + NAME)) if mirror.keep.best else {},
            names,
        )
        for folder, versions, names in _with_tags(near, mirror, head, tags, files)
    ]  # fmt: skip


def _with_tags(
    near: Contents, mirror: Mirror, head: str, tags: Mapping[str, Pointing], files: Mapping[bytes, dict[bytes, Version]]
) -> Iterator[tuple[bytes, dict[bytes, Version], tuple[str, ...]]]:
    """Each folder with its files, and with the tags on the commit that brought it."""
    brought: dict[bytes, str] = {}
    if mirror.keep.tags:
        for one in happenings(replace(near, remote=_nowhere), mirror, head, None):
            brought |= {os.fsencode(checkpoint.folder): one.commit for checkpoint in one.checkpoints}
    for folder, versions in files.items():
        commit = brought.get(folder)
        yield folder, versions, tuple(sorted(name for name, tag in tags.items() if tag.commit == commit))


def _nowhere() -> NoReturn:
    raise LfssyncError("metrics are not asked for here")


def _metrics(near: Contents, state: Version | None) -> Mapping[str, float]:
    """What was measured; of a trainer state that is not to be had just now nothing is known, so nothing may leave.

    Raises:
        TransientError: It is not to be had just now.
    """
    try:
        return training.read(near, state).metrics if state else {}
    except TransientError:
        raise
    except LfssyncError:
        return {}


def _holds_files(folder: bytes) -> bool:
    """Whether there is anything in a folder of the disk; an empty one is what rotation left."""
    return any(files for _, _, files in os.walk(folder))


def _here(store: Store, mirror: Mirror) -> set[bytes]:
    """The checkpoint folders of the directory, as far as they were read."""
    found = (folder_of(folder + b"/", mirror.groups) for folder in store.directories(b"") if folder)
    return {folder for folder in found if folder is not None}


def _prefix(mirror: Mirror) -> bytes:
    return os.fsencode(mirror.into) + b"/" if mirror.into else b""


def message(mirror: Mirror, done: Retirement) -> str:
    """The commit's message: what leaves, and how to have it back."""
    leaving = done.leaving
    names = ", ".join(show(one.folder) for one in leaving[:_NAMED]) + (", …" if len(leaving) > _NAMED else "")
    lines = [f"- {show(one.folder)} ({one.files} files, {human_bytes(one.size_bytes)})" for one in leaving[:_LISTED]]
    more = [f"… and {len(leaving) - _LISTED} more"] if len(leaving) > _LISTED else []
    count = f"{len(leaving)} checkpoint{'s'[: len(leaving) != 1]}"
    back = f"They are in the history: lfssync restore {mirror.name} DEST --revision {done.before[:_SHORT]}"
    return "\n".join([f"Retire {count} ({human_bytes(done.size_bytes)}): {names}", "", *lines, *more, "", back]) + "\n"
