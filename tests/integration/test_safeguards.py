"""What keeps a mirror honest when the ground under it is moved: addresses, roots, refs, names, records."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lfssync.commandline.cli import main
from lfssync.errors import BlockedError
from tests.helpers import assert_whole, git, make_bare, objects_of_history, random_bytes
from tests.integration.site import Site

WEIGHTS = {b"model.safetensors": random_bytes(1, 300_000), b"config.json": b"{}"}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site.make(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder to work in, as a user would."""
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


def user_config(text: str) -> None:
    with open(os.environ["GIT_CONFIG_GLOBAL"], "a") as file:
        file.write(text)


def test_objects_go_where_git_itself_goes(site: Site, tmp_path: Path) -> None:
    real = make_bare(tmp_path / "real.git")
    user_config(f'[url "{real}"]\n insteadOf = {site.remote}\n')
    site.lay(WEIGHTS)
    site.sync()
    assert_whole(real)
    assert [size for _, size in objects_of_history(real)] == [300_000]
    assert not (site.remote / "lfs").exists()


def test_a_push_that_git_diverts_is_refused_before_anything_is_sent(site: Site, tmp_path: Path) -> None:
    real = make_bare(tmp_path / "real.git")
    user_config(f'[url "{real}"]\n pushInsteadOf = {site.remote}\n')
    site.lay(WEIGHTS)
    with pytest.raises(BlockedError, match="but pushes it to"):
        site.sync()
    assert git("for-each-ref", cwd=real) == b""


def test_a_root_that_becomes_a_link_is_a_question(site: Site, tmp_path: Path) -> None:
    site.lay(WEIGHTS)
    site.sync()
    secret = tmp_path / "secret"
    secret.mkdir()
    for number in range(30):
        (secret / f"key{number}").write_text("private")
    directory = site.mirror.path
    directory.rename(tmp_path / "away")
    directory.symlink_to(secret)
    with pytest.raises(BlockedError, match="leads to"):
        site.sync()
    assert b"key1" not in git("ls-tree", "-r", "--name-only", "main", cwd=site.remote).split()
    directory.unlink()
    (tmp_path / "away").rename(directory)
    site.sync()


def test_new_files_do_not_hide_that_another_directory_stands_there(site: Site, tmp_path: Path) -> None:
    site.lay({b"file%d" % number: b"%d" % number for number in range(12)})
    site.sync()
    site.mirror.path.rename(tmp_path / "away")
    site.mirror.path.mkdir()
    site.lay({b"other%d" % number: b"%d" % number for number in range(40)})
    with pytest.raises(BlockedError, match="12 of 12 files are gone"):
        site.sync()


@pytest.mark.parametrize("ref", ["refs/heads/main", "refs/lfssync/mirrored", "refs/remotes/origin/main"])
@pytest.mark.parametrize("content", ["", "zzzz\n"])
def test_a_broken_ref_is_made_anew(site: Site, ref: str, content: str) -> None:
    site.lay(WEIGHTS)
    site.sync()
    (site.state / "repo.git" / ref).write_text(content)
    site.lay({b"later": b"1"})
    site.sync()
    site.assert_mirrored()


def test_a_record_of_another_remote_proves_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "model").mkdir()
    (folder / "model" / "a").write_text("1")
    first, second = make_bare(folder / "first.git"), make_bare(folder / "second.git")
    assert main(["add", "model", str(first)]) == main(["sync"]) == main(["remove", "model"]) == 0
    assert main(["add", "model", str(second)]) == 0
    capsys.readouterr()
    assert main(["status"]) == 0
    assert "never verified on the remote" in capsys.readouterr().out


def test_an_embedded_repository_is_not_taken_over(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place in ("one", "two"):
        (folder / place / "model").mkdir(parents=True)
        (folder / place / "model" / place).write_text(place)
    assert main(["add", "one/model"]) == main(["sync"]) == main(["remove", "model", "--purge"]) == 0
    assert main(["add", "two/model"]) == 2
    assert "another directory's history; choose another --name" in capsys.readouterr().err
    assert main(["add", "two/model", "--name", "second"]) == main(["sync"]) == 0


def test_a_pattern_is_removed_as_a_whole(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "runs" / "a").mkdir(parents=True)
    assert main(["add", "runs/*"]) == 0
    assert main(["remove", "a"]) == 2
    assert f"lfssync remove '{folder}/runs/*'" in capsys.readouterr().err
    assert main(["remove", "runs/*"]) == 0
    assert main(["list"]) == 0
    assert "runs" not in capsys.readouterr().out.partition("stay as they are")[2]


def test_wait_is_about_all_mirrors_and_uses_its_time(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name / "a").write_text(name)
        assert main(["add", name]) == 0
    capsys.readouterr()
    assert main(["wait"]) == 0
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == ["one", "two"]
    with (folder / "one" / "log").open("w"):
        began = time.monotonic()
        assert main(["wait", "one", "--timeout", "1500ms"]) == 3
        assert time.monotonic() - began >= 1.4
    assert "log: open for writing" in capsys.readouterr().err


def test_the_same_release_twice_is_told_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "model").mkdir()
    (folder / "model" / "a").write_text("1")
    assert main(["add", "model"]) == main(["tag", "v1.0"]) == main(["tag", "v1.0"]) == 0
    capsys.readouterr()
    assert main(["log"]) == 0
    assert capsys.readouterr().out.count("release  v1.0") == 1
