"""Many mirrors in one daemon: idle ones have no threads of their own, and a host that hangs takes only its share."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lfssync.configuration import config
from lfssync.line.inotify import READERS
from lfssync.model import State
from lfssync.records.roster import roster
from lfssync.service import operations
from tests.helpers import write
from tests.integration.daemons import Daemon, Pair, configure, places, remote_tree, soon

MIRRORS = 40
HANGING = 10


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    return Daemon(tmp_path / "daemon.log")


def unfinished() -> list[str]:
    found = operations.status(places(), roster(config.load(places()), places()).mirrors)
    return [one.name for one in found if one.state is not State.IDLE or one.verified_at is None]


def test_idle_mirrors_take_no_threads_and_no_descriptors_of_their_own(tmp_path: Path, daemon: Daemon) -> None:
    folders = [write(tmp_path / "m" / f"m{number:02}" / "file", b"%d" % number).parent for number in range(MIRRORS)]
    configure(*({"path": folder} for folder in folders))
    with daemon.start():
        soon(lambda: not unfinished(), unfinished)
        soon(lambda: len(daemon.threads()) <= len(("main", "control", "surroundings")) + READERS, daemon.threads)
        assert len(daemon.descriptors()) < 3 * READERS + 12, daemon.descriptors()
        before, began = daemon.cpu_s(), os.times().elapsed
        threading.Event().wait(10)
        used_s, took_s = daemon.cpu_s() - before, os.times().elapsed - began
        print(f"{100 * used_s / took_s:.2f} % of a processor with {MIRRORS} idle mirrors")
        assert used_s < took_s * 0.05
        write(folders[-1] / "another", b"x")  # not one of them is asleep for good
        soon(lambda: b"another" in remote_tree(places().embedded_remote(folders[-1].name)), daemon.said)


@contextlib.contextmanager
def hanging() -> Iterator[tuple[int, list[socket.socket]]]:
    """The port of somebody who takes connections and never says a word, and those that he has."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(listener.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1], taken
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in taken:
                connection.close()


def test_a_host_that_hangs_holds_up_nobody_else(tmp_path: Path, daemon: Daemon) -> None:
    pair = Pair.make(tmp_path, "fine")
    tables: list[dict[str, object]] = []
    with hanging() as (port, taken):
        for number in range(HANGING):
            folder = write(tmp_path / f"h{number}" / "model.bin", os.urandom(2 << 20)).parent
            tables.append({"path": folder, "remote": f"http://127.0.0.1:{port}/me/{number}.git"})
        configure(*tables, pair.table(), defaults={"shutdown_grace": "100ms"})
        with daemon.start():
            soon(lambda: len(taken) >= 2, daemon.said)  # passes hang there by now, and will for a minute and more
            for number in range(3):
                write(pair.directory / f"file-{number}", b"x")
                pair.arrives(timeout_s=25.0)
