"""What is broken beyond use in a mirror's state folder is set aside; the next attempt makes it anew.

Called by `pipeline` under the mirror's lock when a pass failed in a way that nothing else explains. The one thing to
know: nothing of value is thrown away. The store is a cache; a damaged git dir is renamed and kept until the next one
breaks, and what it held is fetched again or read again from the directory (faults 11 and 12).
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from lfssync.errors import LfssyncError
from lfssync.git import facts
from lfssync.git.gitcommand import Git
from lfssync.git.repository import set_aside
from lfssync.model import Mirror
from lfssync.records.store import discard, is_damage


def heal(mirror: Mirror, state_dir: Path, error: LfssyncError) -> bool:
    """Set aside what an error gives reason to look at and what is found to be broken.

    Args:
        mirror: The mirror.
        state_dir: Its state folder, locked by the caller.
        error: How the pass failed.

    Returns:
        True when there was something, so that the pass should be tried again at once.
    """
    if is_damage(error.__cause__):
        discard(state_dir / "state.db")
        return True
    git_dir = state_dir / "repo.git"
    if type(error) is not LfssyncError or not git_dir.exists():
        return False
    # The objects of a working copy are its own, and not ours to judge.
    question = (
        ("for-each-ref",) if os.path.lexists(mirror.path / ".git") else ("fsck", "--no-dangling", "--no-progress")
    )
    if _is_sound(git_dir, *question):
        return False
    set_aside(git_dir)
    facts.ATTRIBUTES.clear()  # what could not be read looked as if it were not there
    return True


def _is_sound(git_dir: Path, *question: str) -> bool:
    """Whether git can answer a question about the git dir."""
    with contextlib.suppress(LfssyncError):
        return Git(git_dir).run(*question, accept=range(256)).status == 0
    return True  # git could not be asked: not the git dir's fault
