"""File systems that clone and such that do not: the same contract, the same result, and no second copy on the former.

The tests of the contract run on whatever file system the machine has; here the ones that are about files run on others.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract import test_transfers as contract
from tests.contract.places import KINDS, Place
from tests.contract.test_transfers import source
from tests.faults.mounts import SIZE_BYTES, disk, own_mounts, tmpfs
from tests.helpers import random_bytes, write
from tests.integration.site import Site

__all__ = ["source"]

CLONING = ("btrfs", "xfs")
COPYING = ("ext4", "tmpfs")
MODEL_BYTES = 24 << 20
SLACK_BYTES = 4 << 20
"""What else a sync writes, with what a file system needs to note it."""

ABOUT_FILES = (
    "test_round_trip",
    "test_sizes_around_the_blocks",
    "test_again_does_no_harm",
    "test_a_file_that_is_not_what_was_hashed",
    "test_rotation_takes_the_name_but_not_the_bytes",
    "test_the_remote_shares_no_file_with_us",
    "test_a_truncated_object_on_the_remote_is_replaced",
    "test_a_monitor_that_stops_leaves_nothing_behind",
)


@pytest.fixture(params=[*CLONING, *COPYING])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tmp_path(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    base = tmp_path_factory.mktemp(kind)
    with own_mounts():
        if kind == "tmpfs":
            tmpfs(base / "disk", SIZE_BYTES)
            yield base / "disk"
        else:
            with disk(kind, base / "image", base / "disk"):
                yield base / "disk"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with KINDS["bare"]("bare", tmp_path) as there:
        yield there


for _name in ABOUT_FILES:
    _test = getattr(contract, _name)
    assert "place" in inspect.signature(_test).parameters
    globals()[_name] = _test


def used_bytes(folder: Path) -> int:
    subprocess.run(["sync", "--file-system", folder], timeout=60, check=True)
    status = os.statvfs(folder)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


def is_shared(file: Path) -> bool:
    """Whether a file's bytes are on the disk once for several files. Source: filefrag(8)."""
    listed = subprocess.run(["filefrag", "-v", file], capture_output=True, text=True, timeout=60, check=True).stdout
    extents = [line for line in listed.splitlines() if line.lstrip()[:1].isdigit()]
    assert extents, listed
    return all("shared" in line for line in extents)


def test_a_sync_takes_no_room_where_the_file_system_can_clone(kind: str, tmp_path: Path) -> None:
    site = Site.make(tmp_path)
    content = random_bytes(1, MODEL_BYTES)
    model = write(site.directory / "model.bin", content)
    before = used_bytes(tmp_path)
    site.sync()
    grown = used_bytes(tmp_path) - before
    oid = hashlib.sha256(content).hexdigest()
    stored = site.remote / "lfs/objects" / oid[:2] / oid[2:4] / oid
    if kind in CLONING:
        assert grown < SLACK_BYTES
        assert is_shared(stored)
    else:
        assert MODEL_BYTES <= grown < MODEL_BYTES + SLACK_BYTES
    site.assert_mirrored()
    with model.open("r+b") as file:  # a clone is not a link: what is written here stays here
        file.write(b"!" * 100_000)
    assert hashlib.sha256(stored.read_bytes()).hexdigest() == oid
    site.sync()
    site.assert_mirrored()
