"""Whether git and git-lfs are there, and not too old; asked once, before anything else is done.

Beside `gitcommand`, for all who open a mirror. The one thing to know: a missing program is the user's to install, so it
is told with the exact command. Asking both takes longer than a commit, so a note may keep which files were good.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from lfssync.errors import TransientError, UserError
from lfssync.git.gitcommand import empty_folder, environment, not_installed
from lfssync.model import Signature

OLDEST_GIT = (2, 38)
OLDEST_GIT_LFS = (3, 0)

PROGRAMS_FILE = "programs.json"
"""What the note is called that `require_programs` leaves in a mirror's state folder."""

_VERSION_TIMEOUT_S = 60.0


@functools.cache
def require_programs(note: Path | None = None) -> None:
    """Check once that git and git-lfs are there and not too old.

    Args:
        note: A file that is left for the next process: it need not ask the very same programs again.

    Raises:
        UserError: With the exact command that installs what is missing.
    """
    present = _programs()
    if note is not None and present is not None and _noted(note) == present:
        return
    _ask()
    if note is not None and present is not None:
        with contextlib.suppress(OSError):  # then they are asked again
            temporary = note.with_name(f"{note.name}.new")
            temporary.write_text(json.dumps(present))
            os.replace(temporary, note)


def _programs() -> list[list[str | int]] | None:
    """Which files the programs are, with their signatures; None when it is not told by where they are."""
    found: list[list[str | int]] = []
    for name in ("git", "git-lfs"):
        path = shutil.which(name)
        if path is None:
            return None
        found.append([os.path.realpath(path), *Signature.of(os.stat(path))])
    return found


def _noted(note: Path) -> object:
    with contextlib.suppress(OSError, ValueError):
        return json.loads(note.read_bytes())
    return None


@functools.cache
def _ask() -> None:
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
