"""Disks that are full, fail, or may not be written: nothing half-made counts, it is told, and it goes on afterwards.

Faults 5, 6, 7 and 8. File systems in memory of just so many bytes, and strace for what no file system does on demand.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.dice import spread, tally
from tests.faults.mounts import own_mounts, resize, tmpfs
from tests.faults.places import Site, site, sync
from tests.faults.scenes import SCENES, besides
from tests.integration.daemons import lfssync, places

PLENTY_BYTES = 64 << 20
PAGE_BYTES = 4096
SIZES_EACH = 6

FULL = re.compile(r"no space left|disk is full|disk I/O error|out of diskspace|couldn't write", re.IGNORECASE)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    with own_mounts(), site("bare", tmp_path) as made:
        yield made


def used_pages(folder: Path) -> int:
    status = os.statvfs(folder)
    return (status.f_blocks - status.f_bfree) * status.f_frsize // PAGE_BYTES


def fails_in_words(words: re.Pattern[str], done: subprocess.CompletedProcess[str]) -> None:
    """A command that did not get done says so and why, in the words of this program."""
    assert done.returncode in (0, 1, 3), done.stderr
    if done.returncode:
        assert words.search(done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert "internal" not in done.stderr


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("full", ["state", "remote"])
def test_a_full_disk(place: Site, full: str, scene: str, tmp_path: Path) -> None:
    """Of whatever size the disk is: what is on the remote is whole, and all arrives once there is room."""
    folder = places().state_dir if full == "state" else place.repository
    SCENES[scene](place, tmp_path)
    place.keep(tmp_path / "start")
    tmpfs(folder, PLENTY_BYTES)
    place.put_back(tmp_path / "start")
    at_first = used_pages(folder)
    sync()
    for pages in spread(used_pages(folder) - at_first, SIZES_EACH):
        tally("full disks")
        resize(folder, PLENTY_BYTES)
        place.put_back(tmp_path / "start")
        resize(folder, (at_first + pages) * PAGE_BYTES)
        fails_in_words(FULL, lfssync("sync"))
        place.assert_whole()
        resize(folder, PLENTY_BYTES)
        sync()
        place.assert_mirrored(besides(scene))
