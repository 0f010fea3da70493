"""Makes the store tell of exactly the files of the `mirrored` tree, whatever happened to either.

First thing in a pass. The one thing to know: git has the last word about *what* is mirrored, the store only knows
under which signature it was read; a path whose signature is unknown is simply read again. So the store may be
deleted, rolled back or garbage at any time (fault 12).
"""

from __future__ import annotations

import json
import os
from dataclasses import replace

from lfssync.git.repository import MIRRORED, Refs, Repository
from lfssync.model import Known, Mirror
from lfssync.records.store import Store

_GITLINK = "160000"


def reconcile(store: Store, repository: Repository, refs: Refs, mirror: Mirror, is_working_copy: bool) -> Refs:
    """Bring the store in line with git, at no cost when it already is.

    Args:
        store: What is recorded.
        repository: The mirror's git dir.
        refs: Where its refs stand.
        mirror: The configuration, whose branch or sub-folder may have changed.
        is_working_copy: Whether the directory is a working copy of its own: before our first commit there, what its
            branch holds is what the directory held.

    Returns:
        Where the refs stand now.
    """
    here = place(mirror)
    recorded_place = store.fact("place")
    mirrored = refs.mirrored
    if mirrored and recorded_place != here and (recorded_place is not None or repository.note(mirrored) != here):
        repository.update_refs({MIRRORED: (mirrored, None)})
        mirrored = None
        refs = replace(refs, mirrored=None)
    if recorded_place == here and store.fact("mirrored") == mirrored and (mirrored or not is_working_copy):
        return refs
    source = mirrored or (refs.head if is_working_copy else None)
    prefix = os.fsencode(mirror.into) + b"/" if mirror.into else b""
    tree = {
        path.removeprefix(prefix): (mode, oid)
        for path, mode, oid in (repository.entries(source) if source else ())
        if path.startswith(prefix) and mode != _GITLINK
    }
    recorded = {path: (known.git_mode, known.blob_oid) for path, known in store.everything()}
    with store.transaction():
        store.record(
            ((path, Known(*entry, None, None)) for path, entry in tree.items() if recorded.get(path) != entry),
            [path for path, entry in recorded.items() if tree.get(path) != entry],
        )
        store.record_facts({"mirrored": mirrored, "place": here})
    return refs


def place(mirror: Mirror) -> str:
    """Where in the repository a mirror's files go, in one line; kept with the picture of the directory, too."""
    return json.dumps([mirror.branch, mirror.into])
