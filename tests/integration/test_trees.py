"""Whatever the directory holds, a stock clone of the remote holds the same: names, kinds, modes, bytes."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lfssync.errors import BlockedError
from lfssync.formats import Reader, check
from lfssync.model import DeletePolicy
from tests.helpers import git, random_bytes, tree
from tests.integration.site import LFS_LINE, Content, Link, Program, Site, lay, site_for_nobody, sync_as_nobody

THRESHOLD = 1000
BIG = random_bytes(1, 3000).replace(b"\0", b"1")
BIGGER = random_bytes(2, 5000).replace(b"\0", b"1")
BINARY = b"\0" + random_bytes(3, 70_000)

CHANGES: dict[str, tuple[dict[bytes, Content], dict[bytes, Content]]] = {
    "nothing at all": ({}, {}),
    "one more file": ({b"a": b"1"}, {b"b": b"2"}),
    "a file edited": ({b"a": b"1", b"b": b"2"}, {b"a": b"3"}),
    "a file of the same size edited": ({b"a": BIG}, {b"a": BIG[::-1]}),
    "a file deleted": ({b"a": b"1", b"b": b"2"}, {b"a": None}),
    "a folder deleted": ({b"a/b/c": b"1", b"a/b/d": BIG, b"e": b"2"}, {b"a": None}),
    "a file renamed": ({b"a": BIG, b"b": b"2"}, {b"a": None, b"c": BIG}),
    "two files changing places": ({b"a": BIG, b"b": b"2"}, {b"a": b"2", b"b": BIG}),
    "a folder renamed": ({b"a/b": BIG, b"a/c": b"1"}, {b"a": None, b"d/b": BIG, b"d/c": b"1"}),
    "a file becoming a folder": ({b"a": b"1", b"z": b"z"}, {b"a/b": b"2", b"a/c/d": BIG}),
    "a folder becoming a file": ({b"a/b": b"2", b"a/c/d": BIG, b"z": b"z"}, {b"a": b"1"}),
    "a file becoming a link": ({b"a": BIG, b"z": b"z"}, {b"a": Link(b"z")}),
    "a link becoming a file": ({b"a": Link(b"z"), b"z": b"z"}, {b"a": BIG}),
    "a folder becoming a link": ({b"a/b": b"1", b"z/b": b"z"}, {b"a": Link(b"z")}),
    "a link becoming a folder": ({b"a": Link(b"z"), b"z/b": b"z"}, {b"a/b": b"1"}),
    "a link pointed elsewhere": ({b"a": Link(b"y"), b"y": b"y", b"z": b"z"}, {b"a": Link(b"z")}),
    "growing into LFS": ({b"a": b"1"}, {b"a": BIG}),
    "shrinking out of LFS": ({b"a": BIG}, {b"a": b"1"}),
    "becoming empty": ({b"a": BIG, b"b": b"1"}, {b"a": b"", b"b": b""}),
    "no longer empty": ({b"a": b"", b"b": b""}, {b"a": BIG, b"b": b"1"}),
    "a file becoming a program": ({b"a": b"1", b"b": BIG}, {b"a": Program(b"1"), b"b": Program(BIG)}),
    "a program becoming a file": ({b"a": Program(b"1"), b"b": Program(BIG)}, {b"a": b"1", b"b": BIG}),
    "text becoming binary": ({b"a": b"1" * 900}, {b"a": BINARY}),
    "the same content twice": ({b"a": BIG, b"b/a": BIG, b"c": b"1", b"d": b"1"}, {b"e": BIG, b"a": None}),
    "a folder of its own name within": ({b"a/a/a": b"1"}, {b"a/a": BIG}),
    "neighbours of a folder's name": ({b"a/b": b"1", b"a.b": b"2", b"a0": b"3"}, {b"a": None, b"a-": b"4"}),
    "all of it replaced": ({b"a": b"1", b"b/c": BIG}, {b"a": BIGGER, b"b": b"3"}),
}

NAMES = [
    b"with space", b" spaces at both ends ", b"new\nline", b"tab\there", b'quo"te', b"apo'strophe", b"back\\slash",
    b"trailing\\", b"\xff\xfe", b"caf\xe9", "caf\u00e9".encode(), "cafe\u0301".encode(), "\u6a21\u578b".encode(),
    b"-rf", b"--force", b":(top)*", b":!x", b"!important", b"#comment", b"*", b"?", b"[a]", b"[!a]", b"{a,b}",
    b"$HOME", b"`id`", b"a;b", b"a|b", b"&", b"%s", b"%00", b"@{u}", b"HEAD", b"refs", b"..a", b"...", b"a..b", b".a",
    b"con", b"nul.txt", b"a:b", b"a.", b"a ", b"\x01\x7f", b"\x1b[31mred", b"\r", b"x" * 255, b"=", b"a=b", b'"',
    b"\\", b"\\n", b"[attr]x", b"filter=lfs", "\u200b".encode(), "\u202ereversed".encode(), "\U0001f917".encode(),
]  # fmt: skip


@pytest.mark.parametrize("hinted", [False, True], ids=["whole", "hinted"])
def test_changes_arrive(tmp_path: Path, hinted: bool) -> None:
    """All kinds of changes side by side, each in a folder of its own."""
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    site.put({within(what, path): content for what, (before, _) in CHANGES.items() for path, content in before.items()})
    site.assert_mirrored()
    change = {within(what, path): content for what, (_, then) in CHANGES.items() for path, content in then.items()}
    site.lay(change)
    result = site.sync(hints=change.keys() if hinted else None)
    assert not result.deferred
    site.assert_mirrored()
    again = site.sync()
    assert (again.commit, again.committed) == (result.commit, False)


@pytest.mark.parametrize("what", [what for what in CHANGES if "becoming a f" in what or "replaced" in what])
def test_a_kind_changes_at_the_top(tmp_path: Path, what: str) -> None:
    before, change = CHANGES[what]
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    site.put(before)
    site.lay(change)
    site.sync(hints=change.keys())
    site.assert_mirrored()
    assert not site.sync().committed


def within(what: str, path: bytes) -> bytes:
    return what.encode() + b"/" + path


def test_an_empty_directory_makes_no_commit(tmp_path: Path) -> None:
    site = Site.make(tmp_path)
    assert site.sync().commit is None
    (site.directory / "empty folder").mkdir()
    assert site.sync().commit is None
    assert git("for-each-ref", cwd=site.remote) == b""


@pytest.mark.parametrize("content", [b"text", BIG], ids=["plain", "lfs"])
def test_names_may_be_any_bytes(tmp_path: Path, content: bytes) -> None:
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    site.put(dict.fromkeys(NAMES, content) | {b"in/" + name + b"/" + name: content for name in NAMES})
    site.assert_mirrored()
    site.lay(dict.fromkeys(NAMES[::2], content + b"changed") | dict.fromkeys(NAMES[1::2]))
    assert not site.sync(hints=NAMES).deferred
    site.assert_mirrored()


def test_deep_paths(tmp_path: Path) -> None:
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    folder = b"/".join([b"d" * 100] * 17)
    site.put({folder + b"/a": BIG, folder + b"/b": b"1", b"/".join([b"e"] * 200): BIG})
    site.assert_mirrored()


def test_a_path_too_long_for_an_attribute_line_is_kept_in_git_and_said(tmp_path: Path) -> None:
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    result = site.put({b"/".join([b"d" * 100] * 21): BIG})
    assert any("too long" in line for line in result.warnings)
    site.assert_mirrored()


LINKS = {
    "to a file": b"file",
    "to a folder": b"folder",
    "to nothing": b"nowhere",
    "to itself": b"link",
    "absolute": b"/etc/hostname",
    "absolute to a folder": b"/etc",
    "out of the tree": b"../outside/secret",
    "to a folder out of the tree": b"../outside",
    "to the tree itself": b".",
    "with odd bytes": b"new\nline \xff",
    "with a target like a pointer": b"version https://git-lfs.github.com/spec/v1",
}


@pytest.mark.parametrize("target", LINKS.values(), ids=LINKS.keys())
def test_a_link_is_stored_as_a_link_and_never_followed(tmp_path: Path, target: bytes) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(BIG + b"canary-of-the-outside")
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    site.put({b"file": b"1", b"folder/file": b"2", b"link": Link(target), b"sub/link.safetensors": Link(target)})
    site.assert_mirrored()
    everything = git("cat-file", "--batch-all-objects", "--batch", cwd=site.remote)
    assert b"canary-of-the-outside" not in everything
    assert not list(site.remote.glob("lfs/objects/??/??/*"))


@pytest.mark.parametrize("size", [THRESHOLD - 1, THRESHOLD, THRESHOLD + 1])
def test_files_around_the_threshold(tmp_path: Path, size: int) -> None:
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    result = site.put({b"notes": b"x" * size, b"sub/notes": Program(b"x" * size)})
    assert result.sent_bytes == (size if size > THRESHOLD else 0)
    site.assert_mirrored()


def test_ignore_files_say_what_stays_out(tmp_path: Path) -> None:
    site = Site.make(tmp_path)
    site.put({
        b".gitignore": b"*.log\n/top\n", b"a.log": b"1", b"top": b"1", b"b/top": b"1", b"x/y": b"1",
        b"b/.gitignore": b"!keep.log\nx/\n", b"b/keep.log": b"1", b"b/other.log": b"1", b"b/x/y": b"1",
    })  # fmt: skip
    site.assert_mirrored(left_out={b"a.log", b"top", b"b/other.log", b"b/x/y"})
    site.put({b".gitignore": b"/top\nx/\n"})  # a weaker rule and a new one
    site.assert_mirrored(left_out={b"top", b"b/x/y", b"x/y"})
    site.put({b"b/.gitignore": None})
    site.assert_mirrored(left_out={b"top", b"b/x/y", b"x/y"})
    site.put({b".gitignore": None})
    site.assert_mirrored()


@pytest.mark.parametrize("hint", [b".gitignore", b"b/.gitignore"])
def test_a_hint_about_an_ignore_file_reaches_all_that_it_rules(tmp_path: Path, hint: bytes) -> None:
    site = Site.make(tmp_path)
    site.put({b"b/c/a.log": b"1", b"b/a.log": b"1", b"b/d": b"1"})
    site.lay({hint: b"*.log\n"})
    site.sync(hints=[hint])
    site.assert_mirrored(left_out={b"b/c/a.log", b"b/a.log"})
    site.lay({hint: None})
    site.sync(hints=[hint])
    site.assert_mirrored()


def test_what_the_configuration_ignores_leaves_the_branch_and_comes_back(tmp_path: Path) -> None:
    site = Site.make(tmp_path, ignore=("runs/", "*.csv"))
    site.put({b"a": b"1", b"runs/1": b"1", b"b/runs/2": b"1", b"b/c.csv": b"1"})
    site.assert_mirrored(left_out={b"runs/1", b"b/runs/2", b"b/c.csv"})
    site.configure(ignore=("a",))
    site.sync()
    site.assert_mirrored(left_out={b"a"})
    site.configure(ignore=())
    site.sync(hints=[b"runs/1"])  # even the next hint about anything notices
    site.assert_mirrored()


def test_temporary_files_of_known_programs_are_not_mirrored(tmp_path: Path) -> None:
    droppings = {
        b"model.safetensors.tmp": BIG, b"x.part": b"1", b"tmp-checkpoint-10/model.bin": BIG, b".model.swp": b"1",
        b"__pycache__/a.pyc": b"1", b".ipynb_checkpoints/a.ipynb": b"1", b"notes~": b"1", b".DS_Store": b"1",
        b"ckpt.orbax-checkpoint-tmp-1/x": b"1",
    }  # fmt: skip
    site = Site.make(tmp_path)
    site.put({b"checkpoint-10/model.bin": BIG, b"poetry.lock": b"1", **droppings})
    site.assert_mirrored(left_out=droppings.keys())


def test_a_nested_repository_is_mirrored_as_files_and_said(tmp_path: Path) -> None:
    site = Site.make(tmp_path)
    site.lay({b"a": b"1", b"sub/file": b"2", b"linked/.git": b"gitdir: /nowhere\n", b"linked/file": b"3"})
    git("init", "--quiet", str(site.directory / "sub"), cwd=tmp_path)
    git("add", ".", cwd=site.directory / "sub")
    git("commit", "--quiet", "-m", "inner", cwd=site.directory / "sub")
    result = site.sync()
    assert {line.partition(":")[0] for line in result.warnings if "repository" in line} == {"sub", "linked"}
    site.assert_mirrored()
    assert b"160000" not in git("ls-tree", "-r", "main", cwd=site.remote)


def test_what_is_no_file_is_left_out_and_said(tmp_path: Path) -> None:
    site = Site.make(tmp_path)
    site.put({b"a": b"1", b"was a file": b"2"})
    os.mkfifo(site.directory / "pipe")
    os.mkfifo(site.directory / "model.safetensors")
    os.mknod(site.directory / "null", 0o666 | 0o020000, os.makedev(1, 3))
    site.lay({b"was a file": None})
    os.mkfifo(site.directory / "was a file")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(site.directory / "socket"))
        result = site.sync()
        said = "\n".join(result.warnings)
        for name in ("pipe: a FIFO", "model.safetensors: a FIFO", "socket: a socket", "null: a character device"):
            assert name in said
        site.assert_mirrored(left_out={b"pipe", b"model.safetensors", b"null", b"socket", b"was a file"})
        assert not site.sync(hints=[b"pipe", b"null", b"socket"]).committed


def test_names_that_git_refuses_are_left_out_and_said(tmp_path: Path) -> None:
    site = Site.make(tmp_path)
    refused = {b".GIT": b"1", b"sub/git~1": b"1", b".git /config": b"1", b"sub/.Git": b"1"}
    result = site.put({b"a": b"1", **refused})
    for name in (".GIT", "sub/git~1", ".git ", "sub/.Git"):
        assert any(line.startswith(name + ":") for line in result.warnings), name
    site.assert_mirrored(left_out=refused.keys())
    assert not site.sync(hints=refused.keys()).committed


def test_folders_and_links_in_the_place_of_files_of_git_are_left_out_and_said(tmp_path: Path) -> None:
    """A link called .gitmodules makes every checkout fail, a folder called .gitattributes every `git fsck`."""
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    refused: dict[bytes, Content] = {
        b".gitattributes/b": b"1", b"sub/.gitattributes/c": BIG, b"sub/.GITMODULES/d": b"1",
        b".gitmodules": Link(b"a"), b"deep/.gitModules": Link(b"a"),
    }  # fmt: skip
    result = site.put({b"a": BIG, b"other/.gitmodules": b"", b"deep/.gitattributes": Link(b"../a"), **refused})
    said = {line.partition(":")[0] for line in result.warnings}
    assert said == {".gitattributes", "sub/.gitattributes", "sub/.GITMODULES", ".gitmodules", "deep/.gitModules"}
    site.assert_mirrored(left_out=refused.keys())
    assert not site.sync(hints=refused.keys()).committed


@pytest.fixture
def nobodys_site() -> Iterator[Site]:
    with site_for_nobody() as site:
        yield site


def test_what_cannot_be_read_waits_and_the_rest_goes_on(nobodys_site: Site) -> None:
    """As another user than root, whom permissions do not stop."""
    site = nobodys_site
    site.lay({b"a": b"1", b"shut/b": b"2", b"shut/deep/c": b"3", b"closed": b"4"})
    assert sync_as_nobody(site) == ([], [])
    site.lay({b"a": b"changed", b"closed": b"unseen", b"new": b"unseen"})
    for name in ("closed", "new"):
        os.chmod(site.directory / name, 0)
    os.chmod(site.directory / "shut", 0)
    deferred, warnings = sync_as_nobody(site)
    assert deferred == [["closed", "permission denied"], ["new", "permission denied"]]
    assert warnings == ["shut: Permission denied; left as it was"]
    for hints in (("shut/b", "shut/deep/c"), ("shut/deep",), ("shut",)):
        _, warnings = sync_as_nobody(site, hints)
        assert any("Permission denied" in line for line in warnings)
    there = {b"a": b"changed", b"shut/b": b"2", b"shut/deep/c": b"3", b"closed": b"4"}
    assert {path: git("show", b"main:" + path, cwd=site.remote) for path in there} == there
    for name in ("closed", "new"):
        os.chmod(site.directory / name, 0o644)
    os.chmod(site.directory / "shut", 0o755)
    assert sync_as_nobody(site) == ([], [])
    site.assert_mirrored()


def test_two_directories_share_a_repository(tmp_path: Path) -> None:
    first = Site.make(tmp_path, "first", into="models/first")
    second = Site.make(tmp_path, "second", remote=first.remote, into="models/second")
    first.put({b"a": b"1", b"big": BIG, b"x.safetensors": BIG, b"sub/link": Link(b"../a")})
    second.put(
        {b".gitattributes": b"*.weird" + LFS_LINE, b"a": b"2", b"b.weird": b"x", b"x.safetensors": b"plain here"}
    )
    first.configure(lfs_threshold_bytes=THRESHOLD)
    first.put({b"sub/big": BIG, b"a": None})
    second.put({b"sub/c.weird": b"y"})
    wanted = {b"models/first/" + path: entry for path, entry in tree(first.directory).items()}
    wanted |= {b"models/second/" + path: entry for path, entry in tree(second.directory).items()}
    there = first.remote_tree()
    theirs = {path: there.pop(path) for path in list(there) if path.endswith(b".gitattributes")}
    assert theirs.keys() == {b"models/first/.gitattributes", b"models/second/.gitattributes"}
    del wanted[b"models/second/.gitattributes"]
    assert there == wanted


def test_kept_files_stay_on_the_remote(tmp_path: Path) -> None:
    site = Site.make(tmp_path, delete=DeletePolicy.KEEP, lfs_threshold_bytes=THRESHOLD)
    site.put({b"a": b"1", b"big": BIG, b"sub/c": b"2"})
    site.put({b"a": None, b"big": None, b"sub": None, b"d": b"3"})
    site.assert_mirrored(besides={b"a": b"1", b"big": BIG, b"sub/c": b"2"})
    site.put({b"a": b"again", b"e": BIGGER})
    site.assert_mirrored(besides={b"big": BIG, b"sub/c": b"2"})
    site.put({b"a": None, b"d": None, b"e": None})  # nothing left at all
    site.assert_mirrored(besides={b"a": b"again", b"big": BIG, b"sub/c": b"2", b"d": b"3", b"e": BIGGER})
    site.put({b"a": b"again"})
    site.assert_mirrored(besides={b"big": BIG, b"sub/c": b"2", b"d": b"3", b"e": BIGGER})


def test_most_files_gone_at_once_is_a_question(tmp_path: Path) -> None:
    site = Site.make(tmp_path)
    names = [b"%d" % number for number in range(30)]
    site.put({name: name for name in names})
    tip = site.tip()
    site.lay(dict.fromkeys(names[5:]))
    with pytest.raises(BlockedError, match="25 of 30 files are gone"):
        site.sync()
    assert site.tip() == tip
    site.sync(accept_deletions=True)
    site.assert_mirrored()


paths = st.lists(st.sampled_from([b"a", b"b", b"c", b"d.bin"]), min_size=1, max_size=3).map(b"/".join)


def _is_whole(content: bytes) -> bool:
    """Whether it is not the beginning of a file of a known format, for the rest of which lfssync would wait."""
    return not check(b"d.bin", Reader(len(content), lambda count, at: content[at : at + count])).is_incomplete


contents = st.one_of(
    st.sampled_from([None, b"", BIG, BIGGER, BINARY, Program(b"run"), Program(BIG)]),
    st.sampled_from([Link(b"a"), Link(b"../b"), Link(b"/")]),
    st.binary(max_size=8).filter(_is_whole),
)
rounds = st.lists(st.dictionaries(paths, contents, min_size=1, max_size=6), min_size=1, max_size=4)


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(rounds=rounds, data=st.data())
def test_any_sequence_of_changes(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[dict[bytes, Content]], data: st.DataObject
) -> None:
    site = Site.make(tmp_path_factory.mktemp("site"), lfs_threshold_bytes=THRESHOLD)
    for number, change in enumerate(rounds):
        before = tree(site.directory).keys()
        site.lay(change)
        touched = change.keys() | (before ^ tree(site.directory).keys())
        hinted = number > 0 and data.draw(st.booleans(), label="hinted")
        result = site.sync(hints=touched if hinted else None, accept_deletions=True)
        assert not result.deferred
        if result.commit is not None:
            site.assert_mirrored()
        assert not site.sync(accept_deletions=True).committed


def test_laying_down_is_what_it_says(tmp_path: Path) -> None:
    """The tool of these tests: kinds replace one another."""
    for content in (b"1", Link(b"x"), Program(b"2"), None):
        lay(tmp_path, {b"a/b": b"0"})
        lay(tmp_path, {b"a": content})
        assert (b"a" in tree(tmp_path)) == (content is not None)
