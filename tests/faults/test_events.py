"""Events that are lost, and a disk that goes and comes back, under a running daemon: in the end all is on the remote.

Faults 13 and 17.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

from lfssync.model import State
from tests.faults.mounts import disk, mounted, own_mounts, tmpfs
from tests.helpers import assert_whole, random_bytes, tree, write
from tests.integration.daemons import Daemon, Pair, configure, lfssync, remote_tree, soon, state_is, status

PROCESSES = 8
FILES_EACH = 5000

FOLDERS_EACH = 50
MEMORY_BYTES = 1 << 30

WRITER = """
import os, sys
folder, count, folders = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for number in range(count):
    with open(os.path.join(folder, f"d{number % folders}", f"f{number}"), "w") as file:
        file.write(f"{folder} {number}")
"""


def test_40000_files_from_8_processes_all_arrive(tmp_path: Path) -> None:
    """The daemon stands still at first, so that the kernel has nowhere to put most of the events."""
    with own_mounts():  # in memory: to delete so many files from a disk takes longer than all the rest
        tmpfs(tmp_path / "memory", MEMORY_BYTES)
        storm(Pair.make(tmp_path / "memory"), tmp_path / "log")


def storm(pair: Pair, log: Path) -> None:
    configure(pair.table())
    folders = [pair.directory / f"w{number}" for number in range(PROCESSES)]
    for folder in folders:
        for number in range(FOLDERS_EACH):
            (folder / f"d{number}").mkdir(parents=True)
    with Daemon(log).start() as daemon, contextlib.ExitStack() as stack:
        soon(lambda: not status().state.is_working, status)
        daemon.signal(signal.SIGSTOP)
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, str(folder), str(FILES_EACH), str(FOLDERS_EACH)])
            for folder in folders
        ]
        for writer in writers:
            stack.callback(writer.kill)
        done = [writer.wait(120) for writer in writers[: PROCESSES // 2]]
        daemon.signal(signal.SIGCONT)  # the others may still write
        done += [writer.wait(120) for writer in writers[PROCESSES // 2 :]]
        assert done == [0] * PROCESSES
        waited = lfssync("wait", "--timeout", "4m", timeout_s=250)
        assert waited.returncode == 0, waited.stderr
        daemon.says("were lost")
    there = remote_tree(pair.remote)
    assert len(there) == PROCESSES * FILES_EACH
    assert there == tree(pair.directory)


def test_a_disk_that_was_unmounted_goes_on_when_it_is_back(tmp_path: Path) -> None:
    pair, image = Pair.make(tmp_path), tmp_path / "image"
    configure(pair.table(rescan="1s"))
    with own_mounts():
        with disk("ext4", image, pair.directory):
            (pair.directory / "lost+found").rmdir()
            for number in range(20):
                write(pair.directory / f"{number}.bin", random_bytes(number, 1000))
            daemon = Daemon(tmp_path / "log").start()
            pair.arrives()
            soon(state_is(State.IDLE), status)
        with daemon:
            soon(state_is(State.BLOCKED), status)
            assert len(remote_tree(pair.remote)) == 20
            with mounted(image, pair.directory):
                soon(state_is(State.IDLE), status)
                write(pair.directory / "after.bin", random_bytes(100, 1000))
                (pair.directory / "0.bin").unlink()
                pair.arrives()
                daemon.stop()
    assert_whole(pair.remote)
    assert len(remote_tree(pair.remote)) == 20
