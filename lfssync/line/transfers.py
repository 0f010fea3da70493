"""Chooses the transfer for a mirror. The one place that knows them all; `workbench` and `restore` ask here.

The one thing to know: only the transfer that is chosen is loaded, because a `sync` to a disk needs none of the others.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lfssync.errors import BlockedError, UserError
from lfssync.git.addresses import fetched_from, pushed_to
from lfssync.git.gitcommand import Git
from lfssync.model import Mirror, TransferKind
from lfssync.rules.remotes import Remote, RemoteKind, parse_remote
from lfssync.transfer import Transfer, over_http
from lfssync.transfer.ahead import Ahead, Made
from lfssync.transfer.bare import open_bare

if TYPE_CHECKING:
    from lfssync.transfer.unfinished import Unfinished


def _where_git_goes(remote: Remote, git: Git) -> Remote:
    """The place that the user's own git means by an address (`url.<base>.insteadOf`): objects must go there, too.

    Hosts are left to git-lfs, which follows the same rules; what matters here is what lies on this machine's disks.
    """
    settings = git.settings()
    fetches, pushes = fetched_from(remote.url, settings), pushed_to(remote.url, settings)
    if not any(address.startswith(("/", "file://")) for address in (remote.url, fetches, pushes)):
        return remote
    if fetches != pushes:
        raise BlockedError(
            f"git fetches {remote.url} from {fetches} but pushes it to {pushes}",
            "name one of the two as the remote, or take url.*.pushInsteadOf out of your git configuration",
        )
    return remote if fetches == remote.url else parse_remote(fetches, Path.home())


def transfer_for(mirror: Mirror, git: Git, unfinished: Unfinished | None = None) -> Transfer:
    """The transfer that a mirror's address and configuration ask for.

    Args:
        mirror: Its `remote`, `branch` and `transfer` decide.
        git: The mirror's git dir, where stock git-lfs needs a place for copies; with the logins for hosts.
        unfinished: Uploads in parts that earlier passes of this process began.

    Raises:
        BlockedError: The remote is a path, and there is no repository; or git pushes elsewhere than it fetches.
        UserError: `transfer` does not fit the remote.
    """
    remote = _where_git_goes(parse_remote(mirror.remote, Path.home()), git)
    folder = open_bare(Path(remote.path)) if remote.kind is RemoteKind.LOCAL else None
    if mirror.transfer is TransferKind.GIT_LFS:
        from lfssync.transfer.gitlfs import GitLfsTransfer

        return GitLfsTransfer(git, remote.url, mirror.branch, folder)
    if folder is None and mirror.transfer is TransferKind.BARE:
        raise UserError(
            f'{mirror.name}: transfer = "bare" needs a remote on disk, not {remote.url}', "leave `transfer` out"
        )
    if folder is not None and not mirror.lfs_url:
        if mirror.transfer is TransferKind.HTTP:
            raise UserError(f'{mirror.name}: transfer = "http" needs a host or lfs_url', "leave `transfer` out")
        return folder

    def make() -> Made:
        from lfssync.transfer.http import open_http

        return open_http(mirror, remote, git, unfinished=unfinished)

    http = Ahead(over_http(mirror, remote), make)
    if remote.kind is RemoteKind.SSH and mirror.transfer is TransferKind.AUTO:
        from lfssync.transfer.gitlfs import GitLfsTransfer
        from lfssync.transfer.overssh import StockIfNeeded

        return StockIfNeeded(http, GitLfsTransfer(git, remote.url, mirror.branch))
    return http
