"""Everything a pass or a release works with, opened and fitting together: git dir, remote, transfer, working copy.

Opened by `pipeline` and `releases`, always under the mirror's lock.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

from lfssync import workingcopy
from lfssync.assembly import Stills
from lfssync.credentials import Credentials, nobody
from lfssync.delivery import Delivery
from lfssync.embedded import ensure_remote
from lfssync.errors import BlockedError, TransientError
from lfssync.fastimport import Ident
from lfssync.gitcommand import Git, require_programs
from lfssync.model import Mirror, Monitor, Plan, Progress, silent
from lfssync.repository import Refs, Repository
from lfssync.roster import remember
from lfssync.securing import Securing
from lfssync.settle import Seen
from lfssync.store import Store
from lfssync.transfer.unfinished import Unfinished
from lfssync.transfers import transfer_for
from lfssync.workingcopy import WorkingCopy


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
    """

    monitor: Monitor = silent
    stop: threading.Event = field(default_factory=threading.Event)
    seen: dict[bytes, Seen] = field(default_factory=dict)
    stills: Stills = field(default_factory=dict)
    login: Credentials = field(default_factory=nobody)
    unfinished: Unfinished = field(default_factory=Unfinished)

    def progress(self, event: Plan | Progress) -> None:
        """Hand progress on; also where long reads and copies notice that they shall stop.

        Raises:
            TransientError: `stop` is set.
        """
        if self.stop.is_set():
            raise TransientError("stopped before everything was delivered", "the next start goes on from here")
        self.monitor(event)


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
    require_programs()
    remember(store, mirror)
    copy = workingcopy.find(mirror.path) if mirror.path.is_dir() else None
    git = Git(state_dir / "repo.git", copy.objects if copy else None, session.stop, session.login)
    repository = Repository(git, mirror.branch)
    repository.create()
    repository.clear_leftovers()
    if mirror.embedded:
        ensure_remote(Path(mirror.remote), mirror.branch)
    if copy:
        if mirror.into:
            raise BlockedError(
                f"{mirror.path} is a git working copy, which cannot go into a sub-folder",
                "remove `into` from the mirror",
            )
        copy.require_free(mirror.branch)
    copies = [git.git_dir / "lfs" / "objects", *([copy.common_dir / "lfs" / "objects"] if copy else [])]
    transfer = transfer_for(mirror, git, session.unfinished)
    into = os.fsencode(f"{mirror.into}/" if mirror.into else "")
    securing = Securing(transfer, store, session.progress, tuple(copies), into)
    return Workbench(repository, copy, Delivery(repository, mirror.remote), securing)
