"""The embedded default remote: a bare git-lfs repository of our own, for mirrors that name no remote.

Made by `pipeline` on first use. The one thing to know: it may hold the only copy, so git is told to make everything
durable that it writes there; a stock `git clone` of it gives the LFS files as well.
"""

from __future__ import annotations

import os
from pathlib import Path

from lfssync.errors import TransientError
from lfssync.git.gitcommand import Git
from lfssync.transfer.copying import workroom


def ensure_remote(path: Path, branch: str) -> None:
    """Create the repository if it is not there; complete or not at all.

    Args:
        path: Where it belongs.
        branch: The branch that a clone checks out.
    """
    if (path / "HEAD").is_file():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with workroom(path.parent) as room:
            fresh = room / "remote.git"
            git = Git(fresh)
            git.run("init", "--quiet", "--bare", "--template=", "--initial-branch", branch, str(fresh))
            for key, value in (("core.fsync", "all"), ("receive.fsckObjects", "false"), ("gc.auto", "0")):
                git.run("config", key, value)
            (fresh / "lfs" / "objects").mkdir(parents=True)
            os.rename(fresh, path)
    except OSError as error:
        raise TransientError(
            f"{error.filename or path}: {(error.strerror or '').lower()}",
            "free disk space or mend the permissions there",
        ) from error
