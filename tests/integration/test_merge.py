"""A remote that others write to as well: nothing of theirs is lost, nothing is forced, and ours arrives."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from lfssync.errors import BlockedError, TransientError
from tests.helpers import git, random_bytes, tree
from tests.integration.site import ATTRIBUTES, LFS_LINE, Content, Link, Program, Site, entry_of, lay, lfs_paths

THRESHOLD = 1000
BIG = random_bytes(1, 3000)
BIGGER = random_bytes(2, 5000)
DECLINE = "#!/bin/sh\necho 'Policy 17: no pushes on Mondays' >&2\nexit 1\n"


def make(tmp_path: Path, contents: Mapping[bytes, Content]) -> Site:
    """A mirror that was synced once, with a remote that remembers every tip of its branch."""
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    git("config", "core.logAllRefUpdates", "always", cwd=site.remote)
    site.put(contents)
    return site


def web(site: Site, contents: Mapping[bytes, Content]) -> str:
    """Somebody else commits and pushes with stock git; returns the commit."""
    work = site.clone(site.mirror.branch)
    git("switch", "--quiet", "-C", site.mirror.branch, cwd=work)
    lay(work, contents)
    git("add", "--all", cwd=work)
    git("commit", "--quiet", "-m", "on the web", cwd=work)
    git("lfs", "push", "--all", "origin", cwd=work)
    git("push", "--quiet", "--no-verify", "origin", f"HEAD:{site.mirror.branch}", cwd=work)
    return git("rev-parse", "HEAD", cwd=work).decode().strip()


def hook(site: Site, name: str, script: str) -> Path:
    place = site.remote / "hooks" / name
    place.parent.mkdir(exist_ok=True)
    place.write_text(script)
    place.chmod(0o755)
    return place


def commit_without_delivery(site: Site) -> None:
    """A sync whose push is declined, so that the commit stays here."""
    place = hook(site, "pre-receive", DECLINE)
    with pytest.raises(BlockedError):
        site.sync()
    place.unlink()


def assert_never_forced(site: Site, except_for: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    """Every tip that the remote branch ever had is in its history now."""
    log = (site.remote / "logs/refs/heads" / site.mirror.branch).read_text().splitlines()
    tips = {word for line in log for word in line.split()[:2] if word.strip("0")}
    history = set(git("rev-list", site.mirror.branch, cwd=site.remote).decode().split())
    assert tips - history == except_for


def in_history(site: Site, path: bytes, content: bytes) -> bool:
    """Whether some commit of the branch has that path with that (plain) content."""
    for commit in git("rev-list", site.mirror.branch, cwd=site.remote).decode().split():
        listed = git("ls-tree", "-r", "-z", commit, "--", path, cwd=site.remote)
        if listed and git("cat-file", "blob", listed.split()[2], cwd=site.remote) == content:
            return True
    return False


# -- between passes: the branch moved, nothing of ours is unpushed --------------------------------------------------


def test_what_is_edited_on_the_web_survives(tmp_path: Path) -> None:
    site = make(tmp_path, {b"README.md": b"draft", b"a": b"1", b"big": BIG})
    commit = web(site, {b"README.md": b"polished", b"CARD.md": b"new", b"their big": BIGGER})
    site.put({b"a": b"2"})
    there = site.remote_tree()
    assert there[b"README.md"] == entry_of(b"polished")
    assert there[b"CARD.md"] == entry_of(b"new")
    assert there[b"their big"] == entry_of(BIGGER)
    assert there[b"a"] == entry_of(b"2")
    assert git("rev-parse", "main^", cwd=site.remote).decode().strip() == commit  # no merge where none is needed
    site.put({b"README.md": b"final"})
    assert site.remote_tree()[b"README.md"] == entry_of(b"final")
    assert in_history(site, b"README.md", b"polished")
    assert_never_forced(site)


def test_what_is_deleted_on_the_web_stays_so_until_it_changes_here(tmp_path: Path) -> None:
    site = make(tmp_path, {b"a": b"1", b"b": b"1", b"sub/c": BIG})
    web(site, {b"a": None, b"sub": None})
    site.put({b"b": b"2"})
    assert site.remote_tree().keys() == {b"b"}
    site.put({b"a": b"2", b"sub/c": BIGGER})
    site.assert_mirrored()
    assert_never_forced(site)


def test_a_file_that_became_a_folder_on_the_web_is_not_swept_away(tmp_path: Path) -> None:
    site = make(tmp_path, {b"a": b"1", b"b": b"1"})
    web(site, {b"a/theirs": b"2"})
    site.put({b"a": None})
    site.assert_mirrored(besides={b"a/theirs": b"2"})
    site.put({b"a": b"ours again"})  # a place can hold one of them: the directory's
    site.assert_mirrored()
    assert in_history(site, b"a/theirs", b"2")


# -- both sides have commits ----------------------------------------------------------------------------------------

CASES: dict[str, tuple[dict[bytes, Content], dict[bytes, Content], dict[bytes, Content], dict[bytes, bytes]]] = {
    "elsewhere": ({b"x": b"1"}, {b"x": b"2"}, {b"y": b"2"}, {b"y": b"2"}),
    "the same path": ({b"x": b"1"}, {b"x": b"ours"}, {b"x": b"theirs"}, {}),
    "the same new path": ({}, {b"x": b"ours"}, {b"x": b"theirs"}, {}),
    "the same change": ({b"x": b"1"}, {b"x": b"2"}, {b"x": b"2"}, {}),
    "a large file": ({b"x": BIG}, {b"x": BIG + b"ours"}, {b"x": BIG + b"theirs"}, {}),
    "ours deleted, theirs changed": ({b"x": b"1"}, {b"x": None}, {b"x": b"theirs"}, {}),
    "ours changed, theirs deleted": ({b"x": b"1"}, {b"x": b"ours"}, {b"x": None}, {}),
    "both deleted": ({b"x": b"1"}, {b"x": None}, {b"x": None}, {}),
    "our file, their folder": ({}, {b"x": b"ours"}, {b"x/y": b"theirs"}, {}),
    "our folder, their file": ({}, {b"x/y": b"ours"}, {b"x": b"theirs"}, {}),
    "our file from a folder, theirs in it": ({b"x/y": b"1"}, {b"x": b"ours"}, {b"x/y": b"theirs", b"x/z": b"t"}, {}),
    "our folder from a file, theirs edited": ({b"x": b"1"}, {b"x/y": b"ours"}, {b"x": b"theirs"}, {}),
    "ours deleted, theirs a folder": ({b"x": b"1"}, {b"x": None}, {b"x/y": b"theirs"}, {b"x/y": b"theirs"}),
    "our folder deleted, theirs added to it": ({b"x/y": b"1"}, {b"x": None}, {b"x/z": b"t"}, {b"x/z": b"t"}),
    "a link and a program": ({b"x": b"1"}, {b"x": Link(b"to")}, {b"x": Program(b"1")}, {}),
    "renamed here, changed there": ({b"x": BIG}, {b"x": None, b"y": BIG}, {b"x": BIG + b"t"}, {}),
}  # fmt: skip


def test_diverged(tmp_path: Path) -> None:
    """All cases side by side: ours is as we have it, theirs where we did nothing; both sides stay in history."""

    def side(which: int) -> dict[bytes, Content]:
        return {
            case.encode() + b"/" + path: content
            for case, sides in CASES.items()
            for path, content in sides[which].items()
        }

    site = make(tmp_path, {b"a": b"filler", **side(0)})
    site.lay(side(1))
    commit_without_delivery(site)
    their_commit = web(site, side(2))
    site.sync()
    besides = {case.encode() + b"/" + path: content for case, s in CASES.items() for path, content in s[3].items()}
    site.assert_mirrored(besides=besides)
    parents = git("log", "-1", "--format=%P", "main", cwd=site.remote).decode().split()
    assert their_commit in parents
    assert len(parents) == 2
    theirs = tree(site.clone(their_commit))
    for path, content in side(2).items():
        assert (path in theirs) == (content is not None)
    assert_never_forced(site)
    site.put({b"a": b"goes on"})
    assert_never_forced(site)


@pytest.mark.parametrize("case", [case for case in CASES if "folder" in case])
def test_diverged_at_the_top(tmp_path: Path, case: str) -> None:
    before, ours, theirs, besides = CASES[case]
    site = make(tmp_path, {b"a": b"filler", b"b": b"filler", **before})
    site.lay(ours)
    commit_without_delivery(site)
    web(site, theirs)
    site.sync()
    site.assert_mirrored(besides=besides)
    assert_never_forced(site)


def test_both_sides_add_large_files_without_a_pattern(tmp_path: Path) -> None:
    """Each side's line in .gitattributes must survive, or its file would be a pointer in every clone."""
    site = make(tmp_path, {b"a": b"1", b"big": BIG, b"to go": BIG + b"0"})
    other = Site.make(tmp_path, "other", remote=site.remote, lfs_threshold_bytes=THRESHOLD)
    other.put({b"theirs of old": BIG + b"1"})
    site.sync()
    site.lay({b"ours": BIGGER, b"to go": None})
    commit_without_delivery(site)
    other.put({b"theirs": BIGGER + b"2", b"theirs of old": None})
    site.sync()
    site.assert_mirrored(besides={b"theirs": BIGGER + b"2"})
    assert lfs_paths(site.remote, "main") == {b"big", b"ours", b"theirs"}
    text = git("show", "main:.gitattributes", cwd=site.remote)
    assert b"/to" not in text
    assert b"/theirs[[:space:]]of" not in text
    assert_never_forced(site)


def test_both_sides_change_the_rules(tmp_path: Path) -> None:
    site = make(tmp_path, {ATTRIBUTES: b"*.x" + LFS_LINE, b"a.x": b"1", b"b.y": b"1", b"c.z": b"1"})
    site.lay({ATTRIBUTES: b"*.y" + LFS_LINE, b"new.y": b"2"})
    commit_without_delivery(site)
    text = git("show", "main:.gitattributes", cwd=site.remote)
    web(site, {ATTRIBUTES: text + b"*.z" + LFS_LINE, b"their.z": b"3", b"their.x": b"4"})
    site.sync()
    there = site.remote_tree()
    assert there.pop(b"their.z") == entry_of(b"3")
    assert there.pop(b"their.x") == entry_of(b"4")
    here = tree(site.directory)
    del here[ATTRIBUTES]
    assert there == here
    assert git("show", "main:.gitattributes", cwd=site.remote).startswith(b"*.y" + LFS_LINE)
    assert_never_forced(site)


def test_they_change_the_rules_while_we_add_files(tmp_path: Path) -> None:
    site = make(tmp_path, {b"a.json": b"1", b"b.bin": b"1"})
    site.lay({b"new.json": b"2", b"new.bin": b"3", b"big": BIG})
    commit_without_delivery(site)
    text = git("show", "main:.gitattributes", cwd=site.remote)
    web(site, {ATTRIBUTES: text + b"*.json" + LFS_LINE})
    site.sync()
    assert lfs_paths(site.remote, "main") >= {b"big", b"new.bin", b"b.bin"}
    site.put({b"more.json": b"4"})
    assert lfs_paths(site.remote, "main") >= {b"a.json", b"new.json", b"more.json"}
    site.assert_mirrored()
    assert_never_forced(site)


# -- a remote that was forced by somebody ---------------------------------------------------------------------------


def test_forced_back_to_an_older_commit(tmp_path: Path) -> None:
    site = make(tmp_path, {b"a": b"1", b"big": BIG})
    older = site.tip()
    site.put({b"a": b"2", b"big": BIGGER})
    newer = site.tip()
    git("update-ref", "refs/heads/main", older, cwd=site.remote)
    site.put({b"b": b"3"})
    site.assert_mirrored()
    assert newer in git("rev-list", "main", cwd=site.remote).decode()


def test_forced_to_an_unrelated_commit(tmp_path: Path) -> None:
    site = make(tmp_path, {b"a": b"1", b"big": BIG})
    work = tmp_path / "unrelated"
    git("init", "--quiet", str(work), cwd=tmp_path)
    lay(work, {b"README.md": b"anew", b"a": b"theirs"})
    git("add", "--all", cwd=work)
    git("commit", "--quiet", "-m", "anew", cwd=work)
    git("push", "--quiet", "--force", "--no-verify", str(site.remote), "HEAD:main", cwd=work)
    site.put({b"b": b"2"})
    site.assert_mirrored(besides={b"README.md": b"anew"})
    assert_never_forced(site)


# -- racing ---------------------------------------------------------------------------------------------------------

RACE_ONCE = """#!/bin/sh
if [ -e raced ]; then exit 0; fi
touch raced
env -u GIT_QUARANTINE_PATH -u GIT_OBJECT_DIRECTORY -u GIT_ALTERNATE_OBJECT_DIRECTORIES \
    git update-ref refs/heads/main "$(git rev-parse refs/heads/theirs)"
"""
RACE_ALWAYS = """#!/bin/sh
unset GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES
old=$(git rev-parse refs/heads/main)
new=$(echo again | git commit-tree "$old^{tree}" -p "$old")
git update-ref refs/heads/main "$new"
"""


def prepare_race(site: Site, contents: Mapping[bytes, Content]) -> None:
    """A commit of somebody's on the branch `theirs`, for a hook to put on `main` in the very moment of our push."""
    tip = site.tip()
    web(site, contents)
    git("update-ref", "refs/heads/theirs", "refs/heads/main", cwd=site.remote)
    git("update-ref", "refs/heads/main", tip, cwd=site.remote)
    (site.remote / "logs/refs/heads/main").write_text("")  # our own preparation is nobody's push


@pytest.mark.parametrize("moment", ["pre-receive", "update"])
def test_somebody_pushes_first(tmp_path: Path, moment: str) -> None:
    site = make(tmp_path, {b"a": b"1", b"big": BIG})
    other = Site.make(tmp_path, "other", remote=site.remote, lfs_threshold_bytes=THRESHOLD)
    prepare_race(site, {b"theirs": b"2", b"their.bin": BIGGER, b"a": b"theirs"})
    hook(site, moment, RACE_ONCE)
    result = site.put({b"a": b"ours", b"ours big": BIG + b"1"})
    assert (site.remote / "raced").exists()
    site.assert_mirrored(besides={b"theirs": b"2", b"their.bin": BIGGER})
    assert result.commit == site.tip()
    assert_never_forced(site)
    other.put({b"third": b"3"})
    site.assert_mirrored(besides={b"theirs": b"2", b"their.bin": BIGGER, b"third": b"3"})


def test_somebody_pushes_first_each_time(tmp_path: Path) -> None:
    site = make(tmp_path, {b"a": b"1"})
    place = hook(site, "update", RACE_ALWAYS)
    with pytest.raises(TransientError):
        site.put({b"a": b"2"})
    place.unlink()
    site.sync()
    site.assert_mirrored()
    assert_never_forced(site)


MACHINE = """
import sys
from pathlib import Path
from lfssync.service.delivering import sync
from lfssync.errors import TransientError
from lfssync.model import Mirror
from lfssync.line.pipeline import Order
from lfssync.line.workbench import Session
directory, remote, state = sys.argv[1:]
mirror = Mirror("m", Path(directory), remote, quiet_s=0.05, lfs_threshold_bytes=1000)
for number in range(3):
    (Path(directory) / f"{Path(directory).name}-{number}").write_bytes(b"x" * (number * 900 + 1))
    for _ in range(5):  # as the daemon does
        try:
            sync(mirror, Path(state), Order(), Session())
            break
        except TransientError as error:
            print(error, file=sys.stderr)
    else:
        sys.exit(1)
"""


def test_many_machines_at_once(tmp_path: Path) -> None:
    """Processes that share nothing but the branch; whoever loses a race merges."""
    first = make(tmp_path, {b"a": b"1"})
    sites = [Site.make(tmp_path, f"m{number}", remote=first.remote) for number in range(4)]
    paths = [[str(path) for path in (site.directory, site.remote, site.state)] for site in sites]
    root = Path(__file__).parents[2]
    running = [subprocess.Popen([sys.executable, "-c", MACHINE, *three], cwd=root) for three in paths]
    assert [process.wait(timeout=120) for process in running] == [0] * len(sites)
    wanted = {path: entry for site in (first, *sites) for path, entry in tree(site.directory).items()}
    assert first.remote_tree() == wanted
    assert_never_forced(first)


# -- a host that says no --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["pre-receive", "update"])
def test_a_declined_push_is_told_in_the_hosts_words(tmp_path: Path, moment: str) -> None:
    site = make(tmp_path, {b"a": b"1"})
    tip = site.tip()
    place = hook(site, moment, DECLINE)
    site.lay({b"a": b"2", b"big": BIG})
    for _ in range(2):
        with pytest.raises(BlockedError, match="Policy 17: no pushes on Mondays"):
            site.sync()
        assert site.tip() == tip
    site.lay({b"b": b"3"})  # more to come while it is blocked
    with pytest.raises(BlockedError):
        site.sync()
    place.unlink()
    site.sync()
    site.assert_mirrored()


def test_a_declined_push_ends_the_command_with_four(tmp_path: Path) -> None:
    site = make(tmp_path, {b"a": b"1"})
    hook(site, "pre-receive", DECLINE)
    config = tmp_path / "config.toml"
    config.write_text(f'[[mirror]]\nname = "m"\npath = "{site.directory}"\nremote = "{site.remote}"\n')
    done = subprocess.run(
        [sys.executable, "-m", "lfssync", "--config", str(config), "sync", "m"],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=False, env=dict(os.environ),
    )  # fmt: skip
    site.lay({b"a": b"2"})
    done = subprocess.run(
        done.args, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 4
    assert done.stderr.startswith("error: ")
    assert "Policy 17: no pushes on Mondays" in done.stderr


def test_a_branch_that_is_checked_out_there_is_refused(tmp_path: Path) -> None:
    """A remote that is somebody's working copy: pushing would pull the rug from under it."""
    work = tmp_path / "their-work"
    git("init", "--quiet", str(work), cwd=tmp_path)
    lay(work, {b"a": b"1"})
    git("add", "--all", cwd=work)
    git("commit", "--quiet", "-m", "theirs", cwd=work)
    site = Site.make(tmp_path, remote=work)
    with pytest.raises(BlockedError, match="checked out"):
        site.put({b"b": b"2"})
    site.configure(branch="mirror")
    site.sync()
    assert git("status", "--porcelain", cwd=work) == b""
