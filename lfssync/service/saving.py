"""Saves a model, a tokenizer or a processor into a folder that is only there for one push.

Used by `lfssync.push`. The one thing to know: nothing here knows a library. Whatever has `save_pretrained` can be
pushed, and what its size is it says itself, if it can.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

from lfssync.errors import LfssyncError, TransientError, UserError
from lfssync.model import human_bytes
from lfssync.transfer.copying import workroom

LARGE_BYTES = 100_000_000
"""From here on it is looked if there is room before anything is written."""

_SPARE = 1.05
"""Configuration and tokenizer come along, and headers."""


@runtime_checkable
class Saveable(Protocol):
    """What transformers, diffusers, peft and tokenizers have in common."""

    def save_pretrained(self, save_directory: str) -> object:
        """Write everything that is needed to load it again into a folder."""


@contextlib.contextmanager
def saved(what: Saveable) -> Iterator[Path]:
    """A folder with what an object saves, removed afterwards.

    Args:
        what: A model, a tokenizer, a processor.

    Raises:
        UserError: It does not save into a folder.
        TransientError: There is no room for it.
    """
    if not isinstance(what, Saveable):
        raise UserError(
            f"{what!r:.80} is no folder and has no save_pretrained", "give a folder, a model or a tokenizer"
        )
    room = Path(tempfile.gettempdir())
    _require_room(what, room)
    with workroom(room, "lfssync-save-") as folder:
        target = folder / "model"
        target.mkdir()
        try:
            what.save_pretrained(str(target))
        except OSError as error:
            raise _unwritten(error, target) from error
        except Exception as error:  # whatever the library raises: it is said in one line, with its own words
            kind = type(what).__name__
            raise UserError(
                f"{kind} could not be saved: {type(error).__name__}: {error}", f"see if {kind}.save_pretrained works"
            ) from error
        yield target


def _unwritten(error: OSError, target: Path) -> LfssyncError:
    what = f"{error.filename or target}: {(error.strerror or str(error)).lower()}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TransientError(what, "free disk space, or set TMPDIR to a folder that has room")
    return UserError(what, "set TMPDIR to a folder that you may write")


def _require_room(what: Saveable, room: Path) -> None:
    needed = _size_bytes(what) * _SPARE
    free = shutil.disk_usage(room).free
    if needed >= LARGE_BYTES and needed > free:
        raise TransientError(
            f"{type(what).__name__} takes about {human_bytes(int(needed))}, and {room} has {human_bytes(free)} left",
            "free disk space, or set TMPDIR to a folder that has room",
        )


def _size_bytes(what: object) -> int:
    """How large it says it is; 0 when it does not say. Source: `PreTrainedModel.get_memory_footprint`."""
    footprint = getattr(what, "get_memory_footprint", None)
    try:
        return int(footprint()) if callable(footprint) else 0
    except Exception:  # noqa: BLE001  a guess that fails is no reason not to try
        return 0
