"""What a commit holds and what lies between two of them, told in the sizes of the *contents*; reads git alone.

Asked by `history`, `releases` and `tags`. The one thing to know: of an LFS object the pointer tells the size, so
nothing is fetched for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from lfssync.git.fastimport import Edit
from lfssync.git.repository import Repository
from lfssync.results import Difference, Version


def files(repository: Repository, revision: str) -> dict[bytes, Version]:
    """All files and links of a commit, by path from the repository's root. Costs what the tree holds."""
    entries = list(repository.entries(revision))
    oids = {oid for _, mode, oid in entries if mode != _SUBMODULE}
    versions = _Versions(repository, oids)
    return {path: versions.of(mode, oid) for path, mode, oid in entries if mode != _SUBMODULE}


def differences(repository: Repository, old: str, new: str) -> list[Difference]:
    """What differs between two trees or commits, by path, sorted."""
    before = {edit.path: edit for edit in repository.differences(new, old)}
    after = {edit.path: edit for edit in repository.differences(old, new)}
    versions = _Versions(repository, {edit.blob_oid for edit in (*before.values(), *after.values()) if edit.blob_oid})

    def side(edit: Edit) -> Version | None:
        return None if edit.blob_oid is None or edit.git_mode is None else versions.of(edit.git_mode, edit.blob_oid)

    return [Difference(path, side(before[path]), side(after[path])) for path in sorted(after)]


def versions(repository: Repository, entries: Sequence[tuple[str, str]]) -> list[Version]:
    """The contents behind git entries, each a mode and a blob."""
    found = _Versions(repository, {oid for _, oid in entries})
    return [found.of(mode, oid) for mode, oid in entries]


_SUBMODULE = "160000"


class _Versions:
    """Sizes and LFS objects of blobs, asked for together."""

    def __init__(self, repository: Repository, oids: set[str]) -> None:
        self._pointers = repository.pointers(oids)
        self._sizes_bytes = repository.sizes_bytes(sorted(oids))

    def of(self, git_mode: str, blob_oid: str) -> Version:
        lfs = self._pointers.get(blob_oid) if git_mode != "120000" else None
        size_bytes = lfs.size_bytes if lfs else self._sizes_bytes.get(blob_oid, 0)
        return Version(git_mode, size_bytes, blob_oid, lfs.oid if lfs else None)
