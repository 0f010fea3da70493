"""Metrics as a file, for node_exporter's textfile collector on machines where nothing more may listen.

Run by `herald`, only where it is configured. The one thing to know: a reader sees the old file or the new one, never
a part, and other users may read it; when the daemon ends in order the file goes, because it would not be true for long.

Source: node_exporter, "Textfile Collector".
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from lfssync.errors import TransientError

WRITE_EVERY_S = 15.0


def write(file: Path, text: str) -> None:
    """Replace the file by this text.

    Raises:
        TransientError: That is not possible now; nothing half-made is left.
    """
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            with os.fdopen(fd, "w", encoding="utf-8") as opened:
                os.fchmod(fd, 0o644)
                opened.write(text)
            os.replace(temporary, file)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except FileExistsError:
        with contextlib.suppress(OSError):  # a folder, or of somebody else
            temporary.unlink(missing_ok=True)  # of one that was killed
            return
        raise TransientError(
            f"no metrics in {file}: {temporary.name} is in the way there", "remove it, or choose another `metrics_file`"
        ) from None
    except OSError as error:
        raise TransientError(
            f"no metrics in {file}: {(error.strerror or str(error)).lower()}",
            "mend the folder or its permissions, or choose another `metrics_file`",
        ) from error


def take_away(file: Path) -> None:
    """Delete the file; one that cannot be deleted stays."""
    with contextlib.suppress(OSError):
        file.unlink(missing_ok=True)
