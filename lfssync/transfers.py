"""Chooses the transfer for a mirror. The one place that knows them all; `workbench` and `restore` ask here."""

from __future__ import annotations

from pathlib import Path

from lfssync.errors import UserError
from lfssync.gitcommand import Git
from lfssync.model import Mirror, TransferKind
from lfssync.remotes import RemoteKind, parse_remote
from lfssync.transfer import Transfer
from lfssync.transfer.bare import open_bare
from lfssync.transfer.gitlfs import GitLfsTransfer


def transfer_for(mirror: Mirror, git: Git) -> Transfer:
    """The transfer that a mirror's address and configuration ask for.

    Args:
        mirror: Its `remote`, `branch` and `transfer` decide.
        git: The mirror's git dir, where stock git-lfs needs a place for copies.

    Raises:
        BlockedError: The remote is a path, and there is no repository.
        UserError: `transfer = "bare"`, but the remote is not on this machine's disks.
    """
    remote = parse_remote(mirror.remote, Path.home())
    if remote.kind is not RemoteKind.LOCAL:  # the user's own git may know a shorter way (url.<base>.insteadOf)
        rewritten = git.run("ls-remote", "--get-url", remote.url).text
        if rewritten.startswith(("/", "file://")):
            remote = parse_remote(rewritten, Path.home())
    folder = open_bare(Path(remote.path)) if remote.kind is RemoteKind.LOCAL else None
    if mirror.transfer is TransferKind.GIT_LFS:
        return GitLfsTransfer(git, remote.url, mirror.branch, folder)
    if folder is not None:
        return folder
    if mirror.transfer is TransferKind.BARE:
        raise UserError(
            f'{mirror.name}: transfer = "bare" needs a remote on disk, not {remote.url}', "leave `transfer` out"
        )
    return GitLfsTransfer(git, remote.url, mirror.branch)
