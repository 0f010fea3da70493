"""Restoring gives what a stock clone would get, whole or not at all, and writes nowhere else."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from pathlib import Path

import pytest

from lfssync.errors import BlockedError, LfssyncError, UserError
from lfssync.line.workbench import Session
from lfssync.model import Mirror, Progress, TransferKind
from lfssync.service import delivering
from lfssync.versions.restore import RestoreResult, restore
from tests.helpers import clone, git, make_bare, random_bytes, tree, write
from tests.integration.site import ATTRIBUTES, LFS_LINE, Content, Link, Program, Site, entry_of, stamps

THRESHOLD = 1000
BIG = random_bytes(1, 3000)
BIGGER = random_bytes(2, 5000)
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%b\nsize 7\n" % (b"ab" * 32)
CONTENTS: dict[bytes, Content] = {
    b"a": b"1", b"big": BIG, b"sub/deep/c": BIGGER, b"empty": b"", b"run.sh": Program(b"#!/bin/sh\n"),
    b"big program": Program(BIG), b"link": Link(b"sub/deep"), b"dangling": Link(b"/nowhere/\xff"), b"note": POINTER,
    b"new\nline \xff": b"2", b"sub/.gitattributes": b"*.raw -filter\n", b"sub/x.raw": BIG, b".gitignore": b"*.log\n",
}  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    made.put(CONTENTS)
    return made


def fetch(site: Site, revision: str | None = None, into: Path | None = None) -> Path:
    destination = into or site.base / f"restored-{len(list(site.base.iterdir()))}"
    result = restore(site.mirror, site.state, destination, revision, Session())
    assert result.files == len(tree(destination))
    return destination


def object_path(site: Site, content: bytes) -> Path:
    oid = hashlib.sha256(content).hexdigest()
    return site.remote / "lfs/objects" / oid[:2] / oid[2:4] / oid


def test_what_a_stock_clone_gets(site: Site) -> None:
    assert tree(fetch(site)) == tree(site.clone())


def test_by_tag_branch_and_commit(site: Site) -> None:
    first = delivering.tag(site.mirror, site.state, "v1", None, None, Session()).commit
    site.put({b"a": b"2", b"big": BIGGER})
    second = site.tip()
    site.configure(branch="other")
    site.put({b"a": b"3"})
    site.configure(branch="main")
    work = clone(site.remote, site.base / "by-hand")
    write(work / "theirs", b"1")
    git("add", "theirs", cwd=work)
    git("commit", "--quiet", "-m", "theirs", cwd=work)
    git("push", "--quiet", "--no-verify", "origin", "HEAD:refs/heads/theirs", "HEAD:refs/tags/by-hand", cwd=work)
    for revision, same in (
        ("v1", first), (first, first), (first[:7], first), ("main", second), (None, second), (second[:9], second),
        ("other", "other"), ("theirs", "theirs"), ("by-hand", "by-hand"), ("main~1", first),
    ):  # fmt: skip
        assert tree(fetch(site, revision)) == tree(site.clone(same)), revision


@pytest.mark.parametrize("lost", ["nothing", "store", "state", "directory"])
def test_whatever_is_left_here(site: Site, lost: str) -> None:
    wanted = tree(site.directory)
    if lost == "store":
        (site.state / "state.db").unlink()
    elif lost == "state":
        shutil.rmtree(site.state)
    elif lost == "directory":
        shutil.rmtree(site.directory)
    there = tree(fetch(site))
    del there[ATTRIBUTES]
    assert there == wanted


def test_what_others_pushed_is_fetched(site: Site) -> None:
    other = Site.make(site.base, "other", remote=site.remote, lfs_threshold_bytes=THRESHOLD)
    other.put({b"theirs": BIGGER + b"1"})
    assert tree(fetch(site))[b"theirs"] == entry_of(BIGGER + b"1")


def test_only_the_sub_folder(site: Site) -> None:
    part = Site.make(site.base, "part", remote=site.remote, into="models/part", lfs_threshold_bytes=THRESHOLD)
    part.put({b"a": b"part", b"big": BIG + b"part", b"sub/.gitattributes": b"", b"l": Link(b"a")})
    there = tree(fetch(part))
    del there[ATTRIBUTES]
    assert there == tree(part.directory)
    with pytest.raises(UserError, match="holds no files of part"):
        fetch(part, "main~1")


def test_rules_above_the_sub_folder_count(site: Site) -> None:
    work = site.clone()
    write(work / ".gitattributes", (work / ".gitattributes").read_bytes() + b"part/*.x" + LFS_LINE)
    write(work / "part/a.x", b"large in their eyes")
    git("add", ".gitattributes", "part", cwd=work)
    git("commit", "--quiet", "-m", "theirs", cwd=work)
    git("lfs", "push", "--all", "origin", cwd=work)
    git("push", "--quiet", "--no-verify", "origin", "HEAD:main", cwd=work)
    site.configure(into="part")
    assert (fetch(site) / "a.x").read_bytes() == b"large in their eyes"


def test_the_destination_may_be_an_empty_folder_and_nothing_else(site: Site, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    fetch(site, into=empty)
    assert fetch(site, into=tmp_path / "not/there/yet").is_dir()
    full = tmp_path / "full"
    write(full / "mine", b"1")
    file = write(tmp_path / "file", b"1")
    link = tmp_path / "link"
    link.symlink_to("dangling")
    for place in (full, file, link, site.directory):
        before = stamps(tmp_path)
        with pytest.raises(UserError, match="not an empty folder"):
            restore(site.mirror, site.state, place, None, Session())
        assert stamps(tmp_path) == before


@pytest.mark.parametrize("revision", ["nothing", "0" * 40, "-x", "a b", "main:a", "\n", "v1^{"])
def test_a_revision_that_is_none(site: Site, revision: str) -> None:
    assert_refused(site, revision, UserError)


def assert_refused(site: Site, revision: str | None, kind: type[LfssyncError], match: str = ".") -> None:
    """Restoring fails, and leaves nothing behind: neither the destination nor anything beside it."""
    place = site.base / "place"
    place.mkdir(exist_ok=True)
    before = {path: stamp for path, stamp in stamps(site.base).items() if not path.startswith(os.fsencode(site.state))}
    root = os.fsencode(place)
    del before[root]
    with pytest.raises(kind, match=match):
        restore(site.mirror, site.state, place / "restored", revision, Session())
    after = {path: stamp for path, stamp in stamps(site.base).items() if not path.startswith(os.fsencode(site.state))}
    del after[root]
    assert after == before


def test_damaged_and_missing_objects(site: Site) -> None:
    place = object_path(site, BIG)
    place.chmod(0o644)
    for damage in (BIG[:-1], BIG[:-1] + b"x", b""):
        place.write_bytes(damage)
        assert_refused(site, None, LfssyncError, hashlib.sha256(BIG).hexdigest())
    place.unlink()
    assert_refused(site, None, LfssyncError, hashlib.sha256(BIG).hexdigest())
    site.sync()  # the directory has it still
    fetch(site)


def test_the_stock_program_as_the_transfer(site: Site) -> None:
    site.configure(transfer=TransferKind.GIT_LFS)
    assert tree(fetch(site)) == tree(site.clone())
    object_path(site, BIG).unlink()
    assert_refused(site, None, LfssyncError, hashlib.sha256(BIG).hexdigest())


def test_progress_ends_at_the_size(site: Site, tmp_path: Path) -> None:
    seen: dict[bytes, int] = {}

    def monitor(event: object) -> None:
        if isinstance(event, Progress):
            seen[event.path] = max(seen.get(event.path, 0), event.done_bytes)

    result = restore(site.mirror, site.state, tmp_path / "restored", None, Session(monitor))
    assert result == RestoreResult(site.tip(), result.files, sum(
        os.lstat(os.path.join(folder, name)).st_size
        for folder, _, names in os.walk(tmp_path / "restored") for name in names
        if not os.path.islink(os.path.join(folder, name))
    ))  # fmt: skip
    assert len(BIGGER) in seen.values()


# -- a remote that means harm ---------------------------------------------------------------------------------------


class Hostile:
    """A bare repository with trees that no git command would make by itself."""

    def __init__(self, base: Path) -> None:
        self.remote = make_bare(base / "hostile.git")

    def blob(self, content: bytes) -> str:
        return git("hash-object", "-w", "--stdin", cwd=self.remote, stdin=content).decode().strip()

    def tree(self, *entries: tuple[str, bytes, str]) -> str:
        """A tree of (mode, name, oid), exactly as given, written past every check."""
        body = b"".join(b"%b %b\0%b" % (mode.encode(), name, bytes.fromhex(oid)) for mode, name, oid in entries)
        asked = ("hash-object", "-t", "tree", "-w", "--stdin", "--literally")
        return git(*asked, cwd=self.remote, stdin=body).decode().strip()

    def commit(self, tree: str) -> None:
        commit = git("commit-tree", tree, "-m", "hostile", cwd=self.remote).decode().strip()
        git("update-ref", "refs/heads/main", commit, cwd=self.remote)


@pytest.fixture
def hostile(tmp_path: Path) -> Hostile:
    return Hostile(tmp_path)


def hostile_site(hostile: Hostile, base: Path) -> Site:
    directory = base / "victim"
    write(directory / "mine", b"1")
    mirror = Mirror("victim", directory, str(hostile.remote), quiet_s=0.05)
    return Site(base, mirror, base / "victim-state")


NAMES = [b"..", b".", b".git", b".GIT", b"git~1", b".git ", b"../../evil", b"/etc/evil", b"a/../../evil", b"a//b"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["file", "folder", "attributes"])
def test_a_path_that_leads_out_is_refused(hostile: Hostile, tmp_path: Path, name: bytes, kind: str) -> None:
    blob = hostile.blob(b"*.bin" + LFS_LINE)
    inner = hostile.tree(("100644", b".gitattributes" if kind == "attributes" else b"evil", blob))
    entry = ("100644", name, blob) if kind == "file" else ("40000", name, inner)
    hostile.commit(hostile.tree(("100644", b"good", blob), entry))
    assert_refused(hostile_site(hostile, tmp_path), None, BlockedError, "no honest one")
    assert not list(tmp_path.rglob("evil"))


def test_nothing_is_written_through_a_link(hostile: Hostile, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    blob, to_outside = hostile.blob(b"evil"), hostile.blob(os.fsencode(outside))
    pointer = hostile.blob(POINTER)
    for mode, content in (("100644", blob), ("120000", to_outside), ("100644", pointer)):
        inner = hostile.tree((mode, b"evil", content))
        hostile.commit(hostile.tree(("120000", b"a", to_outside), ("40000", b"a", inner)))
        assert_refused(hostile_site(hostile, tmp_path), None, BlockedError, "no honest one")
        hostile.commit(hostile.tree(("40000", b"a", inner), ("120000", b"a", to_outside)))
        assert_refused(hostile_site(hostile, tmp_path), None, BlockedError, "no honest one")
    hostile.commit(hostile.tree(("120000", b"a", to_outside), ("100644", b"a", blob)))
    assert_refused(hostile_site(hostile, tmp_path), None, BlockedError, "no honest one")
    assert os.listdir(outside) == []


def test_links_that_lead_out_are_only_links(hostile: Hostile, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    to_outside = hostile.blob(b"../outside")
    hostile.commit(
        hostile.tree(("120000", b"a", to_outside), ("120000", b".gitattributes", hostile.blob(b"/etc/passwd")))
    )
    site = hostile_site(hostile, tmp_path)
    restored = fetch(site)
    assert os.readlink(restored / "a") == "../outside"
    assert os.listdir(outside) == []


def test_a_hostile_branch_does_no_harm_to_a_sync_either(hostile: Hostile, tmp_path: Path) -> None:
    """The rules of other people's files are asked for when the directory brings its own: also for paths like these."""
    pointer, text = hostile.blob(POINTER), hostile.blob(b"*" + LFS_LINE)
    up = hostile.tree(("100644", b".gitattributes", text), ("100644", b"evil", pointer))
    folder = hostile.tree(("100644", b".gitattributes", text), ("100644", b"x", pointer))
    hostile.commit(hostile.tree(
        ("40000", b"..", hostile.tree(("40000", b"..", up))),
        ("40000", b"../../../../../../../../tmp/lfssync-evil", up),
        ("100644", b".gitattributes", text), ("40000", b".gitattributes", folder), ("40000", b"/lfssync-evil", up),
    ))  # fmt: skip
    site = hostile_site(hostile, tmp_path)
    write(site.directory / ".gitattributes", b"*.y" + LFS_LINE)
    site.sync()
    assert git("show", "main:mine", cwd=hostile.remote) == b"1"
    assert not Path("/tmp/lfssync-evil").exists()
    assert not Path("/lfssync-evil").exists()
    assert not list(tmp_path.glob("evil"))


def test_what_a_killed_restore_left_is_taken_away_and_what_a_living_one_has_is_not(site: Site, tmp_path: Path) -> None:
    parent = tmp_path / "models"
    write(parent / ".lfssync-killed" / "files" / "half", b"x")
    write(parent / ".lfssync-living" / "files" / "half", b"x")
    write(parent / ".other" / "file", b"x")
    living = os.open(parent / ".lfssync-living", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(living, fcntl.LOCK_EX)
        fetch(site, into=parent / "restored")
        assert sorted(path.name for path in parent.iterdir()) == [".lfssync-living", ".other", "restored"]
    finally:
        os.close(living)
