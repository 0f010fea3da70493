"""Keeps what a training program told about itself, in the state folder of the mirror that takes its files.

Written for requests, read by `assembly` for commit messages. The one thing to know: it is a file of its own and not in
the store, because it comes in at any time, also while a pass holds the mirror's lock and may throw away a broken store.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
from pathlib import Path

from lfssync.errors import TransientError, UserError
from lfssync.rules.told import Told, holding, told_of

FILE = "told.json"
KEPT = 64
"""So many saves may wait for their commits and still be told apart."""

_MAX_BYTES = 1 << 20
_lock = threading.Lock()


def keep(state_dir: Path, told: Told) -> None:
    """Add what was told.

    Args:
        state_dir: The mirror's state folder.
        told: What was told.

    Raises:
        TransientError: It cannot be written.
    """
    try:
        with _lock:
            state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            kept = [*_read(state_dir / FILE), told][-KEPT:]
            fd, name = tempfile.mkstemp(prefix="lfssync-told-", dir=state_dir)
            try:
                with open(fd, "w") as file:
                    json.dump([one.document() for one in kept], file)
                os.replace(name, state_dir / FILE)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(name)
                raise
    except OSError as error:
        raise TransientError(f"{error.filename or state_dir}: {error.strerror}", "free disk space there") from error


def told_about(state_dir: Path, written_at: float) -> str:
    """What is known about the training when a file was written, for people; empty when nothing is.

    Args:
        state_dir: The mirror's state folder.
        written_at: When it was written, in seconds since the epoch.
    """
    told = holding(_read(state_dir / FILE), written_at)
    return told.words() if told else ""


def _read(file: Path) -> list[Told]:
    """What was told, oldest first; nothing where the file is damaged: it only adorns messages."""
    try:
        with file.open() as stream:
            return [told_of(one) for one in json.loads(stream.read(_MAX_BYTES))]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, RecursionError, UserError):
        return []
