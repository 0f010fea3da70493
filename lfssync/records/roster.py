"""Which mirrors there are: those of the configuration, those that patterns find now, and those they found before.

Between the configuration and whoever works on all mirrors (`daemon`, `commands`).
The one thing to know: a folder that a pattern found and that is gone now stays a mirror, for its own pass to say so,
because a disk that is not mounted looks the same. Every pass leaves the path of its directory in the mirror's state;
`forget` takes it away.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePath

from lfssync.configuration.config import Configuration
from lfssync.configuration.patterns import MirrorPattern, Survey, complete, survey
from lfssync.errors import LfssyncError, UserError
from lfssync.model import Mirror
from lfssync.places import Places
from lfssync.records.store import Store, reading

_FACT = "directory"


def roster(configuration: Configuration, places: Places) -> Survey:
    """All mirrors, and why folders that patterns match are not among them.

    Args:
        configuration: What is configured.
        places: Where the mirrors' state is.
    """
    mirrors = list(configuration.mirrors)
    if not configuration.patterns:
        return Survey(tuple(mirrors), ())
    found = survey(configuration.patterns, places)
    mirrors += found.mirrors
    refused = list(found.refused)
    for pattern, name, path in _found_before(configuration.patterns, mirrors, places):
        try:
            mirrors.append(complete(pattern.template, name, path, places))
        except UserError as error:
            refused.append(error)
    return Survey(tuple(mirrors), tuple(refused))


def _found_before(
    patterns: Sequence[MirrorPattern], mirrors: Sequence[Mirror], places: Places
) -> list[tuple[MirrorPattern, str, Path]]:
    """Mirrors that a pattern made before and whose folder is gone, or is a link to where it was moved to."""
    names = {mirror.name for mirror in mirrors}
    directories = {os.path.realpath(mirror.path) for mirror in mirrors}
    try:
        kept = sorted(os.listdir(places.state_dir / "mirrors"))
    except OSError:
        return []  # nothing was mirrored yet, or the state cannot be read: then the passes say so
    before = []
    for name in kept:
        path = None if name in names else remembered(places.state_dir / "mirrors" / name)
        if path is None or (os.path.lexists(path) and not path.is_symlink()):
            continue
        pattern = next((pattern for pattern in patterns if PurePath(path).match(pattern.glob)), None)
        if pattern is not None and os.path.realpath(path) not in directories:
            before.append((pattern, name, path))
    return before


def remembered(state_dir: Path) -> Path | None:
    """The directory that a mirror's state was made for, or None without state, or without files in it."""
    try:
        with reading(state_dir / "state.db") as store:
            # Without files there is nothing to protect.
            directory = store.fact(_FACT) if store is not None and not store.is_empty else None
    except LfssyncError:
        return None  # its own pass cannot use it either, and says so while the mirror is still there
    return Path(directory) if isinstance(directory, str) else None


def remember(store: Store, mirror: Mirror) -> None:
    """Leave in a mirror's store where its directory is."""
    if store.fact(_FACT) != str(mirror.path):
        with store.transaction():
            store.record_facts({_FACT: str(mirror.path)})


def forget(state_dir: Path) -> None:
    """Let a mirror that a pattern made be gone together with its folder; its state stays until it is purged."""
    if (state_dir / "state.db").is_file():
        with Store(state_dir / "state.db") as store, store.transaction():
            store.record_facts({_FACT: None})
