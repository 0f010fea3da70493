"""Chooses the transfer for a mirror. The one place that knows them all; `workbench` and `restore` ask here."""

from __future__ import annotations

from pathlib import Path

from lfssync.gitcommand import Git
from lfssync.model import Mirror, TransferKind
from lfssync.remotes import RemoteKind, parse_remote
from lfssync.transfer import Transfer
from lfssync.transfer.bare import BareTransfer
from lfssync.transfer.gitlfs import GitLfsTransfer


def transfer_for(mirror: Mirror, git: Git) -> Transfer:
    """The transfer that a mirror's address and configuration ask for.

    Args:
        mirror: Its `remote` and `transfer` decide.
        git: The mirror's git dir, where stock git-lfs needs a place for copies.
    """
    remote = parse_remote(mirror.remote, Path.home())
    kind = mirror.transfer
    if kind is TransferKind.AUTO:
        kind = TransferKind.BARE if remote.kind is RemoteKind.LOCAL else TransferKind.GIT_LFS
    if kind is TransferKind.BARE:
        return BareTransfer(Path(remote.path))
    return GitLfsTransfer(git, remote.url)
