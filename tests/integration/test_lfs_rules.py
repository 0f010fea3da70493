"""What becomes an LFS object, and that every clone agrees: also when the rules change, and whoever changed them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from lfssync.model import DeletePolicy, LfsObject
from lfssync.rules.attributes import DEFAULT_PATTERNS
from tests.helpers import clone, git, random_bytes, tree, write
from tests.integration.site import ATTRIBUTES, LFS_LINE, Content, Link, Program, Site, lay, lfs_paths, stamps

THRESHOLD = 1000
BIG = random_bytes(1, 3000).replace(b"\0", b"1")
SMALL = b"small text"
POINTER = LfsObject("ab" * 32, 12345).pointer()
BEGIN = b"# lfssync begin"


def committed_attributes(site: Site, name: bytes = ATTRIBUTES) -> bytes:
    return git("show", f"{site.mirror.branch}:".encode() + name, cwd=site.remote)


def lfs_on_remote(site: Site) -> set[bytes]:
    return lfs_paths(site.remote, site.mirror.branch)


def web_edit(site: Site, contents: dict[bytes, Content], message: str = "edit on the web") -> None:
    """Somebody changes the branch with stock git, as a host's web page does."""
    work = site.clone()
    lay(work, contents)
    git("add", "--all", cwd=work)
    git("commit", "--quiet", "-m", message, cwd=work)
    git("lfs", "push", "--all", "origin", cwd=work)
    git("push", "--quiet", "origin", f"HEAD:{site.mirror.branch}", cwd=work)


def test_default_patterns_where_the_directory_has_no_rules(tmp_path: Path) -> None:
    site = Site.make(tmp_path)
    site.put({
        b"model.safetensors": SMALL, b"sub/weights.bin": SMALL, b"saved_model/a/b.txt": SMALL, b"config.json": SMALL,
        b"run/events.out.tfevents.1": SMALL, b"empty.bin": b"", b"model.safetensors.index.json": SMALL,
    })  # fmt: skip
    assert lfs_on_remote(site) == {
        b"model.safetensors", b"sub/weights.bin", b"saved_model/a/b.txt", b"run/events.out.tfevents.1"
    }  # fmt: skip
    site.assert_mirrored()
    lines = committed_attributes(site).decode().splitlines()
    assert [f"{pattern} filter=lfs diff=lfs merge=lfs -text" for pattern in DEFAULT_PATTERNS] == lines[1:-1]


def test_own_rules_stand_unchanged_above_one_block(tmp_path: Path) -> None:
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    own = b"# mine\n*.weird" + LFS_LINE + b"*.txt text eol=lf"  # its last line does not end
    site.put({ATTRIBUTES: own, b"a.weird": SMALL, b"b.bin": SMALL, b"big": BIG, b"sub/a big one": BIG})
    assert lfs_on_remote(site) == {b"a.weird", b"big", b"sub/a big one"}
    text = committed_attributes(site)
    assert text.startswith(own + b"\n" + BEGIN)
    assert text.count(BEGIN) == 1
    assert (site.directory / ".gitattributes").read_bytes() == own
    site.assert_mirrored()
    site.put({b"big": None, b"c": BIG, ATTRIBUTES: own + b"\n*.bin" + LFS_LINE})
    assert lfs_on_remote(site) == {b"a.weird", b"b.bin", b"sub/a big one", b"c"}
    assert b"/big" not in committed_attributes(site)
    site.assert_mirrored()


def test_a_committed_file_that_comes_back_with_a_clone_is_taken_for_what_it_is(tmp_path: Path) -> None:
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    site.put({ATTRIBUTES: b"*.weird" + LFS_LINE, b"big": BIG, b"a.weird": SMALL})
    text = committed_attributes(site)
    site.put({ATTRIBUTES: text})
    assert committed_attributes(site) == text
    site.put({b"big2": BIG})
    assert committed_attributes(site).count(BEGIN) == 1
    site.assert_mirrored()


@pytest.mark.parametrize(
    ("content", "is_lfs"),
    [
        (b"x" * (64 << 10) + b"\0", False),  # the NUL is beyond what git looks at
        (b"\0" + b"x" * ((64 << 10) - 1), False),
        (b"\0" + b"x" * (64 << 10), True),
        (b"x" * (1 << 20), False),
        (b"x" * (1 << 20) + b"x", True),
        (POINTER, True),
        (POINTER.replace(b"\n", b"\r\n"), True),
        (POINTER[:-1], True),
        (b"\n" + POINTER, True),
        (b"# " + POINTER, False),
        (b"version https://git-lfs.github.com/spec/v1\n", False),
    ],
)
def test_size_kind_and_shape_decide_where_no_rule_does(tmp_path: Path, content: bytes, is_lfs: bool) -> None:
    site = Site.make(tmp_path)
    site.put({b"notes": content, b"sub/with space": content})
    assert bool(lfs_on_remote(site)) is is_lfs
    site.assert_mirrored()


def test_texts_that_look_like_pointers_are_content(tmp_path: Path) -> None:
    """Whatever rule they fall under, and even if they name an object that is there."""
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    of_big = LfsObject(hashlib.sha256(BIG).hexdigest(), len(BIG)).pointer()
    site.put({b"big.bin": BIG, b"note": of_big, b"note.bin": of_big, b"nowhere.txt": POINTER, b"link": Link(b"note")})
    site.assert_mirrored()
    site.put({b"big.bin": of_big, b"note": BIG})
    site.assert_mirrored()


def test_a_nested_file_takes_rules_back(tmp_path: Path) -> None:
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    nested = b"*.bin -filter -diff -merge text\nplain/** !filter\n"
    site.put({
        b"a.bin": SMALL, b"sub/.gitattributes": nested, b"sub/a.bin": BIG, b"sub/deep/b.bin": POINTER, b"sub/c": BIG,
        b"sub/plain/d.bin": SMALL, b"sub/plain/e.bin": BIG,
    })  # fmt: skip
    assert lfs_on_remote(site) >= {b"a.bin", b"sub/c"}
    assert not lfs_on_remote(site) & {b"sub/a.bin"}
    work = tree(site.clone())
    assert work[b"sub/.gitattributes"] == tree(site.directory)[b"sub/.gitattributes"]
    there, here = work, tree(site.directory)
    del there[ATTRIBUTES]
    assert {path: entry for path, entry in there.items() if path != b"sub/deep/b.bin"} == {
        path: entry for path, entry in here.items() if path != b"sub/deep/b.bin"
    }
    # git-lfs itself cannot tell this one: a text like a pointer that the user keeps out of LFS; git has it right
    assert git("show", "main:sub/deep/b.bin", cwd=site.remote) == POINTER


RULES = [
    b"",
    b"*.bin" + LFS_LINE,
    b"*.txt" + LFS_LINE + b"big -filter\n",
    b"* filter=other\n",
    b"[attr]large filter=lfs diff=lfs merge=lfs -text\n*.txt large\n",
    b"*.bin" + LFS_LINE + b"*.bin !filter\n",
    b"sub/**" + LFS_LINE,
    None,
]


@pytest.mark.parametrize("where", [ATTRIBUTES, b"sub/.gitattributes"])
@pytest.mark.parametrize("hinted", [False, True], ids=["whole", "hinted"])
def test_changed_rules_move_files_in_and_out_of_lfs(tmp_path: Path, where: bytes, hinted: bool) -> None:
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    names = [
        folder + name for folder in (b"", b"sub/", b"sub/deep/") for name in (b"a.bin", b"b.txt", b"big", b"empty.bin")
    ]
    site.put({name: b"" if b"empty" in name else BIG if b"big" in name else SMALL for name in names})
    for rules in RULES:
        site.lay({where: rules})
        assert not site.sync(hints=[where] if hinted else None).deferred
        site.assert_mirrored()
        assert not site.sync().committed


def test_rules_and_files_that_change_together(tmp_path: Path) -> None:
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    site.put({ATTRIBUTES: b"*.txt" + LFS_LINE, b"a.txt": SMALL, b"b.txt": BIG, b"c": SMALL})
    site.put({ATTRIBUTES: b"c" + LFS_LINE, b"a.txt": b"new", b"c": b"new", b"b.txt": None, b"sub/d.txt": SMALL})
    assert lfs_on_remote(site) == {b"c"}
    site.assert_mirrored()
    site.put({ATTRIBUTES: None, b"a.txt": Program(BIG)})
    assert lfs_on_remote(site) == {b"a.txt"}
    site.assert_mirrored()


def test_a_hint_about_a_file_does_not_run_ahead_of_the_rules(tmp_path: Path) -> None:
    """New rules on disk that no hint spoke of yet are not in the commit, so they do not count for it either."""
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    site.put({b"sub/.gitattributes": b"*.bin -filter\n", b"sub/a.bin": SMALL, ATTRIBUTES: b"*.bin" + LFS_LINE})
    site.lay({b"sub/.gitattributes": None, b"sub/a.bin": b"new", ATTRIBUTES: b"*.txt" + LFS_LINE})
    site.sync(hints=[b"sub/a.bin"])
    work = site.clone()
    assert (work / "sub/a.bin").read_bytes() == b"new"
    assert git("status", "--porcelain", cwd=work) == b""
    site.sync(hints=[ATTRIBUTES])
    site.sync(hints=[b"sub/.gitattributes"])
    site.assert_mirrored()


def test_many_lines_of_own_for_odd_names(tmp_path: Path) -> None:
    names = [
        b"a*b",
        b"[x]",
        b"sp ace",
        b'q"uote',
        b"\xff\xfe",
        b"tab\t",
        b"new\nline",
        b"#",
        b"!x",
        b"\\",
        b"a,b",
        b"d/" * 9 + b"d",
    ]
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    site.put(dict.fromkeys(names, BIG) | {b"aXb": SMALL, b"x": SMALL, b"sp-ace": SMALL})
    assert lfs_on_remote(site) == set(names)
    site.assert_mirrored()
    site.put(dict.fromkeys(names[::2], SMALL) | dict.fromkeys(names[1::2]))
    assert lfs_on_remote(site) == set()
    assert b"/a" not in committed_attributes(site)
    site.assert_mirrored()


# -- rules that others have on the branch ---------------------------------------------------------------------------


def test_rules_edited_on_the_web_count_and_stay(tmp_path: Path) -> None:
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    site.put({b"a.json": SMALL, b"b.bin": SMALL, b"big": BIG})
    text = committed_attributes(site)
    web_edit(site, {ATTRIBUTES: b"*.json" + LFS_LINE + text})
    site.put({b"c.json": SMALL})
    assert lfs_on_remote(site) >= {b"a.json", b"c.json", b"big"}
    assert committed_attributes(site).startswith(b"*.json" + LFS_LINE)
    site.assert_mirrored()


def test_own_rules_edited_on_the_web_stay_until_they_change_here(tmp_path: Path) -> None:
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    site.put({ATTRIBUTES: b"*.x" + LFS_LINE, b"a.x": SMALL, b"b.y": SMALL})
    web_edit(site, {ATTRIBUTES: b"*.y" + LFS_LINE})
    site.put({b"c.y": SMALL})
    assert lfs_on_remote(site) == {b"b.y", b"c.y"}
    site.assert_mirrored()
    site.put({ATTRIBUTES: b"*.x" + LFS_LINE + b"# again\n"})
    assert lfs_on_remote(site) == {b"a.x"}
    site.assert_mirrored()


def test_a_block_deleted_on_the_web_comes_back(tmp_path: Path) -> None:
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    site.put({b"a.bin": SMALL, b"big": BIG, b"c": SMALL})
    work = site.clone()
    git("rm", "--quiet", ".gitattributes", cwd=work)
    git("commit", "--quiet", "-m", "no attributes", cwd=work)
    git("push", "--quiet", "origin", "HEAD:main", cwd=work)
    site.sync()
    site.assert_mirrored()
    assert lfs_on_remote(site) >= {b"big"}


def test_nested_rules_that_only_the_remote_has_count(tmp_path: Path) -> None:
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    site.put({b"a": SMALL})
    web_edit(site, {b"sub/.gitattributes": b"*.bin -filter\n*.txt" + LFS_LINE})
    site.put({b"sub/a.bin": BIG, b"sub/deep/b.txt": SMALL})
    assert lfs_on_remote(site) == {b"sub/deep/b.txt"}
    site.assert_mirrored(besides={b"sub/.gitattributes": b"*.bin -filter\n*.txt" + LFS_LINE})


def test_what_others_have_in_lfs_stays_so_under_new_rules(tmp_path: Path) -> None:
    """A host's own rules go when the directory brings its own; files that relied on them must not become pointers."""
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    work = clone(site.remote, tmp_path / "before")
    write(work / ".gitattributes", b"*.bin" + LFS_LINE)
    write(work / "their.bin", BIG)
    write(work / "sub/with space.bin", b"also theirs")
    write(work / "example.md", POINTER)  # a text of theirs, outside of LFS
    git("add", "--all", cwd=work)
    git("commit", "--quiet", "-m", "theirs", cwd=work)
    git("-c", "lfs.allowincompletepush=true", "lfs", "push", "--all", "origin", cwd=work)
    git("push", "--quiet", "--no-verify", "origin", "HEAD:main", cwd=work)
    site.put({ATTRIBUTES: b"*.txt" + LFS_LINE, b"a.txt": SMALL, b"b.bin": SMALL})
    work = site.clone()
    assert (work / "their.bin").read_bytes() == BIG
    assert (work / "sub/with space.bin").read_bytes() == b"also theirs"
    assert (work / "b.bin").read_bytes() == SMALL
    assert git("show", "main:example.md", cwd=site.remote) == POINTER
    assert lfs_on_remote(site) == {b"their.bin", b"sub/with space.bin", b"a.txt", b"example.md"}
    assert b"example" not in committed_attributes(site)


def test_rules_above_the_sub_folder_count(tmp_path: Path) -> None:
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD, into="models/mine")
    work = clone(site.remote, tmp_path / "before")
    write(work / ".gitattributes", b"*.x" + LFS_LINE + b"models/mine/no.x -filter\n")
    write(work / "models/.gitattributes", b"*.y" + LFS_LINE)
    git("add", "--all", cwd=work)
    git("commit", "--quiet", "-m", "theirs", cwd=work)
    git("push", "--quiet", "origin", "HEAD:main", cwd=work)
    site.put({b"a.x": SMALL, b"no.x": BIG, b"b.y": SMALL, b"c": BIG, b"sub/d.z": SMALL})
    mine = b"models/mine/"
    assert lfs_on_remote(site) == {mine + b"a.x", mine + b"b.y", mine + b"c"}
    site.remote_tree()
    web_edit(site, {ATTRIBUTES: b"*.z" + LFS_LINE})
    site.put({b"e": SMALL})
    assert lfs_on_remote(site) >= {mine + b"sub/d.z"}
    site.remote_tree()


def test_kept_rules_stay_when_the_file_goes(tmp_path: Path) -> None:
    site = Site.make(tmp_path, delete=DeletePolicy.KEEP)
    site.put({ATTRIBUTES: b"*.weird" + LFS_LINE, b"a.weird": SMALL, b"b": SMALL})
    site.put({ATTRIBUTES: None, b"a.weird": None, b"b": b"new"})
    site.assert_mirrored(besides={b"a.weird": SMALL})
    assert committed_attributes(site).startswith(b"*.weird" + LFS_LINE)


# -- files that must wait while rules change ------------------------------------------------------------------------


def test_a_file_that_waits_while_the_rules_change_stays_whole_for_cloners(tmp_path: Path) -> None:
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    site.put({ATTRIBUTES: b"*.weird" + LFS_LINE, b"a.weird": SMALL, b"b.weird": SMALL, b"c.txt": SMALL})
    site.lay({ATTRIBUTES: b"*.txt" + LFS_LINE})
    with (site.directory / "a.weird").open("ab"):
        result = site.sync()
        assert [one.path for one in result.deferred] == [b"a.weird"]
        site.assert_mirrored()
        assert lfs_on_remote(site) == {b"a.weird", b"c.txt"}
    assert not site.sync(hints=[b"a.weird"]).deferred
    assert lfs_on_remote(site) == {b"c.txt"}
    site.assert_mirrored()


def test_rules_that_are_being_written_wait(tmp_path: Path) -> None:
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    site.put({ATTRIBUTES: b"*.weird" + LFS_LINE, b"a.weird": SMALL, b"sub/b.txt": SMALL})
    (site.directory / "sub/.gitattributes").touch()
    with (
        (site.directory / ".gitattributes").open("ab") as top,
        (site.directory / "sub/.gitattributes").open("ab") as low,
    ):
        for file in (top, low):
            file.write(b"*.txt filter=l")
            file.flush()
        site.lay({b"c.txt": SMALL, b"d.weird": SMALL})
        result = site.sync()
        assert {one.path for one in result.deferred} == {ATTRIBUTES, b"sub/.gitattributes"}
        assert lfs_on_remote(site) == {b"a.weird", b"d.weird"}
        assert b"*.txt" not in committed_attributes(site)
        site.assert_mirrored(left_out={b"sub/.gitattributes"})
        for file in (top, low):
            file.write(b"fs diff=lfs merge=lfs -text\n")
    site.sync()
    assert lfs_on_remote(site) == {b"a.weird", b"d.weird", b"c.txt", b"sub/b.txt"}
    site.assert_mirrored()


def test_nothing_in_the_directory_is_touched(tmp_path: Path) -> None:
    """`Site.sync` proves it each time; here also for what it reads through, and for a failing sync."""
    site = Site.make(tmp_path, lfs_threshold_bytes=THRESHOLD)
    site.put({ATTRIBUTES: b"*.x" + LFS_LINE, b"a.x": SMALL, b"big": BIG, b"l": Link(b"big"), b"sub/p": Program(BIG)})
    before = stamps(site.directory)
    os.rename(site.remote, site.remote.with_name("away"))
    site.lay({b"new": BIG})
    with pytest.raises(Exception, match="repository"):
        site.sync()
    os.rename(site.remote.with_name("away"), site.remote)
    site.sync()
    root = os.fsencode(site.directory)
    assert {path: stamp for path, stamp in stamps(site.directory).items() if path in before and path != root} == {
        path: stamp for path, stamp in before.items() if path != root
    }
    site.assert_mirrored()
