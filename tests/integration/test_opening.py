"""Files opened one after the other beneath a directory: each is its own in whatever order, and no link is followed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lfssync.line.opening import Content, Folder
from tests.helpers import write

PATHS = (b"a/a/x", b"b", b"a/x", b"a/a/y", b"a/b", b"c/a/x", b"b")


@pytest.mark.parametrize("order", [PATHS, PATHS[::-1], sorted(PATHS)])
def test_each_file_is_its_own(order: list[bytes], tmp_path: Path) -> None:
    for path in PATHS:
        write(tmp_path / os.fsdecode(path), path)
    root = os.open(tmp_path, os.O_RDONLY)
    before = len(os.listdir("/proc/self/fd"))
    try:
        with Folder(root) as folder:
            for path in order:
                fd = folder.open(path)
                assert os.read(fd, 100) == path
                os.close(fd)
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        os.close(root)


def test_no_link_is_followed_and_the_next_file_is_found_all_the_same(tmp_path: Path) -> None:
    write(tmp_path / "real/x", b"1")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real/y").symlink_to("x")
    root = os.open(tmp_path, os.O_RDONLY)
    try:
        with Folder(root) as folder:
            for path in (b"link/x", b"real/y", b"absent/x", b"real/absent"):
                with pytest.raises(OSError, match=r"Not a directory|Too many levels|No such file"):
                    folder.open(path)
                os.close(folder.open(b"real/x"))
    finally:
        os.close(root)


@pytest.mark.parametrize("size_bytes", [0, 10, 64 << 10, (64 << 10) + 1])
def test_any_range_is_what_the_file_holds(size_bytes: int, tmp_path: Path) -> None:
    text = os.urandom(size_bytes)
    fd = os.open(write(tmp_path / "x", text), os.O_RDONLY)
    try:
        content = Content(fd, size_bytes)
        for offset in (0, 1, size_bytes // 2, size_bytes, size_bytes + 5):
            assert content.at(7, offset) == text[offset : offset + 7]
        assert content.at(size_bytes + 9, 0) == text
    finally:
        os.close(fd)
