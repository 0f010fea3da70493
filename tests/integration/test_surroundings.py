"""The network comes back, and the machine wakes: real links of a namespace go down and up, and clocks are passed in."""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lfssync.model import State
from lfssync.service.surroundings import Network, Sleep, tells_of_return
from tests.helpers import random_bytes, write
from tests.integration.daemons import PROJECT, Daemon, Pair, configure, soon, state_is, status

ALONE = ("unshare", "--user", "--map-root-user", "--net")
"""Has a network of its own, in which it may do as it likes."""

LISTENER = """
import sys, time
from lfssync.service.surroundings import Network
network = Network(lambda: print("back", flush=True))
network.start()
print("listening", flush=True)
sys.stdin.readline()
network.stop(5)
"""


class Alone:
    """A program with a network of its own."""

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(
            [*ALONE, *command], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ip(self, *arguments: str) -> None:
        """Change something about its network."""
        inside = ("nsenter", "--target", str(self.process.pid), "--user", "--net", "--preserve-credentials")
        subprocess.run([*inside, "ip", *arguments], check=True)

    def line(self) -> str:
        """The next thing that it says."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> str:
        """Tell it to end; what else it said."""
        rest, _ = self.process.communicate("\n", timeout=60)
        assert self.process.returncode == 0
        return rest


@contextlib.contextmanager
def listening() -> Iterator[Alone]:
    alone = Alone(sys.executable, "-c", LISTENER)
    try:
        assert alone.line() == "listening"
        yield alone
    finally:
        alone.process.kill()
        alone.process.wait()
        for pipe in (alone.process.stdin, alone.process.stdout):
            if pipe is not None:
                pipe.close()


def test_links_addresses_and_routes_that_appear_are_told_once_they_rest() -> None:
    with listening() as alone:
        alone.ip("link", "add", "here", "type", "veth", "peer", "name", "there")
        alone.ip("addr", "add", "192.0.2.1/24", "dev", "here")
        alone.ip("link", "set", "there", "up")
        alone.ip("link", "set", "here", "up")
        alone.ip("route", "add", "default", "via", "192.0.2.2")
        assert alone.line() == "back"
        alone.ip("route", "add", "198.51.100.0/24", "via", "192.0.2.2")
        assert alone.line() == "back"
        alone.ip("route", "del", "198.51.100.0/24")
        alone.ip("link", "set", "here", "down")
        time.sleep(2.5)  # for a word that must not come
        assert alone.end() == ""


def test_a_link_that_goes_up_and_down_all_the_time_is_told_every_few_seconds() -> None:
    with listening() as alone:
        assert alone.process.stdout is not None
        deadline = time.monotonic() + 60
        while not select.select([alone.process.stdout], [], [], 0)[0]:
            assert time.monotonic() < deadline
            alone.ip("link", "set", "lo", "up")
            alone.ip("link", "set", "lo", "down")


@example(b"\xff" * 40)
@example(b"\x10\0\0\0\x10\0" + bytes(10))
@given(st.binary(max_size=100))
def test_whatever_comes_it_is_read_to_its_end(datagram: bytes) -> None:
    assert tells_of_return(datagram) in (True, False)


def test_where_the_kernel_does_not_tell_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> socket.socket:
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", refused)
    network = Network(lambda: None)
    network.start()
    network.stop(1)


def test_it_ends_when_it_is_told_to() -> None:
    network = Network(lambda: None)
    network.start()
    assert "network" in [thread.name for thread in threading.enumerate()]
    network.stop(10)
    assert "network" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize(("slept_s", "is_over"), [(0, False), (4, False), (6, True), (1e6, True)])
def test_sleep_is_what_only_one_of_two_clocks_has_seen(slept_s: float, is_over: bool) -> None:
    through, awake = [1000.0], [500.0]
    sleep = Sleep(lambda: through[0], lambda: awake[0])
    assert not sleep.is_over()
    through[0] += 3600 + slept_s
    awake[0] += 3600
    assert sleep.is_over() == is_over
    assert not sleep.is_over()


def test_this_machine_is_awake() -> None:
    assert not Sleep().is_over()


RESTS_LONG = """
import os, sys, time
from pathlib import Path
from tests.contract.lfsserver import serving

if not os.fork():
    parent = os.getppid()
    with serving(Path(sys.argv[1])) as server:
        Path(sys.argv[2]).write_text(server.address)
        while os.getppid() == parent:
            time.sleep(0.1)
    os._exit(0)
from lfssync.commandline.cli import main
from lfssync.rules import backoff
backoff.PASSING_S = (1200.0, 3600.0)
sys.exit(main(["run"]))
"""
"""A daemon that rests for ten minutes and more, beside an LFS server that ends with it."""


def test_a_remote_is_asked_at_once_when_its_network_is_back(tmp_path: Path) -> None:
    pair, address = Pair.make(tmp_path), tmp_path / "address"
    configure()
    script = 'ip link set lo up && exec "$0" -c "$@"'
    wrapper = (*ALONE, "sh", "-c", script, sys.executable, RESTS_LONG, str(tmp_path / "served"), str(address))
    with Daemon(tmp_path / "log", wrapper).start() as daemon:
        inside = ("nsenter", "--target", str(daemon.pid), "--user", "--net", "--preserve-credentials")
        soon(address.exists)
        configure(pair.table(lfs_url=f"{address.read_text()}/model.git/info/lfs", headroom="0"))
        write(pair.directory / "one.bin", random_bytes(1, 2 << 20))
        soon(lambda: status().state is State.IDLE and status().verified_at, status)
        subprocess.run([*inside, "ip", "addr", "flush", "dev", "lo"], check=True)  # else every try takes its time
        subprocess.run([*inside, "ip", "link", "set", "lo", "down"], check=True)
        write(pair.directory / "two.bin", random_bytes(2, 2 << 20))
        soon(state_is(State.OFFLINE), status)
        told = status().waits
        assert told
        assert told["why"] == "back-off"
        assert told["until"] > time.time() + 500
        subprocess.run([*inside, "ip", "link", "set", "lo", "up"], check=True)
        pair.arrives()
        daemon.says("model: goes on again")
