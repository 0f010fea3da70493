"""Refs read and moved as files: what git says is what is read, and what only git can tell is left to it."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest

from lfssync.git import reffiles
from tests.helpers import git, make_bare, random_bytes

NAMES = ("refs/heads/main", "refs/heads/deep/er", "refs/remotes/origin/main", "refs/lfssync/mirrored")
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


def commit(repository: Path, message: str) -> str:
    git("hash-object", "-w", "-t", "tree", "--stdin", cwd=repository)
    return git("commit-tree", "-m", message, EMPTY_TREE, cwd=repository).decode().strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git dir with three refs, of which one name is free."""
    made = make_bare(tmp_path / "r.git")
    for name in NAMES[:3]:
        git("update-ref", name, commit(made, name), cwd=made)
    return made


def told_by_git(repository: Path) -> dict[str, str]:
    listed = git("for-each-ref", "--format=%(refname) %(objectname)", cwd=repository).decode().split()
    return dict(zip(listed[::2], listed[1::2], strict=True))


@pytest.mark.parametrize("packed", ["none", "all", "and moved since", "and one deleted"])
def test_what_is_read_is_what_git_says(repository: Path, packed: str) -> None:
    if packed != "none":
        git("pack-refs", "--all", cwd=repository)
    if packed == "and moved since":
        git("update-ref", NAMES[1], commit(repository, "later"), cwd=repository)
    if packed == "and one deleted":
        git("update-ref", "-d", NAMES[1], cwd=repository)
    assert reffiles.read(repository, NAMES) == told_by_git(repository)


def test_what_only_git_can_tell_is_left_to_it(repository: Path, tmp_path: Path) -> None:
    main = repository / NAMES[0]
    oid = main.read_bytes()
    for text in (b"", oid[:20], b"ref: refs/heads/other\n", b"0" * 40 + b"\n", oid + oid, oid.upper()[:39] + b"G\n"):
        main.write_bytes(text)
        assert reffiles.read(repository, NAMES) is None, text
    main.unlink()
    main.symlink_to("deep/er")
    assert reffiles.read(repository, NAMES) is None
    main.unlink()
    os.mkfifo(main)
    assert reffiles.read(repository, NAMES) is None
    main.unlink()
    main.write_bytes(oid)
    assert reffiles.read(repository, NAMES) == told_by_git(repository)
    for packed in (b"#" * (2 << 20), random_bytes(1, 300), oid[:40] + b"\n", b"# pack-refs with: peeled\n\n"):
        (repository / "packed-refs").write_bytes(packed)
        assert reffiles.read(repository, NAMES) is None
    (repository / "packed-refs").unlink()
    (repository / "reftable").mkdir()
    assert reffiles.read(repository, NAMES) is None
    assert reffiles.read(tmp_path / "nowhere", NAMES) is None


def test_a_folder_of_refs_is_no_ref(repository: Path) -> None:
    assert reffiles.read(repository, ["refs/heads/deep", "refs/heads/main/below"]) == {}


def test_refs_move_together_and_git_sees_it(repository: Path) -> None:
    before = told_by_git(repository)
    new = commit(repository, "new")
    moves = {name: (before[name], new) for name in NAMES[:2]}
    assert reffiles.move(repository, moves)
    assert told_by_git(repository) == before | dict.fromkeys(NAMES[:2], new)
    assert not list(repository.glob("refs/**/*.lock"))
    git("pack-refs", "--all", cwd=repository)  # git goes on with them
    git("update-ref", NAMES[0], before[NAMES[0]], new, cwd=repository)


def test_what_does_not_fit_moves_nothing(repository: Path) -> None:
    before = told_by_git(repository)
    new = commit(repository, "new")
    fits = {NAMES[0]: (before[NAMES[0]], new)}
    others: tuple[dict[str, tuple[str | None, str | None]], ...] = (
        {NAMES[1]: (new, new)},  # somebody moved it
        {NAMES[1]: (before[NAMES[1]], None)},  # to delete is more than to write a file
        {NAMES[3]: (None, new)},  # and so is to make one: a name may be in the way
        {NAMES[3]: (before[NAMES[0]], new)},
    )
    for second in others:
        assert not reffiles.move(repository, {**fits, **second})
        assert told_by_git(repository) == before
        assert not list(repository.glob("refs/**/*.lock"))


def test_a_lock_of_somebody_else_is_respected_and_stays(repository: Path) -> None:
    before = told_by_git(repository)
    lock = repository / f"{NAMES[1]}.lock"
    lock.touch()
    new = commit(repository, "new")
    assert not reffiles.move(repository, {name: (before[name], new) for name in NAMES[:2]})
    assert told_by_git(repository) == before
    assert list(repository.glob("refs/**/*.lock")) == [lock]


def test_a_packed_ref_is_gits_to_move(repository: Path) -> None:
    git("pack-refs", "--all", cwd=repository)
    before = told_by_git(repository)
    assert not reffiles.move(repository, {NAMES[0]: (before[NAMES[0]], commit(repository, "new"))})
    assert told_by_git(repository) == before


def test_the_tree_of_a_commit_is_what_git_says(repository: Path) -> None:
    oid = told_by_git(repository)[NAMES[0]]
    assert reffiles.tree_of(repository / "objects", oid) == EMPTY_TREE
    blob = git("hash-object", "-w", "--stdin", cwd=repository, stdin=b"tree").decode().strip()
    assert reffiles.tree_of(repository / "objects", blob) is None
    assert reffiles.tree_of(repository / "objects", "refs/heads/main") is None


def test_a_tip_counts_only_if_its_commit_is_whole(repository: Path) -> None:
    oid = told_by_git(repository)[NAMES[0]]
    assert reffiles.tip_on_disk(repository, NAMES[0]) == oid
    assert reffiles.tip_on_disk(repository, NAMES[3]) is None
    file = repository / "objects" / oid[:2] / oid[2:]
    whole = file.read_bytes()
    file.chmod(0o644)
    for damaged in (b"", whole[:-9], zlib.compress(b"commit 3\0abc"), b"\0" * len(whole)):
        file.write_bytes(damaged)
        assert reffiles.tip_on_disk(repository, NAMES[0]) is None
    file.write_bytes(whole)
    assert reffiles.tip_on_disk(repository, NAMES[0]) == oid
    git("repack", "-adq", cwd=repository)
    assert reffiles.tip_on_disk(repository, NAMES[0]) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_of_other_peoples_repositories_git_has_its_own_opinion(repository: Path) -> None:
    os.chown(repository, 12345, -1)
    assert reffiles.tip_on_disk(repository, NAMES[0]) is None
