"""Time stamps that move seldom: on a file system that knows whole seconds only, no change goes unnoticed.

Fault 21. What is written twice in one second, with the same size, has the same signature both times; so nothing is read
in the second in which it was written.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lfssync.line.pipeline import Order
from lfssync.line.settle import RACY_NS, wait_if_racy
from lfssync.line.workbench import Session
from lfssync.model import Signature
from lfssync.service import delivering
from tests.faults.mounts import disk, own_mounts
from tests.helpers import random_bytes
from tests.integration.site import Site

SIZE = 50_000


@pytest.fixture
def seldom(tmp_path: Path) -> Iterator[Path]:
    """A folder whose files are stamped with whole seconds."""
    with own_mounts(), disk("ext4 of old", tmp_path / "image", tmp_path / "disk"):
        (tmp_path / "disk" / "probe").touch()
        assert (tmp_path / "disk" / "probe").stat().st_ctime_ns % 10**9 == 0
        yield tmp_path / "disk"


def early_in_a_second() -> None:
    """Wait for the beginning of one."""
    deadline = time.monotonic() + 5
    while time.time() % 1 > 0.1:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("name", [b"model.bin", b"notes.txt"])
def test_a_file_that_is_written_again_in_the_same_second_arrives(seldom: Path, name: bytes) -> None:
    site = Site.make(seldom)
    first, second = random_bytes(1, SIZE), random_bytes(2, SIZE)
    early_in_a_second()
    site.lay({name: first})
    writer = threading.Timer(0.3, lambda: site.lay({name: second}))
    writer.start()
    delivering.sync(site.mirror, site.state, Order(), Session(login=site.login))
    writer.join()
    site.sync()
    site.assert_mirrored()
    assert (site.clone() / os.fsdecode(name)).read_bytes() == second


def test_what_is_looked_at_is_older_than_a_tick_or_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it is written while that is waited for."""
    file, waits = tmp_path / "model.bin", list[float]()
    file.write_bytes(b"x" * SIZE)
    sleep, rests_after = time.sleep, 10

    def wait(seconds: float) -> None:
        sleep(seconds)
        waits.append(seconds)
        if len(waits) < rests_after:
            with file.open("r+b") as opened:
                opened.write(os.urandom(8))

    monkeypatch.setattr(time, "sleep", wait)
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        assert wait_if_racy(fd) is None
        rests_after = len(waits) + 2
        status = wait_if_racy(fd)
        assert status is not None
        assert len(waits) == rests_after
        assert time.time_ns() - status.st_ctime_ns >= RACY_NS
        assert Signature.of(status) == Signature.of(os.fstat(fd))
    finally:
        os.close(fd)
