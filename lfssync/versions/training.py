"""What the training said about a commit: the newest `trainer_state.json` in it.

Asked by `history`, `tags` and `releases`. The one thing to know: it is told to people beside what is certain, so a file
that cannot be had now, or is none, tells nothing and stops nobody.
"""

from __future__ import annotations

from collections.abc import Mapping

from lfssync.errors import LfssyncError
from lfssync.results import Version
from lfssync.rules.groups import Key, Kind
from lfssync.rules.trainerstate import MAX_BYTES, NAME, Training
from lfssync.rules.trainerstate import training as told
from lfssync.versions.contents import Contents

_LOOKED_INTO = 4


def of(near: Contents, files: Mapping[bytes, Version]) -> Training:
    """What the newest checkpoint of a commit says; all empty where nothing does.

    Args:
        near: Where the bytes are.
        files: The files of the commit.
    """
    places = [path for path in files if path.rpartition(b"/")[2] == NAME and files[path].size_bytes <= MAX_BYTES]
    places.sort(key=lambda path: Key(path.rpartition(b"/")[0], Kind.FOLDER).step, reverse=True)
    found = [_told(near, files[path]) for path in places[:_LOOKED_INTO]]
    return max(found, key=lambda one: -1 if one.step is None else one.step, default=Training())


def read(near: Contents, version: Version) -> Training:
    """What one version of a `trainer_state.json` says; all empty when it is none, or is too large.

    Raises:
        LfssyncError: It cannot be had.
    """
    return told(near.part(version, 0, version.size_bytes)) if version.size_bytes <= MAX_BYTES else Training()


def _told(near: Contents, version: Version) -> Training:
    try:
        return read(near, version)
    except LfssyncError:
        return Training()
