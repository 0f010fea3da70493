"""What lets an upload go without a second hash: no file changes without its signature showing it, where that is said.

Faults 21 and 23 at the level of the kernel: on the file systems that `settle` believes, real writers of every kind are
tried, and on the others staging must not claim anything.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lfssync.line.pins import PINS
from lfssync.line.settle import Writer, probe, stamping_devices, wait_if_racy
from lfssync.line.stage import Policy, Stage, release
from lfssync.model import Change, LfsObject, Signature, Staged, silent
from lfssync.transfer.copying import copy_checked
from tests.faults.mounts import SIZE_BYTES, disk, own_mounts, tmpfs
from tests.helpers import random_bytes

BELIEVED = ("ext4", "xfs")
OTHERS = ("btrfs", "tmpfs")
SIZE = 300_000


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of its own, of the kind that the test names."""
    kind = str(request.param)
    with own_mounts():
        if kind == "tmpfs":
            tmpfs(tmp_path / "disk", SIZE_BYTES)
            yield tmp_path / "disk"
        else:
            with disk(kind, tmp_path / "image", tmp_path / "disk"):
                yield tmp_path / "disk"


def staged(folder: Path, *, earlier: dict[bytes, tuple[Signature, LfsObject]] | None = None) -> Staged:
    """A file as staging reads it."""
    root_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        change = Change(b"model.bin", Signature.of((folder / "model.bin").stat()), None)
        stage = Stage(
            root_fd, Policy(lfs_threshold_bytes=10, quiet_s=0.0), {}, lambda *_: None, silent, hashed=earlier or {}
        )
        with PINS.share() as share:
            (one,) = stage.run([change], share)
        assert isinstance(one, Staged)
        release([one])
        return one
    finally:
        os.close(root_fd)


@pytest.mark.parametrize(
    ("folder", "expected"), [(kind, kind in BELIEVED) for kind in (*BELIEVED, *OTHERS)], indirect=["folder"]
)
def test_only_where_every_write_is_stamped_is_anything_claimed(folder: Path, expected: bool) -> None:
    (folder / "model.bin").write_bytes(random_bytes(1, SIZE))
    assert staged(folder).shows_changes is expected


@pytest.mark.parametrize("folder", BELIEVED[:1], indirect=True)
def test_nothing_is_claimed_about_what_was_not_hashed_now(folder: Path) -> None:
    (folder / "model.bin").write_bytes(random_bytes(1, SIZE))
    one = staged(folder)
    assert one.lfs is not None
    again = staged(folder, earlier={one.path: (one.signature, one.lfs)})
    assert (again.lfs, again.shows_changes) == (one.lfs, False)


def test_a_device_with_something_else_on_it_as_well_is_not_believed(tmp_path: Path) -> None:
    lines = [
        "36 35 8:1 / / rw - ext4 /dev/sda1 rw",
        "37 35 8:2 / /other rw,relatime shared:1 - ext4 /dev/sdb1 rw",
        "38 35 8:2 / /strange rw - vfat /dev/sdb1 rw",
        "39 35 0:40 / /far rw - nfs4 server:/far rw",
        "40 35 8:3 /a\\040b /xfs rw master:2 - xfs /dev/sdc rw",
    ]
    (tmp_path / "mountinfo").write_text("\n".join(lines) + "\n")
    devices = stamping_devices(tmp_path / "mountinfo")
    assert {minor for minor in range(9) if os.makedev(8, minor) in devices} == {1, 3}
    assert os.makedev(0, 40) not in devices
    assert os.makedev(8, 1) not in stamping_devices(tmp_path / "nowhere")


# ---- what a kernel does


def _write(file: Path, at: int) -> None:
    with file.open("r+b", buffering=0) as opened:
        opened.seek(at)
        opened.write(b"\xff")


def _map(file: Path, at: int) -> None:
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as mapped:
        mapped[at] ^= 0xFF


def _map_filled(file: Path, at: int) -> None:
    with file.open("r+b") as opened:
        flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
        with mmap.mmap(opened.fileno(), 0, flags=flags) as mapped:
            mapped[at] ^= 0xFF


def _map_and_close_first(file: Path, at: int) -> None:
    fd = os.open(file, os.O_RDWR)
    mapped = mmap.mmap(fd, 0)
    os.close(fd)
    mapped[at] ^= 0xFF
    mapped.close()


def _copy_range(file: Path, at: int) -> None:
    with file.open("r+b") as opened:
        os.copy_file_range(opened.fileno(), opened.fileno(), 1, at // 2, at)


def _grow(file: Path, _: int) -> None:
    with file.open("r+b") as opened:
        os.posix_fallocate(opened.fileno(), 0, SIZE + 10)


WAYS: tuple[Callable[[Path, int], None], ...] = (
    _write, _map, _map_filled, _map_and_close_first, _copy_range, _grow, os.truncate,
)  # fmt: skip


@pytest.mark.parametrize("folder", BELIEVED, indirect=True)
@pytest.mark.parametrize("is_on_disk", [True, False], ids=["written back", "dirty"])
def test_a_kernel_stamps_every_kind_of_write(folder: Path, is_on_disk: bool) -> None:
    """Seen through a descriptor that was open before."""
    file, dice = folder / "model.bin", random.Random(1)
    for number in range(70):
        file.write_bytes(random_bytes(number, SIZE))
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if is_on_disk:
                os.fsync(fd)
            before = wait_if_racy(fd, time.time_ns())
            assert probe(fd) is Writer.ABSENT
            WAYS[number % len(WAYS)](file, dice.randrange(SIZE // 2, SIZE - 1))
            assert Signature.of(os.fstat(fd)) != Signature.of(before), WAYS[number % len(WAYS)]
        finally:
            os.close(fd)
        file.unlink()


# ---- copies to a repository on a disk


LARGE = 40 << 20
"""More than is handed to the disk at a time."""


def copied(folder: Path, oid: str, touch: Callable[[Path], object], other: Path | None = None) -> tuple[bool, bytes]:
    """Copy a file that was hashed and that something happens to on the way; whether that is right, and the copy."""
    file, target = folder / "model.bin", (other or folder) / "copy.bin"
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        signature = Signature.of(wait_if_racy(fd, time.time_ns()))
        assert probe(fd) is Writer.ABSENT
        touched: list[int] = []

        def advance(done: int) -> None:
            if not touched:
                touch(file)
            touched.append(done)

        is_right = copy_checked(fd, LfsObject(oid, LARGE), target, advance, signature)
        assert touched[-1:] in ([LARGE], []) or not is_right
    finally:
        os.close(fd)
    return is_right, target.read_bytes() if target.exists() else b""


def _flip_the_end(file: Path) -> None:
    _map(file, LARGE - 1)


@pytest.mark.parametrize("folder", BELIEVED, indirect=True)
def test_a_copy_is_the_object_or_nothing(folder: Path) -> None:
    content = random_bytes(1, LARGE)
    oid = hashlib.sha256(content).hexdigest()
    for touch in (lambda file: file.rename(file.with_suffix(".old")), Path.unlink, lambda file: file.chmod(0o600)):
        (folder / "model.bin").write_bytes(content)
        assert copied(folder, oid, touch) == (True, content)
        (folder / "copy.bin").unlink()


@pytest.mark.parametrize("folder", ["ext4"], indirect=True)
def test_a_copy_of_a_file_that_is_written_meanwhile_goes(folder: Path) -> None:
    content = random_bytes(1, LARGE)
    oid = hashlib.sha256(content).hexdigest()
    for touch in (_flip_the_end, lambda file: os.truncate(file, LARGE - 1)):
        (folder / "model.bin").write_bytes(content)
        assert copied(folder, oid, touch) == (False, b"")


@pytest.mark.parametrize("folder", BELIEVED, indirect=True)
def test_an_untouched_file_is_not_hashed_for_its_copy(folder: Path) -> None:
    content = random_bytes(1, LARGE)
    (folder / "model.bin").write_bytes(content)
    assert copied(folder, "0" * 64, lambda _: None) == (True, content)


@pytest.mark.parametrize("folder", ["ext4"], indirect=True)
def test_a_copy_to_another_file_system(folder: Path, tmp_path: Path) -> None:
    content = random_bytes(1, LARGE)
    (folder / "model.bin").write_bytes(content)
    tmpfs(tmp_path / "other", SIZE_BYTES)
    oid = hashlib.sha256(content).hexdigest()
    assert copied(folder, oid, lambda _: None, tmp_path / "other") == (True, content)
