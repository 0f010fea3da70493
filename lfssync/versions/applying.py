"""Has the release rules act: after a verified pass, whoever ran it, the tags and branches that they want are made.

Called by `firstpass`; the line knows nothing of it. The one thing to know: nothing here fails a pass. What cannot be is
said, in the result's warnings, in `status` and once in the log; what only cannot be now is wanted again at the next
pass, because what the rules remember is recorded when all is done, and not before.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NoReturn

from lfssync.errors import AuthError, LfssyncError, StoppedError, TransientError
from lfssync.line.workbench import Session, Workbench, open_bench
from lfssync.model import Mirror, PassResult
from lfssync.records.lock import held
from lfssync.records.report import Report
from lfssync.records.store import Store, reading
from lfssync.rules.attributes import parse_pointer
from lfssync.rules.releaserules import Happening, Kind, Moment, State, Verdict, Wanted, evaluate, sleep, taken
from lfssync.versions.branches import move
from lfssync.versions.contents import Contents
from lfssync.versions.happenings import happenings
from lfssync.versions.releases import record, tagged
from lfssync.versions.tags import Pointing, on_remote
from lfssync.wishes import When

_FACT = "releases"
"""The store's name for what the rules remember."""

_MARKER_MAX_BYTES = 4096
_LINK = "120000"
_IS_LINK = "it is a symbolic link; make it a file"
_IN_LFS = "it is stored in LFS; keep it out of that, such as with -filter in .gitattributes"
_LOCK_WAIT_S = 60.0
_SHOWN = 5


def apply(mirror: Mirror, state_dir: Path, result: PassResult, session: Session) -> PassResult:
    """Have the rules act on what a pass brought to the remote.

    Args:
        mirror: The mirror; without rules nothing is done.
        state_dir: Its state folder.
        result: Of the pass.
        session: When to stop, and who knows the login.

    Returns:
        The result, with what cannot be among its warnings.
    """
    if not mirror.tag or result.receipt is None or session.stop.is_set():
        return result
    try:
        problems = _applied(mirror, state_dir, result, session)
    except StoppedError:
        return result
    except (LfssyncError, OSError, sqlite3.Error) as error:
        remedy = f"; {error.remedy}" if isinstance(error, LfssyncError) and error.remedy else ""
        message = error.message if isinstance(error, LfssyncError) else str(error)
        problems = [f"release rules: {message}{remedy}"]
    if not problems:
        return result
    warnings = (*result.warnings, *problems[:_SHOWN])
    with contextlib.suppress(LfssyncError, OSError, sqlite3.Error), Store(state_dir / "state.db") as store:
        Report(store, mirror).warned(warnings)
    return result._replace(warnings=warnings)


def _applied(mirror: Mirror, state_dir: Path, result: PassResult, session: Session) -> list[str]:
    """Do what is wanted; gives what there is to say."""
    assert result.receipt is not None
    head, now = result.receipt.commit, time.time()
    with reading(state_dir / "state.db") as looking:
        memory = _Memory.of(looking, mirror)
    if memory.commit == head and sleep(mirror.tag, memory.states, now):
        return memory.problems
    with held(state_dir, _LOCK_WAIT_S, session.stop), Store(state_dir / "state.db") as store:
        bench = open_bench(mirror, state_dir, store, session)
        memory, report = _Memory.of(store, mirror), Report(store, mirror)
        markers, unfit = _markers(bench, mirror, head)
        moment = Moment(mirror.name, head, now, markers, not result.deferred, unfit)
        verdict = _verdict(bench, store, mirror, memory, moment)
        problems = list(verdict.problems)
        tags = on_remote(bench.delivery) if verdict.wanted else {}
        for one in verdict.wanted:
            if session.stop.is_set():
                raise StoppedError("all releases were made")
            problems += _made(bench, store, report, mirror, one, tags)
        for text in problems:
            if text not in memory.problems:
                report.refused_release(head, text)
        if memory.commit == head:
            problems = list(dict.fromkeys([*memory.problems, *problems]))
        with store.transaction():
            store.record_facts({_FACT: _Memory(head, verdict.states, problems[:_SHOWN]).document(mirror)})
        return [*problems[:_SHOWN], *verdict.waiting]


@dataclass(frozen=True, slots=True)
class _Memory:
    """What is known from the time before: up to which commit the rules have acted, and what they remember.

    Args:
        commit: None where nothing is known.
        states: See `releaserules`.
        problems: What could not be; it is shown until something new comes.
    """

    commit: str | None = None
    states: Mapping[str, State] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, store: Store | None, mirror: Mirror) -> _Memory:
        """What is recorded about the branch that is mirrored now."""
        found = store.fact(_FACT) if store else None
        if not isinstance(found, dict) or found.get("of") != _place(mirror):
            return cls()
        return cls(found["commit"], found["states"], found["problems"])

    def document(self, mirror: Mirror) -> dict[str, object]:
        """What to record."""
        return {"of": _place(mirror), "commit": self.commit, "states": self.states, "problems": self.problems}


def _place(mirror: Mirror) -> list[str]:
    return [mirror.remote, mirror.branch, mirror.into]


def _verdict(bench: Workbench, store: Store, mirror: Mirror, memory: _Memory, moment: Moment) -> Verdict:
    repository, since = bench.repository, memory.commit
    if since is not None and not repository.is_ancestor(since, moment.head):  # somebody gave the branch another past
        memory, since = _Memory(), None
    here = partial(Contents, repository, mirror.path, store, bench.securing.copies)
    fresh = happenings(here(lambda: bench.securing.transfer), mirror, moment.head, since) if since else []

    def history() -> list[Happening]:
        return happenings(here(_nowhere), mirror, moment.head, None)

    return evaluate(mirror.tag, memory.states, fresh, functools.cache(history), moment)


def _nowhere() -> NoReturn:
    """In place of the remote: nobody waits for the trainer states of months ago."""
    raise LfssyncError("it is not on this machine any more")


def _markers(bench: Workbench, mirror: Mirror, head: str) -> tuple[dict[str, str], dict[str, str]]:
    """What the marker files in a commit say, and why some of them can be none."""
    files = list(dict.fromkeys(rule.file for rule in mirror.tag if rule.when is When.MARKER))
    found = zip(files, bench.repository.contents([_name(mirror, head, file) for file in files]), strict=True)
    there = {file: content for file, content in found if content is not None}
    modes = bench.repository.modes(head, [_path(mirror, file) for file in there])
    unfit = {file: _IN_LFS for file, content in there.items() if parse_pointer(content) is not None}
    unfit |= {file: _IS_LINK for file in there if modes.get(_path(mirror, file)) == _LINK}
    texts = {file: content[:_MARKER_MAX_BYTES].decode("utf-8", "replace") for file, content in there.items()}
    return texts, unfit


def _path(mirror: Mirror, file: str) -> bytes:
    return os.fsencode(f"{mirror.into}{'/' if mirror.into else ''}{file}")


def _name(mirror: Mirror, commit: str, file: str) -> bytes:
    return f"{commit}:".encode() + _path(mirror, file)


def _made(
    bench: Workbench, store: Store, report: Report, mirror: Mirror, wanted: Wanted, tags: Mapping[str, Pointing]
) -> list[str]:
    """Have one tag or branch be there; gives why it cannot be, if so.

    Raises:
        LfssyncError: It cannot be just now.
    """
    try:
        if wanted.kind is Kind.BRANCH:
            move(bench, wanted.name, wanted.commit)
            return []
        there = tags.get(wanted.name)
        if there is not None and there.commit != wanted.commit:
            return [] if _is_done(bench, mirror, wanted, there.commit) else [taken(wanted, there.commit)]
        known = store.receipt(f"refs/tags/{wanted.name}")
        if there is None or known is None or known.commit != wanted.commit:
            record(store, report, tagged(bench, store, mirror, wanted.name, wanted.text or None, wanted.commit))
    except (TransientError, AuthError):
        raise
    except LfssyncError as error:
        there = on_remote(bench.delivery).get(wanted.name) if wanted.kind is Kind.TAG else None
        if there is None or there.commit == wanted.commit:
            return [f"{wanted.name}: {error.message}"]
        return [] if _is_done(bench, mirror, wanted, there.commit) else [taken(wanted, there.commit)]
    return []


def _is_done(bench: Workbench, mirror: Mirror, wanted: Wanted, there: str) -> bool:
    """Whether a tag elsewhere is what was wanted: of a period by somebody else, or of this very marker."""
    if wanted.rule.when in (When.DAILY, When.WEEKLY):
        return True
    if wanted.rule.when is not When.MARKER:
        return False
    names = [_name(mirror, commit, wanted.rule.file) for commit in (there, wanted.commit)]
    released, now = bench.repository.contents(names)
    return released is not None and released == now
