"""The ignore rules, held against git's own opinion on real trees: `git ls-files --others`, exact equality."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lfssync.rules.ignore import BUILT_IN_PATTERNS, IgnoreRules, is_git_name
from tests.helpers import git

_GITIGNORE = b".gitignore"


@pytest.fixture(scope="module")
def git_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git directory whose weakest exclude file holds the built-in patterns."""
    path = tmp_path_factory.mktemp("ignore") / "repo.git"
    subprocess.run(["git", "init", "--quiet", "--bare", path], check=True)
    (path / "info" / "exclude").write_text("\n".join(BUILT_IN_PATTERNS))
    return path


@pytest.fixture
def root(tmp_path: Path) -> bytes:
    return os.fsencode(tmp_path)


def _write(root: bytes, files: dict[bytes, bytes]) -> None:
    for path, content in files.items():
        full = os.path.join(root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as file:
            file.write(content)


def _kept_by_git(git_dir: Path, root: bytes, extra: tuple[str, ...] = ()) -> set[bytes]:
    excludes = [b"--exclude=" + os.fsencode(pattern) for pattern in extra]
    arguments = (b"ls-files", b"--others", b"--exclude-standard", b"-z", *excludes)
    paths = git(
        "-c", "core.bare=false", f"--git-dir={git_dir}", b"--work-tree=" + root, *arguments, cwd=Path(os.fsdecode(root))
    )
    return set(paths.split(b"\0")[:-1])


def _kept_by_us(root: bytes, extra: tuple[str, ...] = ()) -> set[bytes]:
    """Walks as a scan does."""
    rules = IgnoreRules(root, extra)
    kept: set[bytes] = set()
    pending = [b""]
    while pending:
        directory = pending.pop()
        try:
            with open(os.path.join(root, directory, _GITIGNORE), "rb") as file:
                rules.enter(directory, file.read())
        except OSError:
            rules.enter(directory, None)
        with os.scandir(os.path.join(root, directory)) as entries:
            for entry in entries:
                is_dir = entry.is_dir(follow_symlinks=False)
                if not rules.verdict(directory, entry.name, is_dir):
                    (pending.append if is_dir else kept.add)(os.path.join(directory, entry.name))
    return kept


# Every line was chosen for a rule or a quirk of git's; the tree has names on both sides of it.
_LINES = [
    b"a",
    b"/a",
    b"a/",
    b"a/b",
    b"/a/b/",
    b"*",
    b"*/",
    b"/*\n!/a",
    b"*\n!*/\n!b",
    b"**",
    b"**/",
    b"**/b",
    b"a/**",
    b"a/**/b",
    b"a/**/",
    b"/**/b/c",
    b"a**",
    b"a**/b",
    b"/a**/b",
    b"ab**/b",
    b"?b**/b",
    b"a***/b",
    b"a/***/b",
    b"**a/b",
    b"a**b/c",
    b"a/**\\/b",
    b"a/*/b",
    b"a/*b/c",
    b"/*/b/c",
    b"*b/c",
    b"?",
    b"??",
    b"a?b",
    b"a/?/b",
    b"a\\/b",
    b"\\a",
    b"a\\",
    b"a\\\\",
    b"\\*",
    b"\\?",
    b"\\#x",
    b"#x",
    b"\\!x",
    b"!x",
    b"!!x\n!x",
    b"*\n!!x",
    b"a ",
    b"a\\ ",
    b"a\\  ",
    b"a\\\\ ",
    b"  ",
    b" a",
    b"a b",
    b"a\t",
    b"a\r",
    b"a\r\nb\r\n",
    b"a\n\nb",
    b"a\r\r\n",
    b"\r\n",
    b"\xef\xbb\xbfa",
    b"b\n\xef\xbb\xbfa",
    b"a\0b\nc\0",
    b"\xff",
    b"\xc3*",
    b"[\xc3][\xa4]",
    b"\xc3\xa4",
    b"[ab]",
    b"[!ab]",
    b"[^ab]",
    b"[a-c]",
    b"[c-a]",
    b"[a-]",
    b"[-a]",
    b"[]a]",
    b"[!]a]",
    b"[\\]]",
    b"[\\a-\\c]",
    b"[a\\-c]",
    b"[a",
    b"[",
    b"[!",
    b"[]",
    b"[[]",
    b"[[:alpha:]]",
    b"[[:digit:][:space:]]",
    b"[![:alnum:]]",
    b"[[:nonsense:]]",
    b"[[:alpha:]",
    b"[[:]",
    b"[[::]]",
    b"[[:alpha]]",
    b"[a-[:digit:]]",
    b"[[:digit:]-a]",
    b"a[/]b",
    b"a[!x]b",
    b"a/[!x]/b",
    b"a[^/]*",
    b"*.log",
    b"*.log\n!keep.log",
    b"!keep.log\n*.log",
    b"a\n!a/b",
    b"a/*\n!a/b",
    b"a/\n!a/b/",
    b"/",
    b"//",
    b"a//",
    b"//a",
    b"./a",
    b"*a*b*",
    b"*a*a",
    b"*a*b*a*b",
    b"*a?*b",
    b"**/b/**/b",
    b"**/x/**/x/**/b",
    b"x/**/b*/**/*b",
    b"x.y",
    b"A",
    b"*~",
    b"!*~\n!*.tmp\n!__pycache__/",
]

_TREE = [
    *(b"x/" + b"/".join(parts) for length in (1, 2) for parts in itertools.product((b"x", b"b"), repeat=length)),
    b"x/c/b/c/b/c/x/x/b",
    b"x/c/b/c/b/c/b",
    b"a/b",
    b"a/c/b",
    b"a/c/d/b",
    b"ab/b/c",
    b"ab/c/b",
    b"abc/b",
    b"b/a",
    b"c/a/b/c",
    b"c/A",
    b"d/a ",
    b"d/a  ",
    b"d/a b",
    b"d/a\t",
    b"d/a\n",
    b"d/a\\",
    b"d/a\r",
    b"d/a\x0b",
    b"d/ a",
    b"d/\\",
    b"d/*",
    b"d/?",
    b"d/[",
    b"d/]",
    b"d/[]",
    b"d/-",
    b"d/:",
    b"d/0",
    b"d/ ",
    b"d/#x",
    b"d/!x",
    b"d/!!x",
    b"d/axb",
    b"d/aaa",
    b"d/axaxa",
    b"d/abxabxab",
    b"d/a\nb/n",
    b"d/xy",
    b"d/x.y",
    b"e/\xc3\xa4",
    b"e/\xff",
    b"e/\xef\xbb\xbfa",
    b"e/one.log",
    b"e/keep.log",
    b"e/sub/keep.log",
    b"e/draft~",
    b"e/new.tmp",
    b"e/__pycache__/m.pyc",
    b"e/__pycache__/m.txt",
]  # fmt: skip


@pytest.fixture(scope="module")
def big_tree(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    root = os.fsencode(tmp_path_factory.mktemp("tree"))
    _write(root, {path: b"" for path in _TREE if not any(other.startswith(path + b"/") for other in _TREE)})
    return root


@pytest.mark.parametrize("lines", _LINES, ids=repr)
@pytest.mark.parametrize("where", [b"", b"a", b"d", b"e"], ids=["root", "a", "d", "e"])
def test_a_line_means_what_it_means_to_git(git_dir: Path, big_tree: bytes, where: bytes, lines: bytes) -> None:
    ignore_file = os.path.join(big_tree, where, _GITIGNORE)
    try:
        for text in (lines, lines + b"\n"):
            with open(ignore_file, "wb") as file:
                file.write(text)
            assert _kept_by_us(big_tree) == _kept_by_git(git_dir, big_tree)
    finally:
        os.unlink(ignore_file)


# Fragments of patterns, most of them special to git, and of names that such patterns can match.
_ATOMS = [
    b"a",
    b"b",
    b"*",
    b"**",
    b"**/",
    b"/",
    b"?",
    b"[ab]",
    b"[!a]",
    b"[",
    b"]",
    b"-",
    b"\\",
    b"\\*",
    b"!",
    b"#",
    b" ",
    b"\t",
    b"\r",
]
_RARE_ATOMS = [
    b"[[:alpha:]]",
    b"[[:space:]x]",
    b"[]-a]",
    b"[*-\\]]",
    b"\xff",
    b"\xc3\xa4",
    b"\xef\xbb\xbf",
    b".",
    b"tmp",
    b"~",
    b"\0",
]
_patterns = st.lists(st.sampled_from(_ATOMS) | st.sampled_from(_RARE_ATOMS), min_size=1, max_size=7).map(b"".join)
_names = st.lists(
    st.sampled_from([b"a", b"b", b"*", b"[", b"-", b" ", b"\\", b"\n", b"\xc3\xa4", b"\xff", b"!", b"#", b"~"]),
    min_size=1,
    max_size=3,
).map(b"".join)
_paths = st.lists(_names, min_size=1, max_size=4).map(b"/".join)


@st.composite
def _pattern_for(draw: st.DrawFn, path: bytes) -> bytes:
    """A pattern that has a chance to match this path: some of its parts become wildcards."""
    parts = path.split(b"/")[draw(st.integers(0, 1)) :] or [path]
    wild = [
        draw(
            st.sampled_from(
                [
                    part,
                    b"*",
                    b"**",
                    part[:1] + b"*",
                    b"*" + part[-1:],
                    b"?" + part[1:],
                    part + b"**",
                    b"[!x]" + part[1:],
                ]
            )
        )
        for part in parts
    ]
    return (
        draw(st.sampled_from([b"", b"/", b"!", b"!/", b"**/"]))
        + b"/".join(wild)
        + draw(st.sampled_from([b"", b"/", b"/*", b"/**"]))
    )


@st.composite
def _trees(draw: st.DrawFn) -> dict[bytes, bytes]:
    """Files by path, `.gitignore` files among them; no path is both a file and a directory."""
    drawn = draw(st.lists(_paths, min_size=1, max_size=10, unique=True))
    files = [path for path in drawn if not any(other.startswith(path + b"/") for other in drawn)]
    directories = sorted({path[:end] for path in files for end, byte in enumerate(path) if byte == ord("/")})
    lines = st.lists(_patterns | st.sampled_from(files).flatmap(_pattern_for), min_size=1, max_size=5)
    tree = dict.fromkeys(files, b"")
    for directory in draw(st.lists(st.sampled_from([b"", *directories]), min_size=1, max_size=3, unique=True)):
        end = draw(st.sampled_from([b"\n", b"\r\n"]))
        tree[os.path.join(directory, _GITIGNORE)] = end.join(draw(lines)) + draw(st.sampled_from([b"", end]))
    return tree


# git takes a command line pattern as it is: no comment, no trailing space, no byte order mark.
_extras = st.lists(
    _patterns.filter(
        lambda line: b"\0" not in line and not line.startswith((b"#", b"\xef")) and not line.endswith((b" ", b"\r"))
    ).map(os.fsdecode),
    max_size=2,
).map(tuple)


@settings(max_examples=300)
@given(tree=_trees(), extra=_extras)
def test_random_trees_and_rules_mean_what_they_mean_to_git(
    git_dir: Path, tree: dict[bytes, bytes], extra: tuple[str, ...]
) -> None:
    root = os.fsencode(mkdtemp(dir=git_dir.parent))
    try:
        _write(root, tree)
        assert _kept_by_us(root, extra) == _kept_by_git(git_dir, root, extra)
    finally:
        shutil.rmtree(root)


_CLASSES = ["alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "xdigit"]


@pytest.mark.parametrize(
    "members",
    [*(f"[:{name}:]" for name in _CLASSES), "!-~", "\\!-\\~", "]-a", "+--", "^-a", "a^", "a!", "\\]-a", "a-c-z"],
)
def test_every_byte_is_in_the_brackets_where_git_has_it(git_dir: Path, root: bytes, members: str) -> None:
    _write(root, {bytes([byte]): b"" for byte in range(1, 256) if byte not in b"./"})
    for pattern in (f"[{members}]", f"[!{members}]", f"[^{members}]"):
        assert _kept_by_us(root, (pattern,)) == _kept_by_git(git_dir, root, (pattern,))


@pytest.mark.parametrize("pattern", ["link", "link/", "directory/", "*"])
def test_a_link_to_a_directory_is_no_directory(git_dir: Path, root: bytes, pattern: str) -> None:
    _write(root, {b"directory/file": b""})
    os.symlink(b"directory", os.path.join(root, b"link"))
    assert _kept_by_us(root, (pattern,)) == _kept_by_git(git_dir, root, (pattern,))


def test_built_in_patterns_mean_what_they_mean_to_git(git_dir: Path, root: bytes) -> None:
    examples = [pattern.encode() for pattern in BUILT_IN_PATTERNS]
    wild = [
        (b"*", b""),
        (b"*", b"x"),
        (b"?", b"n"),
        (b"[0-9a-f]", b"7"),
        (b"[0-9]", b"5"),
        (b"[k-p]", b"o"),
        (b"\\", b""),
        (b"**/", b""),
    ]
    for special, plain in reversed(wild):
        examples += [example.replace(special, plain) for example in examples]
    plain_files = {b"files/" + example.strip(b"/").replace(b"/", b"-") for example in examples} - {b"files/"}
    directories = {b"dirs/" + example.strip(b"/") + b"/content" for example in examples} - {b"dirs//content"}
    _write(root, dict.fromkeys(plain_files | directories, b""))
    kept = _kept_by_us(root)
    assert kept == _kept_by_git(git_dir, root)
    assert 0 < len(kept) < len(plain_files | directories)


_GIT_NAMES = [
    b".git",
    b".GIT",
    b".Git",
    b".git.",
    b".git ",
    b".git. . ",
    b".git:",
    b".git::$INDEX_ALLOCATION",
    b".git .:x",
    b"git~1",
    b"GIT~1",
    b"git~1.",
    b"git~1:x",
    b"x\\.git",
    b"x\\.git\\y",
    b".git\\x",
    b"\\.git",
    b"\\\\GIT~1 ",
    b"\n\\.git",
    b".g\xe2\x80\x8cit",
    b"\xef\xbb\xbf.git",
    b".git\xe2\x80\x8d",
    b".gi\xe2\x81\xaaT",
    b".git\xff",
    b".git\xe2\x80\x8c\xc0\x80",
    b".git\xed\xa0\x80",
    b".git\xef\xbf\xbf",
]
_FREE_NAMES = [
    b"git",
    b".gitignore",
    b".gitattributes",
    b".gitmodules",
    b".gitx",
    b".git_",
    b".git~1",
    b"git~2",
    b"git~10",
    b"git~1x",
    b"agit~1",
    b".git\n",
    b"..git",
    b" .git",
    b"x.git",
    b"x:.git",
    b".git.x",
    b".git x",
    b".gi",
    b".git\xc3\xa4",
    b".git\xe2\x80\x8b",
    b".git\xef\xbf\xbd",
    b"\xff.git",
    b".g\xe2\x80it",
    b"x\\.gitignore",
    b"x\\.g\xe2\x80\x8cit",
]


def _refused_by_fsck(repository: Path, names: list[bytes]) -> set[bytes]:
    """The names whose trees git's own check, which servers run on what they receive, calls `hasDotgit`."""
    git("init", "--quiet", "--bare", repository, cwd=repository.parent)
    blob = git("hash-object", "-w", "--stdin", cwd=repository).strip()
    entries = b"\0\0".join(b"100644 blob " + blob + b"\t" + name for name in names)
    trees = git("mktree", "-z", "--batch", cwd=repository, stdin=entries + b"\0").split()
    checked = subprocess.run(["git", "fsck", "--no-dangling"], cwd=repository, capture_output=True, check=False)
    refused = {
        line.split()[3][:-1] for line in checked.stderr.splitlines() if b" in tree " in line and b" hasDotgit: " in line
    }
    return {name for name, tree in zip(names, trees, strict=True) if tree in refused}


def test_names_that_git_takes_for_its_own(tmp_path: Path) -> None:
    assert _refused_by_fsck(tmp_path / "repo.git", _GIT_NAMES + _FREE_NAMES) == set(_GIT_NAMES)
    assert [name for name in _GIT_NAMES + _FREE_NAMES if is_git_name(name)] == _GIT_NAMES


@pytest.mark.parametrize("name", [name for name in _GIT_NAMES if not name.startswith(b"\\")], ids=repr)
def test_git_does_not_check_such_names_out(git_dir: Path, name: bytes) -> None:
    oid = b"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    protect = ("-c", "core.protectNTFS=true", "-c", "core.protectHFS=true", f"--git-dir={git_dir}")
    with pytest.raises(subprocess.CalledProcessError, match="update-index") as refused:
        git(*protect, "update-index", "--add", "--cacheinfo", b"100644," + oid + b"," + name, cwd=git_dir)
    assert b"Invalid path" in refused.value.stderr


_git_like = st.lists(
    st.sampled_from([b".git", b"git~1", b".", b"g", b"I", b"t", b"~1", b" ", b":", b"\\", b"x", b"\n"])
    | st.sampled_from([b"\xe2\x80\x8c", b"\xe2\x81\xab", b"\xef\xbb\xbf", b"\xff", b"\xc3", b"\xa4"]),
    min_size=1,
    max_size=5,
).map(b"".join)


@settings(max_examples=25)
@given(st.lists(_git_like.filter(lambda name: name not in {b".", b".."}), min_size=1, max_size=40, unique=True))
def test_random_names_like_git(git_dir: Path, names: list[bytes]) -> None:
    folder = Path(mkdtemp(dir=git_dir.parent))
    try:
        assert {name for name in names if is_git_name(name)} == _refused_by_fsck(folder / "repo.git", names)
    finally:
        shutil.rmtree(folder)
