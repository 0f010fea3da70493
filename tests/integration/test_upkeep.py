"""A mirror stays small over months: git dirs are packed when that is due, the store is bounded, and nothing is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lfssync.answers import LogKind
from lfssync.git.upkeep import is_due
from lfssync.model import PassResult, Receipt
from lfssync.records.report import Report
from lfssync.records.store import HISTORY_ROWS, Store
from lfssync.records.trimming import has_grown, trim
from tests.helpers import git
from tests.integration.daemons import soon
from tests.integration.site import Site

PROJECT = Path(__file__).parents[2]
PACKS = 60
"""More than are left alone."""

TIDY = """
import sys
from pathlib import Path
from lfssync.git.gitcommand import Git
from lfssync.git.upkeep import tidy
tidy(Git(Path(sys.argv[1])), "1.hour.ago")
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site.make(tmp_path)


def clutter(git_dir: Path, seed: int = 0) -> None:
    """What hundreds of passes leave behind: many packs, here of things that nothing refers to."""
    for number in range(PACKS):
        one, two = (b"%s %d %d" % (kind, seed, number) for kind in (b"one", b"two"))
        git(
            "-c", "fastimport.unpackLimit=1", "fast-import", "--quiet", cwd=git_dir,
            stdin=b"".join(b"blob\ndata %d\n%s\n" % (len(content), content) for content in (one, two)),
        )  # fmt: skip


def packs(git_dir: Path) -> int:
    return len(list((git_dir / "objects/pack").glob("*.pack")))


def refs(git_dir: Path) -> bytes:
    return git("for-each-ref", cwd=git_dir)


def assert_sound(git_dir: Path) -> None:
    git("fsck", "--full", "--strict", "--no-dangling", cwd=git_dir)


def is_sound(git_dir: Path) -> bool:
    try:
        assert_sound(git_dir)
    except subprocess.CalledProcessError:
        return False
    return True


def test_a_cluttered_git_dir_is_packed_after_a_pass_and_nothing_is_lost(site: Site) -> None:
    site.put({b"model.bin": os.urandom(2 << 20), b"config.json": b"{}"})
    git_dir = site.state / "repo.git"
    clutter(git_dir)
    assert is_due(git_dir)
    assert_sound(git_dir)
    result = site.put({b"config.json": b'{"a": 1}'})
    assert result.warnings == ()
    assert packs(git_dir) < 5
    assert not is_due(git_dir)
    assert_sound(git_dir)
    assert git("rev-list", "--count", "refs/heads/main", cwd=git_dir).strip() == b"2"
    site.put({b"more.txt": b"goes on"})
    site.assert_mirrored()


def test_it_is_not_done_again_within_the_hour(site: Site) -> None:
    site.put({b"a": b"1"})
    git_dir = site.state / "repo.git"
    clutter(git_dir)
    site.put({b"a": b"2"})
    assert packs(git_dir) < 5
    clutter(git_dir, 1)
    site.put({b"a": b"3"})
    assert packs(git_dir) >= PACKS
    with Store(site.state / "state.db") as store, store.transaction():
        store.record_facts({"upkeep": time.time() - 7200})
    site.put({b"a": b"4"})
    assert packs(git_dir) < 5


def test_commits_that_are_not_pushed_yet_are_kept(site: Site) -> None:
    site.put({b"a": b"1"})
    git_dir = site.state / "repo.git"
    clutter(git_dir)
    git("update-ref", "refs/heads/kept", "refs/heads/main", cwd=git_dir)
    git("update-ref", "-d", "refs/heads/main", cwd=site.remote)  # as if the last push had never arrived
    before = git("rev-parse", "refs/heads/kept", cwd=git_dir)
    site.put({b"a": b"2"})
    assert packs(git_dir) < 5
    assert git("rev-parse", "refs/heads/main~1", cwd=site.remote) == before
    assert_sound(git_dir)


def test_killed_at_any_point_it_loses_nothing_and_leaves_nothing(site: Site) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for number in range(3):
        site.put(
            {b"big%d.txt" % number: bytes(chance.randrange(32, 127) for _ in range(300_000)), b"n": b"%d" % number}
        )
    git_dir = site.state / "repo.git"
    clutter(git_dir)
    before = refs(git_dir)
    for _ in range(6):
        with subprocess.Popen([sys.executable, "-c", TIDY, git_dir], cwd=PROJECT, start_new_session=True) as child:
            time.sleep(chance.uniform(0.2, 1.0))  # at any point, so nothing to wait for
            os.killpg(child.pid, signal.SIGKILL)
        soon(lambda: is_sound(git_dir), "it is damaged")  # what git itself had started may still be at it for a moment
        assert refs(git_dir) == before
    clutter(git_dir, 1)
    (git_dir / "objects/pack/.tmp-1234-pack-abc.pack").write_bytes(b"half of a pack")
    (git_dir / "gc.pid").write_text(f"{os.getpid()} {os.uname().nodename}")  # of somebody else who is alive
    site.put({b"n": b"last"})
    assert packs(git_dir) < 5
    assert not list(git_dir.glob("objects/pack/.tmp-*"))
    assert_sound(git_dir)
    site.assert_mirrored()


def test_what_goes_wrong_is_a_warning(site: Site) -> None:
    site.put({b"a": b"1"})
    git_dir = site.state / "repo.git"
    clutter(git_dir)
    git("config", "gc.aggressiveWindow", "nonsense", cwd=git_dir)
    result = site.put({b"a": b"2"})
    assert result.receipt is not None
    assert any("gc" in one for one in result.warnings), result.warnings


# -- the store -----------------------------------------------------------------------------------------------------


def test_thousands_of_passes_leave_a_store_as_small_as_before(site: Site) -> None:
    file = site.state / "state.db"
    site.state.mkdir()
    sizes = []
    with Store(file) as store:
        report = Report(store, site.mirror)
        for number in range(2 * HISTORY_ROWS + 1):
            commit = f"{number:040x}"
            report.committed(commit, f"Change 1 file: model-{number}.bin")
            with store.transaction():
                store.record_receipt(Receipt("refs/heads/main", commit, 1, 1, float(number)))
            if number % HISTORY_ROWS == HISTORY_ROWS - 1:
                report.success(PassResult(commit, None))
                sizes.append(file.stat().st_size + Path(f"{file}-wal").stat().st_size)
        assert len(store.history(10**6)) == HISTORY_ROWS
        assert store.history(1)[0].kind is LogKind.COMMIT
    assert sizes[1] < sizes[0] * 1.2
    assert file.stat().st_size < 1 << 20


def test_a_store_gives_room_back_and_keeps_the_evidence_that_counts(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    with Store(file) as store:
        with store.transaction():
            store.confirm("old", (f"{number:064x}" for number in range(60_000)), 1.0)
            store.confirm("recent", ["1" * 64], 1000.0)
            store.confirm("here", [f"{number:064x}" for number in range(10)], 1.0)
            store.record_seen("old", ["2" * 64], 1.0)
        assert has_grown(file, "here", 500.0)
        size = file.stat().st_size + Path(f"{file}-wal").stat().st_size
        trim(file, "here", 500.0)
        assert len(store.confirmed("here", (f"{number:064x}" for number in range(10)))) == 10
        assert store.confirmed("recent", ["1" * 64])
        assert store.confirmations("old") == {}
        assert store.seen("old") == {}
        assert not has_grown(file, "here", 500.0)
    assert file.stat().st_size < size / 10
