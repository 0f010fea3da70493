"""A file that was read is held until it is on the remote, and a process never holds more than it may."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from pathlib import Path

from lfssync.line.pins import Pins
from lfssync.line.pipeline import Order
from lfssync.line.stage import Policy, Stage, release
from lfssync.line.workbench import Session
from lfssync.model import Change, Plan, Progress, Signature, Staged, State, silent
from lfssync.service import delivering
from tests.helpers import objects_of_history, random_bytes
from tests.integration.daemons import LFSSYNC, PROJECT, Daemon, Pair, configure
from tests.integration.site import Site

FEW = 64


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW, FEW))


def test_what_rotation_deletes_during_the_upload_arrives(tmp_path: Path) -> None:
    site = Site.make(tmp_path)
    contents = {f"weights/{part}.bin".encode(): random_bytes(part, 2 << 20) for part in range(5)}
    site.lay(contents)

    def rotate(event: Plan | Progress) -> None:
        """Everything has been read, nothing has been sent."""
        if isinstance(event, Plan) and event.state is State.UPLOADING:
            for path in contents:
                (site.directory / os.fsdecode(path)).rename(tmp_path / os.path.basename(os.fsdecode(path)))
                (tmp_path / os.path.basename(os.fsdecode(path))).unlink()

    delivering.sync(site.mirror, site.state, Order(), Session(rotate))
    assert len(objects_of_history(site.remote)) == 5
    assert set(site.remote_tree()) == set(contents)


def test_no_more_is_read_ahead_than_a_share(tmp_path: Path) -> None:
    changes = []
    for number in range(200):
        (tmp_path / f"{number}.bin").write_bytes(random_bytes(number, 5000))
        status = os.stat(tmp_path / f"{number}.bin")
        changes.append(Change(b"%d.bin" % number, Signature.of(status), None))

    def held() -> int:
        links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
        return sum(os.path.exists(link) and os.readlink(link).endswith(".bin") for link in links)

    root_fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    stage = Stage(root_fd, Policy(lfs_threshold_bytes=10, quiet_s=0.0), {}, lambda *_: None, silent)
    most = 0
    try:
        with Pins(lambda: 164).share() as share:  # so that 25 may be read ahead
            assert share.reads == 25
            for result in stage.run(changes, share):
                assert isinstance(result, Staged)
                release([result])
                time.sleep(0.01)
                most = max(most, held())
    finally:
        os.close(root_fd)
    assert 0 < most <= 25 + 1


def test_a_process_with_few_descriptors_gets_everything_across(tmp_path: Path) -> None:
    pair = Pair.make(tmp_path)
    for number in range(300):
        (pair.directory / f"{number}.bin").write_bytes(random_bytes(number, 70_000))
    configure(pair.table(quiet="100ms"))
    done = subprocess.run(
        [*LFSSYNC, "sync"], cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False, preexec_fn=limited
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "waiting" not in done.stdout
    pair.assert_delivered(tmp_path)


def test_mirrors_share_what_there_is(tmp_path: Path) -> None:
    """Several at a time, in a daemon that may not raise its limit by much."""
    pairs = [Pair.make(tmp_path, f"model{number}") for number in range(6)]
    for pair in pairs:
        for number in range(150):
            (pair.directory / f"{number}.bin").write_bytes(random_bytes(number, 70_000))
    configure(*(pair.table() for pair in pairs))
    few = ("sh", "-c", 'ulimit -n 160 && exec "$@"', "few")
    with Daemon(tmp_path / "daemon.log", few).start() as daemon:
        for pair in pairs:
            pair.arrives()
        said = daemon.said()
    assert "oo many" not in said
    assert "waits" not in said
    assert "WARNING" not in said
