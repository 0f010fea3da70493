"""Whether git and git-lfs are there, and not too old; asked once, before anything else is done.

Beside `gitcommand`, for all who open a mirror. The one thing to know: a missing program is the user's to install, so it
is told with the exact command.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess

from lfssync.errors import TransientError, UserError
from lfssync.git.gitcommand import empty_folder, environment, not_installed

OLDEST_GIT = (2, 38)
OLDEST_GIT_LFS = (3, 0)

_VERSION_TIMEOUT_S = 60.0


@functools.cache
def require_programs() -> None:
    """Check once that git and git-lfs are there and not too old.

    Raises:
        UserError: With the exact command that installs what is missing.
    """
    for command, oldest, package in (
        (["git", "version"], OLDEST_GIT, "git"),
        (["git", "lfs", "version"], OLDEST_GIT_LFS, "git-lfs"),
    ):
        try:
            done = subprocess.run(
                command,
                cwd=empty_folder(),
                env=environment(os.environ),
                capture_output=True,
                timeout=_VERSION_TIMEOUT_S,
                check=False,
            )
        except FileNotFoundError:
            raise not_installed("git") from None
        except OSError as error:
            raise UserError(f"git cannot be run: {error.strerror}", "mend its installation, or the PATH") from error
        except subprocess.TimeoutExpired:
            raise TransientError(f"{package} did not answer within a minute", "it is tried again") from None
        found = re.search(rb"(\d+)\.(\d+)", done.stdout)
        if done.returncode or found is None:
            raise not_installed(package)
        version = (int(found[1]), int(found[2]))
        if version < oldest:
            raise UserError(
                f"{package} {version[0]}.{version[1]} is too old", f"install {package} {oldest[0]}.{oldest[1]} or newer"
            )
