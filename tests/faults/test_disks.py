"""Disks that are full, fail, or may not be written: nothing half-made counts, it is told, and it goes on afterwards.

Faults 5, 6, 7 and 8. File systems in memory of just so many bytes, and strace for what no file system does on demand.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.faults.dice import spread, tally
from tests.faults.mounts import mount, own_mounts, resize, tmpfs
from tests.faults.places import Site, site, sync
from tests.faults.scenes import SCENES, besides
from tests.faults.tracing import Traced, failing
from tests.helpers import git, random_bytes, write
from tests.integration.daemons import LFSSYNC, PROJECT, lfssync, places

PLENTY_BYTES = 64 << 20
PAGE_BYTES = 4096
SIZES_EACH = 6
PLACES_EACH = 6
SYNCS_EACH = 4

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


_SYNCED = re.compile(r"(?:fsync|fdatasync)\(\d+<([^>]*)>")
# Names that are others each time.
_OWN_NAME = re.compile(r"tmp_|lfssync-|/incoming-")
BROKEN = re.compile(r"input/output error|I/O error|quota exceeded|couldn't write", re.IGNORECASE)


def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("scene", SCENES)
def test_a_disk_that_does_not_keep_what_it_is_told_to(place: Site, scene: str, tmp_path: Path) -> None:
    """Each file and folder that is synced in a pass, in turn, cannot be: then nothing is claimed."""
    SCENES[scene](place, tmp_path)
    place.keep(tmp_path / "start")
    store = str(places().mirror_state("model"))
    whole = Traced([*LFSSYNC, "sync"], tmp_path / "log").run()
    synced = list(dict.fromkeys(found[1] for call in whole.calls if (found := _SYNCED.search(call))))
    fixed = [path for path in synced if not _OWN_NAME.search(path)]
    cases = [("1+", fixed[number - 1]) for number in spread(len(fixed), PLACES_EACH)]
    cases += [(str(number), "") for number in spread(len(synced), SYNCS_EACH)]
    for when, path in cases:
        tally("failed syncs")
        place.put_back(tmp_path / "start")
        done = run(failing([*LFSSYNC, "sync"], "fsync,fdatasync", "EIO", when, path))
        fails_in_words(BROKEN, done)
        is_of_the_store = path.startswith(f"{store}/state.db") or path == store  # which claims nothing by itself
        assert done.returncode or not path or is_of_the_store, f"{path} is not synced, and nobody says so"
        place.assert_whole()
        place.grow_old()
        sync()
        place.assert_mirrored(besides(scene))


def test_a_quota_that_is_used_up(place: Site, tmp_path: Path) -> None:
    SCENES["first"](place, tmp_path)
    for calls in ("pwrite64", "write", "mkdir"):
        for when in ("2+", "20+"):
            done = run(failing([*LFSSYNC, "sync"], calls, "EDQUOT", when, str(places().state_dir)))
            fails_in_words(BROKEN, done)
            place.assert_whole()
    sync()
    place.assert_mirrored()


@pytest.mark.parametrize("what", ["state", "remote"])
def test_a_disk_that_may_only_be_read(place: Site, what: str, tmp_path: Path) -> None:
    folder = places().state_dir if what == "state" else place.repository
    tmpfs(folder, PLENTY_BYTES)
    if what == "remote":
        git("init", "--quiet", "--bare", cwd=folder)
    SCENES["first"](place, tmp_path)
    sync()
    write(place.directory / "weights-0.bin", random_bytes(5, 200_000))
    mount("-o", "remount,ro", folder)
    done = lfssync("sync")
    assert done.returncode == 1
    assert re.search("read-?only", done.stderr, re.IGNORECASE), done.stderr
    assert "Traceback" not in done.stderr
    mount("-o", "remount,rw", folder)
    sync()
    place.assert_mirrored()


def test_few_descriptors(place: Site) -> None:
    """More LFS files than may be open at once, and a limit that a shell may set."""
    for number in range(200):
        write(place.directory / f"{number}.bin", b"%d" % number)
    done = run(["prlimit", "--nofile=64:64", *LFSSYNC, "sync"])
    assert done.returncode == 0, done.stderr
    place.assert_mirrored()
