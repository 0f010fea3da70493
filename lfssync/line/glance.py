"""A look at a mirror's directory without a pass: what has changed since the last one, while no daemon runs.

Beside the line: it uses the scan, and only for `status`. The one thing to know: it costs a bounded time. Nothing is
read or hashed, and a directory that answers too late, such as one on a server that is away, is left to its thread.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from lfssync.errors import BlockedError, LfssyncError, TransientError
from lfssync.line.scan import scan
from lfssync.model import Mirror
from lfssync.records.store import Store, reading

LOOK_FOR_S = 0.5
"""So long all directories together may take."""


class Glance(NamedTuple):
    """What a look found.

    Args:
        files: How many files differ from what was mirrored last, or are gone.
        size_bytes: How large those are that are there.
        error: Why it cannot be mirrored as it is; None as a rule.
    """

    files: int
    size_bytes: int
    error: LfssyncError | None = None


class _TooLateError(Exception):
    """Time is up."""


def glances(mirrors: Sequence[tuple[Mirror, Path]], timeout_s: float = LOOK_FOR_S) -> dict[str, Glance]:
    """Look at the directories of mirrors; what took too long is not in the answer.

    Args:
        mirrors: Each with its state folder.
        timeout_s: For how long at most, in seconds.

    Returns:
        What was found, by the mirror's name.
    """
    found: dict[str, Glance] = {}
    deadline = time.monotonic() + timeout_s

    def check() -> None:
        if time.monotonic() >= deadline:
            raise _TooLateError

    def look() -> None:
        for mirror, state_dir in mirrors:
            try:
                found[mirror.name] = glance(mirror, state_dir, check)
            except _TooLateError:
                return
            except (LfssyncError, OSError):
                continue  # its record cannot be read: that is said elsewhere, and the others can be looked at

    if mirrors:
        looker = threading.Thread(target=look, name="glance", daemon=True)
        looker.start()
        looker.join(timeout_s + 0.1)
    return dict(found)


def glance(mirror: Mirror, state_dir: Path, check: Callable[[], None]) -> Glance:
    """Look at one directory.

    Args:
        mirror: Which one.
        state_dir: Its state folder, which need not exist yet.
        check: Called again and again; what it raises ends the look.

    Raises:
        LfssyncError: What is recorded of it cannot be read.
    """
    with reading(state_dir / "state.db") as store:
        if store is not None:
            return _glance(mirror, store, check)
    with Store(Path(":memory:")) as nothing:  # it was never mirrored
        return _glance(mirror, nothing, check)


def _glance(mirror: Mirror, store: Store, check: Callable[[], None]) -> Glance:
    is_copy = os.path.lexists(mirror.path / ".git")
    try:
        changes = scan(os.fsencode(mirror.path), None, store, mirror.ignore, tracked_stays=is_copy, check=check)
    except (BlockedError, TransientError) as error:
        return Glance(0, 0, error)
    size_bytes = sum(change.signature.size_bytes for change in changes.changed)
    return Glance(len(changes.changed) + len(changes.removed), size_bytes)
