"""Git's locks on a remote: those of others are left alone for ever, those of a push that was killed are not in the way.

Fault 10.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.places import Site, site, sync
from tests.faults.tracing import Traced
from tests.helpers import git, write
from tests.integration.daemons import LFSSYNC, lfssync

BUSY = ".lock': File exists"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    with site("bare", tmp_path) as made:
        write(made.directory / "file", b"1")
        sync()
        yield made


@contextmanager
def held(repository: Path) -> Iterator[Path]:
    """A git process of somebody else holds the branch's lock."""
    words = ["git", f"--git-dir={repository}", "update-ref", "--stdin"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin
        assert holder.stdout
        tip = git("rev-parse", "main", cwd=repository).decode().strip()
        holder.stdin.write(f"start\nupdate refs/heads/main {tip} {tip}\nprepare\n")
        holder.stdin.flush()
        assert [holder.stdout.readline() for _ in range(2)] == ["start: ok\n", "prepare: ok\n"]
        try:
            yield repository / "refs/heads/main.lock"
        finally:
            holder.stdin.write("abort\n")
            holder.stdin.close()


def test_a_lock_of_somebody_else_is_waited_for_however_old_it_is(place: Site) -> None:
    write(place.directory / "file", b"2")
    with held(place.repository) as lock:
        for _ in range(2):
            done = lfssync("sync")
            assert done.returncode == 1
            assert BUSY in done.stderr
            assert lock.exists()
            os.utime(lock, times=(0, 0))
    sync()
    place.assert_mirrored()


@pytest.mark.parametrize("lock", ["refs/heads/main.lock", "HEAD.lock"])
def test_the_lock_of_a_push_that_was_killed_goes_once_it_is_old(place: Site, lock: str, tmp_path: Path) -> None:
    write(place.directory / "file", b"2")
    moment = re.compile(rf"write\(\d+<{place.repository}/refs/heads/main\.lock>")
    Traced([*LFSSYNC, "sync"], tmp_path / "log", moment).run()
    left = place.repository / lock
    if lock == "HEAD.lock":
        left.touch()
    assert left.exists()
    done = lfssync("sync")
    assert done.returncode == 1
    assert BUSY in done.stderr
    assert left.exists()
    place.grow_old()
    sync()
    place.assert_mirrored()
    assert not left.exists()
