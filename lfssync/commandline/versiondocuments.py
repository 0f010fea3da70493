"""The documents of `--json` about versions.

Beside `documents`, under the same promise: a key may be added, and none may change.
"""

from __future__ import annotations

from collections.abc import Sequence

from lfssync import __version__
from lfssync.answers import LogEntry
from lfssync.commandline.documents import Document, exact, iso_time


def log_document(name: str, entries: Sequence[LogEntry]) -> Document:
    """The answer of `log --json`."""
    return {
        "version": __version__,
        "name": name,
        "entries": [
            {
                "at": iso_time(entry.at),
                "kind": entry.kind.value,
                "commit": entry.commit,
                "text": exact(entry.text),
                "tags": list(entry.tags),
            }
            for entry in entries
        ],
    }
