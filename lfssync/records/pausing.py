"""Which mirrors a person has paused: a small file in the state folder of each.

Written by the commands `pause` and `resume`, read by the daemon, which needs not run for that, and by `status`. The one
thing to know: it is the file itself that pauses. One that cannot be read, because a disk damaged it, pauses until it is
resumed, for whoever paused a mirror may have had a reason not to show what it holds.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

from lfssync.errors import BlockedError, NotDoneError, TransientError
from lfssync.model import Mirror
from lfssync.records.lock import unusable

_NAME = "paused.json"
_UNFINISHED = "paused.json.new"
"""One name for all who write: what a kill left behind is written over, and never counts."""

_BYTES = 4096
_EPOCHS = range(1, 1 << 40)
"""Moments that a clock can show."""


class Pause(NamedTuple):
    """A mirror is paused.

    Args:
        since: When that began, in seconds since the epoch; None when its record is damaged.
        until: When it ends by itself, in the same; None when somebody has to end it.
    """

    since: float | None = None
    until: float | None = None

    def document(self) -> dict[str, Any]:
        """As it is kept, and as it travels to those who ask."""
        return {"since": self.since, "until": self.until}

    def words(self) -> str:
        """Until when, for people."""
        if self.until is None:
            return "paused until it is resumed"
        return f"paused until {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(self.until))}"


def pause(state_dir: Path, until: float | None, now: float) -> Pause:
    """Pause a mirror; a pause that is there already is replaced, its beginning stays.

    Args:
        state_dir: The mirror's state folder, which is made if it is not there.
        until: When it ends by itself, in seconds since the epoch; None for never.
        now: Now, in the same.

    Raises:
        UserError: The folder may not be made or written.
        TransientError: It cannot be made or written just now; the mirror goes on as before then.
    """
    before = paused(state_dir, now)
    made = Pause(before.since if before and before.since is not None else now, until)
    temporary = state_dir / _UNFINISHED
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        with temporary.open("w") as file:
            json.dump(made.document(), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, state_dir / _NAME)
        _sync(state_dir)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise unusable(state_dir / _NAME, error) from error
    return made


def resume(state_dir: Path, now: float) -> bool:
    """End the pause of a mirror; says whether it was paused.

    Args:
        state_dir: The mirror's state folder, which need not be there.
        now: Now, in seconds since the epoch.

    Raises:
        UserError: The record may not be taken away.
        TransientError: It cannot be taken away just now.
    """
    was_paused = paused(state_dir, now) is not None
    try:
        (state_dir / _NAME).unlink(missing_ok=True)
        if was_paused:
            _sync(state_dir)
    except NotADirectoryError:
        return False
    except OSError as error:
        raise unusable(state_dir / _NAME, error) from error
    return was_paused


def paused(state_dir: Path, now: float) -> Pause | None:
    """The pause of a mirror, if it is paused.

    Args:
        state_dir: The mirror's state folder, which need not be there.
        now: Now, in seconds since the epoch.
    """
    try:
        fd = os.open(state_dir / _NAME, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return Pause()
    try:
        found = _pause_of(os.read(fd, _BYTES))
    except OSError:
        return Pause()
    finally:
        os.close(fd)
    return None if found.until is not None and found.until <= now else found


def require_going(mirror: Mirror, state_dir: Path, left_s: float) -> None:
    """See to it that waiting for a mirror makes sense.

    Args:
        mirror: Which one.
        state_dir: Its state folder.
        left_s: How long can be waited, in seconds.

    Raises:
        BlockedError: It is paused, and only a person ends that.
        NotDoneError: It is paused for longer.
        TransientError: It is paused, and says for how long.
    """
    now = time.time()
    pause = paused(state_dir, now)
    if pause is None:
        return
    message, remedy = f"{mirror.name} is {pause.words()}", f"lfssync resume {mirror.name}"
    if pause.until is None:
        raise BlockedError(
            f"it is {pause.words()}", f"{remedy}, or deliver it all the same: lfssync sync {mirror.name}"
        )
    if pause.until - now > left_s:
        raise NotDoneError(message, f"{remedy}, or deliver it all the same: lfssync sync {mirror.name}")
    raise TransientError(f"it is {pause.words()}", remedy, max(pause.until - now, 0.1))


def _pause_of(raw: bytes) -> Pause:
    with contextlib.suppress(ValueError, OverflowError, RecursionError):
        match json.loads(raw):
            case {"since": int() | float() as since, "until": None} if int(since) in _EPOCHS:
                return Pause(float(since))
            case {"since": int() | float() as since, "until": int() | float() as until} if (
                int(since) in _EPOCHS and int(until) in _EPOCHS
            ):
                return Pause(float(since), float(until))
    return Pause()


def _sync(folder: Path) -> None:
    """Have it on the disk that something was renamed or taken away here. Source: fsync(2)."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
