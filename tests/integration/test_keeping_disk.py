"""Copies on real file systems: clones where they can be had, and never half a copy."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from lfssync.line.keeping import Keeper, Room
from lfssync.line.outofreach import OutOfReachError
from lfssync.model import STILL_CHANGING, LfsObject, silent
from lfssync.records.report import read_status
from lfssync.transfer import Source
from tests.faults.mounts import disk, own_mounts, tmpfs
from tests.helpers import make_bare, objects_of_history, random_bytes, write
from tests.integration.site import Site

SIZE = 3 << 20
NO_ROOM = 1 << 60
ANY_ROOM = Room(1 << 60, 0, 0, 1 << 60)


@pytest.mark.parametrize(("kind", "clones"), [("btrfs", True), ("xfs", True), ("ext4", False)])
def test_a_clone_needs_no_room(tmp_path: Path, kind: str, clones: bool) -> None:
    """Directory and state lie on one disk, of which nothing may be taken any more."""
    remote = make_bare(tmp_path / "model.git")
    with own_mounts(), disk(kind, tmp_path / "image", tmp_path / "disk"):
        site = Site.make(tmp_path / "disk", remote=remote, headroom_bytes=NO_ROOM)
        site.put({b"config.json": b"{}"})
        remote.rename(tmp_path / "away.git")
        site.lay({b"model.bin": random_bytes(1, SIZE)})
        with pytest.raises(OutOfReachError) as met:
            site.sync()
        assert met.value.result.added == int(clones)
        assert len(read_status(site.mirror, site.state).deferred) == int(not clones)
        site.lay({b"model.bin": None})
        (tmp_path / "away.git").rename(remote)
        site.sync()
        assert len(objects_of_history(remote)) == int(clones)
        site.assert_mirrored()


def keeper(folder: Path) -> Keeper:
    return Keeper(folder / "objects", folder, 0, 1 << 60, threading.Event())


def source(path: Path) -> Source:
    content = path.read_bytes()
    lfs = LfsObject(hashlib.sha256(content).hexdigest(), len(content))
    return Source(lfs, os.open(path, os.O_RDONLY), os.fsencode(path.name))


def test_a_disk_that_is_full_after_all_keeps_no_half_copy(tmp_path: Path) -> None:
    sources = [source(write(tmp_path / "large", random_bytes(1, SIZE))), source(write(tmp_path / "small", b"small"))]
    try:
        with own_mounts():
            tmpfs(tmp_path / "disk", 1 << 20)
            kept = keeper(tmp_path / "disk")
            kept.folder.mkdir()
            waits = kept.keep(sources, ANY_ROOM, silent)
            assert waits == {sources[0].lfs: "the remote is out of reach, and there is no room here to keep a copy"}
            assert not kept.has(sources[0].lfs)
            assert kept.file(sources[1].lfs).read_bytes() == b"small"
            assert [path.name for path in kept.folder.rglob("*") if path.is_file()] == [sources[1].lfs.oid]
    finally:
        for one in sources:
            os.close(one.fd)


def test_a_file_that_changed_since_it_was_hashed_is_not_kept(tmp_path: Path) -> None:
    one = source(write(tmp_path / "file", random_bytes(1, SIZE)))
    try:
        with (tmp_path / "file").open("r+b") as file:
            file.write(b"other")
        kept = keeper(tmp_path)
        kept.folder.mkdir()
        assert kept.keep([one], ANY_ROOM, silent) == {one.lfs: STILL_CHANGING}
        assert not kept.has(one.lfs)
    finally:
        os.close(one.fd)


def test_what_is_kept_counts(tmp_path: Path) -> None:
    one = source(write(tmp_path / "file", random_bytes(1, SIZE)))
    try:
        kept = keeper(tmp_path)
        before = kept.room()
        assert kept.keep([one, one], before, silent) == {}
        assert kept.room().kept_bytes == SIZE
        assert kept.room().left_bytes <= before.left_bytes - SIZE
    finally:
        os.close(one.fd)
    kept.let_go()
    assert not kept.folder.exists()
