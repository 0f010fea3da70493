"""Looks after what a mirror has on this machine, so that it stays small over months: git dirs and the store.

Called by `pipeline` at the end of a pass that delivered something, and still under the mirror's lock.
The one thing to know: it comes after everything that matters. What goes wrong here is a warning, and it is not tried
again for an hour, because what nothing refers to is kept so long and would make it due at every pass.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from lfssync.errors import LfssyncError
from lfssync.git.gitcommand import Git
from lfssync.git.upkeep import is_due, tidy
from lfssync.line.workbench import Workbench
from lfssync.model import Mirror, PassResult
from lfssync.records.report import Report
from lfssync.records.store import Store
from lfssync.records.trimming import has_grown, trim

EVERY_S = 3600.0
_FACT = "upkeep"
_OURS_KEPT = "1.hour.ago"
"""Every commit leaves an older picture of the directory behind."""
_EMBEDDED_KEPT = "2.weeks.ago"
"""It may hold the only copy of what somebody deletes there."""
_EVIDENCE_KEPT_S = 90 * 86400.0


def look_after(
    bench: Workbench, mirror: Mirror, store: Store, stop: threading.Event, now: float, result: PassResult
) -> PassResult:
    """Do what is due after a pass; gives its result with what goes wrong here, which is no reason to fail.

    Args:
        bench: The mirror's.
        mirror: The mirror.
        store: Its store.
        stop: Ends it.
        now: Seconds since the epoch.
        result: That of the pass, which is recorded already.
    """
    last = store.fact(_FACT)
    if not result.committed or (isinstance(last, int | float) and 0 <= now - last < EVERY_S):
        return result
    warnings, was_due = [], False
    for work in _works(bench, mirror, store.file, stop, now):
        try:
            was_due |= work()
        except LfssyncError as error:
            was_due = True
            if not stop.is_set():
                warnings.append(f"{error.message}; {error.remedy}")
    if was_due and not stop.is_set():
        with store.transaction():
            store.record_facts({_FACT: now})
    if warnings:
        result = result._replace(warnings=(*result.warnings, *warnings))
        Report(store, mirror).success(result)
    return result


def _works(
    bench: Workbench, mirror: Mirror, file: Path, stop: threading.Event, now: float
) -> Iterator[Callable[[], bool]]:
    """What there may be to do; each says whether it was due."""
    if bench.copy is None:  # the objects of a working copy are its own
        yield partial(_tidied, bench.repository.git, _OURS_KEPT)
    if mirror.embedded:
        yield partial(_tidied, Git(Path(mirror.remote), stop=stop), _EMBEDDED_KEPT)
    yield partial(_trimmed, file, bench.securing.transfer.endpoint, now - _EVIDENCE_KEPT_S)


def _tidied(git: Git, keep_since: str) -> bool:
    if not is_due(git.git_dir):
        return False
    tidy(git, keep_since)
    return True


def _trimmed(file: Path, endpoint: str, before: float) -> bool:
    if not has_grown(file, endpoint, before):
        return False
    trim(file, endpoint, before)
    return True
