"""Everything a pass or a release works with, opened and fitting together: git dir, remote, transfer, working copy.

Opened by `pipeline` and `releases`, always under the mirror's lock.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from lfssync.credentials import Credentials, nobody
from lfssync.errors import BlockedError, LfssyncError, StoppedError
from lfssync.git import workingcopy
from lfssync.git.fastimport import Ident
from lfssync.git.gitcommand import Git
from lfssync.git.programs import PROGRAMS_FILE, require_programs
from lfssync.git.repository import Refs, Repository
from lfssync.git.workingcopy import WorkingCopy
from lfssync.lifeline import Lifeline
from lfssync.line.assembly import Stills
from lfssync.line.composing import Composer
from lfssync.line.delivery import Delivery
from lfssync.line.embedded import ensure_remote
from lfssync.line.keeping import Keeper
from lfssync.line.outofreach import Unreached, reached
from lfssync.line.securing import Securing
from lfssync.line.settle import Seen
from lfssync.line.transfers import transfer_for
from lfssync.model import LfsObject, Mirror, Monitor, Plan, Progress, Signature, TransferKind, silent
from lfssync.records.roster import remember
from lfssync.records.store import PROVEN_FACT, REMOTES_FACT, Store
from lfssync.rules.closing import LastCall
from lfssync.transfer import Transfer
from lfssync.transfer.unfinished import Unfinished

_REMOTES_KEPT = 4


@dataclass(slots=True)
class Session:
    """What outlives a single pass: who watches, when to stop, what was seen before, logins.

    Args:
        monitor: Receives progress.
        stop: Set to have it all stop.
        seen: Signatures of files, for where leases do not work.
        stills: See `assembly`.
        login: Where logins come from.
        unfinished: Uploads in parts that were begun.
        hashed: What files are that were read and could not be secured.
        last_call: Until when files may be taken.
        compose: Drafts the card that commits get where the directory has none.
        is_tidy: Whether the last pass left nothing half done in the mirror's git dir.
    """

    monitor: Monitor = silent
    stop: Lifeline = field(default_factory=Lifeline)
    seen: dict[bytes, Seen] = field(default_factory=dict)
    stills: Stills = field(default_factory=dict)
    login: Credentials = field(default_factory=nobody)
    unfinished: Unfinished = field(default_factory=Unfinished)
    hashed: dict[bytes, tuple[Signature, LfsObject]] = field(default_factory=dict)
    last_call: LastCall = field(default_factory=LastCall)
    compose: Composer | None = None
    is_tidy: bool = False

    def progress(self, event: Plan | Progress) -> None:
        """Hand progress on; also where long reads and copies notice that they shall stop.

        Raises:
            StoppedError: `stop` is set.
            TimeIsUp: No more files may be taken.
        """
        self.check()
        if isinstance(event, Progress):
            self.last_call.check()
        self.monitor(event)

    def check(self) -> None:
        """Where everything else that takes long notices that it shall stop.

        Raises:
            StoppedError: `stop` is set.
        """
        if self.stop.is_set():
            raise StoppedError


@dataclass(frozen=True, slots=True)
class Workbench:
    """What belongs to one mirror while something is done for it.

    Args:
        repository: Its git dir.
        copy: The user's working copy, when the directory is one.
        delivery: The remote side.
        securing: The way of LFS objects to the remote.
    """

    repository: Repository
    copy: WorkingCopy | None
    delivery: Delivery
    securing: Securing

    def refs(self) -> Refs:
        """Where our refs stand; in a working copy the branch is the user's, wherever they moved it."""
        refs = self.repository.refs()
        if self.copy is None:
            return refs
        head = self.copy.head(self.repository.branch)
        if head != refs.head:
            self.repository.update_refs({self.repository.head_ref: (refs.head, head)})
        return Refs(head, refs.tip, refs.mirrored)

    def who(self) -> Ident:
        """Who makes commits and tags here, now."""
        return self.repository.ident(self.copy.git if self.copy else None)


def open_bench(mirror: Mirror, state_dir: Path, store: Store, session: Session) -> Workbench:
    """Bring git dir and remote into being where needed, and clear away what a killed run left.

    Args:
        mirror: The configuration.
        state_dir: The mirror's own state folder.
        store: Its store, opened.
        session: Who watches, and when to stop.

    Raises:
        LfssyncError: A program is missing, or the working copy is not ours to commit to now.
    """
    require_programs(state_dir / PROGRAMS_FILE)
    remember(store, mirror)
    copy = workingcopy.find(mirror.path) if mirror.path.is_dir() else None
    git = Git(state_dir / "repo.git", copy.objects if copy else None, session.stop, session.login)
    repository = Repository(git, mirror.branch)
    repository.create()
    if not session.is_tidy:
        repository.clear_leftovers()
    session.is_tidy = False  # until somebody can tell
    if mirror.embedded and mirror.remote not in _remotes(store):  # one that was there and is not any more is missed
        ensure_remote(Path(mirror.remote), mirror.branch)
    if copy:
        copy.share_end_of_history(git.git_dir)
        if mirror.into:
            raise BlockedError(
                f"{mirror.path} is a git working copy, which cannot go into a sub-folder",
                "remove `into` from the mirror",
            )
        copy.require_free(mirror.branch)
    copies = [git.git_dir / "lfs" / "objects", *([copy.common_dir / "lfs" / "objects"] if copy else [])]
    keeper = Keeper(copies[0], mirror.path, mirror.headroom_bytes, mirror.offline_limit_bytes, session.stop)
    transfer = _transfer(mirror, git, store, session)
    into = os.fsencode(f"{mirror.into}/" if mirror.into else "")
    securing = Securing(transfer, store, session.progress, tuple(copies), keeper, into)
    securing.last_call = session.last_call
    securing.elsewhere = partial(_elsewhere, store, mirror, git)
    securing.unreached = transfer.error if isinstance(transfer, Unreached) else None
    return Workbench(repository, copy, Delivery(repository, mirror.remote), securing)


def _transfer(mirror: Mirror, git: Git, store: Store, session: Session) -> Transfer:
    """The way to the remote, or what stands in for it while there is none."""
    was_there = mirror.remote in _remotes(store)
    endpoint = store.fact(PROVEN_FACT)
    make = partial(transfer_for, mirror, git, session.unfinished)
    return reached(make, was_there, endpoint if isinstance(endpoint, str) else "")


def earlier_remotes(store: Store, mirror: Mirror) -> list[str]:
    """The remotes that a mirror was delivered to before its present one, oldest first."""
    return [name for name in _remotes(store) if name != mirror.remote][-_REMOTES_KEPT:]


def is_same_remote(store: Store, mirror: Mirror) -> bool:
    """Whether what is recorded as confirmed was confirmed by the mirror's present remote."""
    return _remotes(store)[-1:] in ([], [mirror.remote])


def _remotes(store: Store) -> list[str]:
    found = store.fact(REMOTES_FACT)
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def _elsewhere(store: Store, mirror: Mirror, git: Git) -> Iterator[Transfer]:
    for name in reversed(earlier_remotes(store, mirror)):
        with contextlib.suppress(LfssyncError):  # an address of old that nothing speaks any more
            yield transfer_for(mirror._replace(remote=name, transfer=TransferKind.AUTO), git)
