"""What stands around a pass: before the first one the repository is created, after each one the release rules act.

Between who runs passes (`delivering`, `worker`) and `pipeline`, whose `run_pass` this one stands for. The one thing to
know: once a mirror has delivered anything to a remote, nothing is ever created there again. A repository that vanished
later is a question for a person; a mirror that is given another remote begins anew.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from dataclasses import replace
from functools import partial
from pathlib import Path

from lfssync.errors import LfssyncError, TransientError
from lfssync.hosts import Wish
from lfssync.line import pipeline
from lfssync.line.composing import Composer
from lfssync.line.pipeline import Aim, Order
from lfssync.line.workbench import Session
from lfssync.model import CardPolicy, CreatePolicy, Mirror, PassResult
from lfssync.records.lock import held
from lfssync.records.report import Report
from lfssync.records.store import REMOTES_FACT, Store


def run_pass(mirror: Mirror, state_dir: Path, order: Order, session: Session) -> PassResult:
    """As `pipeline.run_pass`, with what the line leaves to others.

    Before the first delivery the repository is created, and commits get a drafted card, where the mirror says so.
    Afterwards the release rules act and old checkpoints are retired, which never fails a pass.
    """
    may_create = mirror.create is not CreatePolicy.NEVER and not mirror.remote.startswith("/")
    if may_create and order.unreached is None:
        with held(state_dir, order.wait_lock_s, session.stop):
            try:
                if not _has_delivered(state_dir, mirror.remote):
                    _create(mirror, state_dir, session)
            except TransientError as error:  # the pass goes on without the remote, as far as that goes
                order = replace(order, unreached=error)
    session.compose = _composer(mirror)
    result = pipeline.run_pass(mirror, state_dir, order, session)
    if mirror.tag and order.aim is Aim.DELIVER:
        from lfssync.versions.applying import apply

        result = apply(mirror, state_dir, result, session)
    if mirror.keep.last is not None and order.aim is Aim.DELIVER:
        from lfssync.versions.retiring import after_pass

        result = after_pass(mirror, state_dir, result, session)
    return result


def _composer(mirror: Mirror) -> Composer | None:
    """What drafts the mirror's card, where it wants one."""
    if mirror.card is CardPolicy.OFF:
        return None
    from lfssync.cards.drafting import draft

    return partial(draft, mirror, os.environ)


def _has_delivered(state_dir: Path, remote: str) -> bool:
    """Whether this remote ever confirmed anything; a record that cannot be read counts as none."""
    with contextlib.suppress(sqlite3.Error), Store(state_dir / "state.db") as store:
        confirmed = store.fact(REMOTES_FACT)
        return isinstance(confirmed, list) and remote in confirmed
    return False


def _create(mirror: Mirror, state_dir: Path, session: Session) -> None:
    from lfssync.hosts.creating import create_repository

    wish = Wish(mirror.create is CreatePolicy.PUBLIC, branch=mirror.branch)
    try:
        create_repository(mirror.remote, wish, session.login, os.environ, session.stop)
    except LfssyncError as error:
        with contextlib.suppress(sqlite3.Error), Store(state_dir / "state.db") as store:
            Report(store, mirror).failure(error)
        raise
