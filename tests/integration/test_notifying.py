"""What the daemon tells a service manager, over a real socket; `test_service` has a real systemd at the other end."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.helpers import write
from tests.integration.daemons import PATIENCE_S, Daemon, Pair, configure, lfssync, soon, write_configuration

WATCHDOG_S = 0.5
_HANGING_S = WATCHDOG_S * 5


@dataclass
class Manager:
    """The other end.

    Args:
        socket: Where words come in.
        address: What it is called.
        heard: All that came.
    """

    socket: socket.socket
    address: str
    heard: list[str] = field(default_factory=list)

    def hear(self, beginning: str) -> str:
        """Wait for words that begin so."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            assert time.monotonic() < deadline, f"{beginning} is not in {self.heard}"
            self.heard.append(self.socket.recv(4096).decode())
            if self.heard[-1].startswith(beginning):
                return self.heard[-1]

    def is_silent(self, about: str, for_s: float) -> bool:
        """Whether no such words come for so long, once those that are under way have been read."""
        quiet_since = time.monotonic()
        deadline = quiet_since + PATIENCE_S
        self.socket.settimeout(0.05)
        try:
            while time.monotonic() < min(quiet_since + for_s, deadline):
                try:
                    said = self.socket.recv(4096).decode()
                except TimeoutError:
                    continue
                self.heard.append(said)
                if said.startswith(about):
                    quiet_since = time.monotonic()
            return time.monotonic() < deadline
        finally:
            self.socket.settimeout(PATIENCE_S)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """One who listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
        end.settimeout(PATIENCE_S)
        yield Manager(end, str(tmp_path / "notify"))


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """A mirror."""
    return Pair.make(tmp_path)


def daemon(manager: Manager, tmp_path: Path, passes: str = "", **environment: str) -> Daemon:
    """A daemon that speaks to it.

    Args:
        manager: Who listens.
        tmp_path: Where its log goes.
        passes: What the passes do instead of their work: lines of Python; `stop` is their word to stop.
        environment: More variables.
    """
    given = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": f"{WATCHDOG_S * 1e6:.0f}"} | environment
    wrapper: tuple[str, ...] = ()
    if passes:
        script = tmp_path / "hanging.py"
        script.write_text(
            "import sys, threading, time\n"
            "from lfssync.commandline.cli import main\n"
            "from lfssync.errors import StoppedError\n"
            "from lfssync.lifeline import silent\n"
            "from lfssync.line import pipeline\n"
            "def run_pass(mirror, state_dir, order, session):\n"
            "    stop = session.stop\n"
            f"    {passes}\n"
            "    raise StoppedError\n"
            "pipeline.run_pass = run_pass\n"
            "sys.exit(main(['run']))\n"
        )
        wrapper = (sys.executable, str(script))
    return Daemon(tmp_path / "log", wrapper, given)


def test_from_the_start_to_the_end(manager: Manager, pair: Pair, tmp_path: Path) -> None:
    configure(pair.table())
    write(pair.directory / "file", b"1")
    with daemon(manager, tmp_path).start() as started:
        assert manager.hear("READY=1") == f"READY=1\nMAINPID={started.pid}"
        manager.hear("STATUS=1 mirror: idle")
        manager.hear("WATCHDOG=1")
        manager.hear("WATCHDOG=1")
        before_us = time.monotonic_ns() // 1000
        started.signal(signal.SIGHUP)
        _, moment = manager.hear("RELOADING=1").splitlines()
        assert before_us <= int(moment.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
        manager.hear("READY=1")
    assert manager.hear("STOPPING=1").splitlines()[1].startswith("STATUS=")


def test_a_configuration_that_is_wrong_ends_the_reload_all_the_same(
    manager: Manager, pair: Pair, tmp_path: Path
) -> None:
    configure(pair.table())
    with daemon(manager, tmp_path).start() as started:
        manager.hear("READY=1")
        write_configuration("[[mirror]]\npath = 3\n")
        started.signal(signal.SIGHUP)
        manager.hear("RELOADING=1")
        manager.hear("READY=1")
        started.says("the configuration stays as it was")


@pytest.mark.parametrize(
    "passes",
    ["threading.Event().wait()", "threading.Lock().acquire(); l = threading.Lock(); l.acquire(); l.acquire()"],
)
def test_the_watchdog_hears_nothing_of_a_pass_that_hangs(
    manager: Manager, pair: Pair, tmp_path: Path, passes: str
) -> None:
    configure(pair.table())
    started = daemon(manager, tmp_path, passes).start()
    manager.hear("READY=1")
    manager.hear("WATCHDOG=1")
    assert manager.hear("STATUS=model: hangs").endswith("to be started anew")
    assert manager.is_silent("WATCHDOG=1", WATCHDOG_S * 4)
    started.signal(signal.SIGABRT)  # as systemd does then
    assert started.process
    assert started.process.wait(PATIENCE_S) == -signal.SIGABRT
    started.says("model: hangs: nothing has moved for")
    started.says("in run_pass")  # where it hung


@pytest.mark.parametrize(
    "passes",
    ["while not stop.wait(0.1): pass", "stop.wait(60)", "with silent(stop, 60): threading.Event().wait(6)"],
    ids=["slow", "waits", "waits for a host"],
)
def test_the_watchdog_goes_on_hearing_of_a_pass_that_is_merely_slow(
    manager: Manager, pair: Pair, tmp_path: Path, passes: str
) -> None:
    configure(pair.table(shutdown_grace="0s"))
    with daemon(manager, tmp_path, passes).start() as started:
        manager.hear("READY=1")
        until = time.monotonic() + 2 * _HANGING_S
        while time.monotonic() < until:
            manager.hear("WATCHDOG=1")
        assert "hangs" not in started.said()


def test_nobody_is_pinged_who_did_not_ask(manager: Manager, pair: Pair, tmp_path: Path) -> None:
    configure(pair.table())
    for given in ({"WATCHDOG_USEC": "0"}, {"WATCHDOG_PID": "1"}):
        with daemon(manager, tmp_path, **given).start():
            manager.hear("READY=1")
            assert manager.is_silent("WATCHDOG=1", WATCHDOG_S * 2)


def test_children_are_not_told_whom_we_speak_to(manager: Manager, pair: Pair, tmp_path: Path) -> None:
    programs, told = tmp_path / "programs", tmp_path / "told"
    programs.mkdir()
    git = programs / "git"
    git.write_text(f'#!/bin/sh\nenv | grep -e NOTIFY_SOCKET -e WATCHDOG >> {told}\nexec {shutil.which("git")} "$@"\n')
    git.chmod(0o755)
    told.touch()
    configure(pair.table())
    write(pair.directory / "file", b"1")
    with daemon(manager, tmp_path, PATH=f"{programs}:{os.environ['PATH']}", WATCHDOG_PID="").start():
        pair.arrives()
    assert told.read_text() == ""


def test_a_line_comes_only_when_something_changed(manager: Manager, pair: Pair, tmp_path: Path) -> None:
    configure(pair.table())
    with daemon(manager, tmp_path).start():
        manager.hear("STATUS=1 mirror: idle")
        assert lfssync("sync").returncode == 0
        assert manager.is_silent("STATUS=", 3.0)
        (pair.directory.parent / "more").mkdir()
        configure(pair.table(), {"path": pair.directory.parent / "more"})
        manager.hear("STATUS=2 mirrors: ")
        soon(lambda: manager.hear("STATUS=") == "STATUS=2 mirrors: 2 idle")
