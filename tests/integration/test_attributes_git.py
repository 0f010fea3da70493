"""Attribute lines, pointers and the binary test, held against git's and git-lfs's own opinion."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lfssync.model import LfsObject
from lfssync.rules.attributes import (
    DEFAULT_PATTERNS,
    Block,
    is_binary,
    is_lfs_line,
    join,
    line_for_path,
    looks_like_pointer,
    parse_pointer,
)
from tests.helpers import git

# fmt: off
_NASTY = [
    b"sp ace.bin", b" lead", b"trail ", b"  ", b"x filter=lfs", b"-text", b"-rf", b"!bang", b'"!x"', b"#hash",
    b"[attr]x", b'quo"te', b'"lead', b'"both"', b"'", b"$x", b"~", b"%41", b"a:b", b":(top)x", b"{x}",
    b"tab\tx", b"nl\nx", b"cr\r", b"a\rb\x0bc", b"\x01", b"\x7f",
    b"br[a]cket", b"]", b"[", b"[[:space:]]", b"st*ar", b"**", b"q?m",
    b"back\\slash", b"back\\", b"\\*", b"\\\\", b"\\n", b"\\ x",
    b"\xff\xfe", b"lat\xe9 [1]", b"caf\xc3\xa9[\xff]", b"\xc2\x85", b"\xc2\xa0",
    "modèle é".encode(), '日本"x'.encode(), "\u3000wide".encode(),
    b"x" * 255, b"\xff" * 255, b"d/" * 500 + b"deep", b"dir/sub dir/f [1].bin",
]
# fmt: on


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("attributes")
    subprocess.run(["git", "init", "--quiet", path], check=True)
    return path


def _stage(repository: Path, blobs: dict[bytes, bytes]) -> None:
    """Makes these blobs the whole index."""
    git("read-tree", "--empty", cwd=repository)
    oids = {
        content: git("hash-object", "-w", "--stdin", "--no-filters", cwd=repository, stdin=content).strip()
        for content in {*blobs.values()}
    }
    lines = b"".join(b"100644 %b\t%b\0" % (oids[content], path) for path, content in blobs.items())
    git("update-index", "-z", "--index-info", cwd=repository, stdin=lines)


def _lfs_paths(repository: Path, attributes: bytes, paths: set[bytes]) -> set[bytes]:
    """The paths whose filter is lfs, in git's eyes."""
    _stage(repository, {b".gitattributes": attributes})
    given_paths = b"".join(path + b"\0" for path in sorted(paths))
    fields = git("check-attr", "--cached", "-z", "--stdin", "filter", cwd=repository, stdin=given_paths).split(b"\0")
    return {path for path, value in zip(fields[::3], fields[2::3], strict=False) if value == b"lfs"}


def _near(path: bytes) -> set[bytes]:
    """Other paths that a careless line for this one would match."""
    directory, slash, name = path.rpartition(b"/")
    head = directory + slash
    names = {
        b"x" + name,
        name + b"x",
        name[1:],
        name[:-1],
        name.swapcase(),
        name.replace(b"*", b"ab"),
        name.replace(b"?", b"a"),
    }
    names |= {
        name.replace(b"\\", b""),
        name.replace(b"\\", b"\\\\"),
        name.replace(b"[", b""),
        name.replace(b"\xff", b"\xfe"),
        name.strip(),
    }
    names |= {re.sub(rb"\[[^]]+\]", b"a", name), name.replace(b'"', b""), name.replace(b" ", b"_"), b"[" + name + b"]"}
    near = {head + other for other in names} | {b"sub/" + path, path + b"/x", name}
    return {other for other in near if all(part not in {b"", b".", b".."} for part in other.split(b"/"))}


def _by_space(path: bytes) -> bytes:
    return re.sub(rb"[ \t\n\r]", b" ", path)


def _near_misses(paths: set[bytes]) -> set[bytes]:
    """Near paths that differ from all of these in more than the kind of white space."""
    spaced = {_by_space(path) for path in paths}
    return {other for path in paths for other in _near(path) if _by_space(other) not in spaced}


_pieces = st.sampled_from(
    [
        b" ",
        b"\t",
        b"\n",
        b"\r",
        b'"',
        b"\\",
        b"*",
        b"?",
        b"[",
        b"]",
        b"!",
        b"#",
        b"-",
        b"\xff",
        b"\xc3\xa9",
        b"[:",
        b"012",
        b"a",
    ]
)
_names = st.lists(_pieces | st.binary(min_size=1, max_size=3), min_size=1, max_size=6).map(
    lambda parts: b"".join(parts).replace(b"\0", b"0").replace(b"/", b"s")
)
_paths = st.lists(_names.filter(lambda name: name not in {b".", b".."}), min_size=1, max_size=3).map(b"/".join)
_users = st.sampled_from([b"", b"* text=auto\n", b"*.md -text", b"# only a comment\r\n"])


@settings(max_examples=150)
@given(st.frozensets(_paths | st.sampled_from(_NASTY), min_size=1, max_size=8), _users)
@example(frozenset(_NASTY), b"*.md text\n")
def test_exactly_the_paths_of_the_block_are_lfs_to_git(
    repository: Path, paths: frozenset[bytes], user_text: bytes
) -> None:
    near = _near_misses(set(paths))
    found = _lfs_paths(repository, join(user_text, Block(paths=paths)), set(paths) | near)
    assert found == paths


def test_a_line_of_the_longest_length_counts_and_git_skips_a_longer_one(repository: Path) -> None:
    tail = b" filter=lfs diff=lfs merge=lfs -text\n"
    longest, longer = b"x" * (2048 - len(tail) - 1), b"x" * (2048 - len(tail))
    assert line_for_path(longest) == b"/" + longest + tail
    text = b"/" + longest + tail + b"/" + longer + tail
    assert _lfs_paths(repository, text, {longest, longer}) == {longest}


@pytest.mark.parametrize(
    "line",
    [
        b"x.bin filter=lfs diff=lfs merge=lfs -text",
        b"*.bin\tfilter=lfs\r",
        b"  *.bin  filter=lfs",
        b'"x.bin" filter=lfs',
        b'"\\170.bin"\tfilter=lfs',
        b"*.bin -filter filter=lfs",
        b"*.bin filter=lfs -filter",
        b"*.bin filter=lfs !filter",
        b"*.bin filter=lfs filter=other",
        b"*.bin filter",
        b"*.bin filter=lfsx",
        b"*.bin myfilter=lfs",
        b"#*.bin filter=lfs",
        b"!x.txt filter=lfs",
        b'"!x.txt" filter=lfs',
        b"[attr]big filter=lfs",
        b"",
        b"*" * 2036 + b" filter=lfs",
        b"*" * 2037 + b" filter=lfs",
    ],
    ids=lambda line: repr(line[:40]),
)
def test_is_lfs_line_says_what_git_says(repository: Path, line: bytes) -> None:
    assert is_lfs_line(line + b"\n") == (_lfs_paths(repository, line + b"\n", {b"x.bin"}) == {b"x.bin"})


def _go_unquoted(quoted: bytes) -> bytes:
    """The bytes behind Go's `%q`."""
    short = {
        b"a": b"\a",
        b"b": b"\b",
        b"f": b"\f",
        b"n": b"\n",
        b"r": b"\r",
        b"t": b"\t",
        b"v": b"\v",
        b"\\": b"\\",
        b'"': b'"',
    }

    def one(found: re.Match[bytes]) -> bytes:
        if found[1]:
            return bytes([int(found[1], 16)])
        return chr(int(found[2] or found[3], 16)).encode() if found[2] or found[3] else short[found[4]]

    return re.sub(rb"\\(?:x(..)|u(....)|U(........)|(.))", one, quoted)


def _missing_pointers(repository: Path, blobs: dict[bytes, bytes]) -> set[bytes]:
    """The paths that should be pointers in the eyes of git-lfs, which reads the attributes itself."""
    _stage(repository, blobs)
    tree = git("write-tree", cwd=repository).decode().strip()
    commit = git("commit-tree", tree, "-m", "all", cwd=repository).decode().strip()
    git("update-ref", "HEAD", commit, cwd=repository)
    checked = subprocess.run(["git", "lfs", "fsck", "--pointers"], cwd=repository, capture_output=True, check=False)
    assert checked.stderr == b""
    names = re.findall(rb'^pointer: unexpectedGitObject: "((?:[^"\\]|\\.)*)" ', checked.stdout, re.MULTILINE)
    assert len(names) == checked.stdout.count(b"unexpectedGitObject")
    assert checked.returncode == bool(names)
    return {_go_unquoted(name) for name in names}


def _without_conflicts(paths: set[bytes], taken: set[bytes]) -> set[bytes]:
    """Those that can stand in one tree with the taken ones."""
    kept: set[bytes] = set()
    for path in sorted(paths, key=len):
        below = any(other.startswith(path + b"/") for other in taken | kept)
        above = any(path[:end] in taken | kept for end in range(len(path)) if path[end : end + 1] == b"/")
        if not below and not above:
            kept.add(path)
    return kept


@settings(max_examples=15)
@given(st.frozensets(_paths, min_size=1, max_size=30))
@example(frozenset(_NASTY))
def test_git_lfs_reads_the_block_as_git_does(repository: Path, paths: frozenset[bytes]) -> None:
    lfs = _without_conflicts(set(paths), set())
    # git-lfs 3.3 takes a line for a path in the root as one for that name in any directory; later versions do not.
    in_root = {_by_space(path) for path in lfs if b"/" not in path}
    near = {path for path in _near_misses(lfs) if _by_space(path.rpartition(b"/")[2]) not in in_root}
    near = _without_conflicts(near, lfs | {b".gitattributes"})
    blobs = dict.fromkeys(lfs | near, b"no pointer") | {
        b".gitattributes": join(b"*.md text", Block(paths=frozenset(lfs)))
    }
    assert _missing_pointers(repository, blobs) == lfs


def test_git_lfs_reads_the_default_patterns_as_git_does(repository: Path) -> None:
    special = {"saved_model/**/*": "saved_model/variables/index", "*tfevents*": "events.out.tfevents.1.host"}
    matching = {f"a/{special.get(pattern, pattern.replace('*', 'x'))}".encode() for pattern in DEFAULT_PATTERNS}
    matching = {path.removeprefix(b"a/") if b"saved_model" in path else path for path in matching}
    others = {
        b"a/README.md",
        b"a/model.safetensors.index.json",
        b"a/config.json",
        b"a/x.planet",
        b"b/saved_model/y.txt",
        b"gguf",
        b"x.GGUF",
    }
    attributes = join(b"", Block(default_patterns=True))
    assert len(matching) == len(DEFAULT_PATTERNS)
    assert _lfs_paths(repository, attributes, matching | others) == matching
    assert (
        _missing_pointers(repository, dict.fromkeys(matching | others, b"no pointer") | {b".gitattributes": attributes})
        == matching
    )


_POINTER = LfsObject("4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393", 12345).pointer()
_VERSION, _OID_LINE, _SIZE_LINE, _ = _POINTER.split(b"\n")
# fmt: off
_versions = st.sampled_from([
    _VERSION, _VERSION, _VERSION.replace(b"git-lfs", b"hawser"), b"version http://git-media.io/v/2",
    _VERSION.replace(b"s:", b":"), _VERSION + b" ",
])
_oids = st.sampled_from([
    _OID_LINE, _OID_LINE, _OID_LINE + b"0", _OID_LINE[:-1],
    _OID_LINE.replace(b"4d7a", b"4D7A"), _OID_LINE.replace(b"256", b"1"),
])
_sizes = st.sampled_from([
    _SIZE_LINE, _SIZE_LINE, b"size 0", b"size 007", b"size +5", b"size -5", b"size -0", b"size  5", b"size 5 ",
    b"size 1_0", b"size 9223372036854775807", b"size 9223372036854775808", b"size 99999999999999999999", b"size",
])
_extra = st.sampled_from([
    b"", b"", b"", b"\r", b" ", b"ext-0-foo sha256:" + b"a" * 64, b"ext-10-foo sha256:" + b"a" * 64, b"foo bar", b"#",
])
_around = st.sampled_from([
    b"", b"", b"\n", b"\r\n", b" ", b"\t\n", b"\x0b", b"\xc2\xa0", b"\xc2\x85", b"\xef\xbb\xbf", b"\0", b" " * 900,
    b" " * 2000 + b"x",
])
_ends = st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"\n\n", b"\r", b"\n \n"])
# fmt: on


@st.composite
def _like_pointers(draw: st.DrawFn) -> bytes:
    lines = [draw(_versions), draw(_oids), draw(_sizes)]
    extra = draw(_extra)
    if extra:
        lines.insert(draw(st.integers(0, 3)), extra)
    return draw(_around) + draw(_ends).join(lines) + draw(st.sampled_from([b"", b"\n", b"\n"])) + draw(_around)


@settings(max_examples=150)
@given(_like_pointers())
@example(_POINTER)
@example(_POINTER.replace(b"\n", b"\r\n"))
def test_what_git_lfs_takes_for_a_pointer_looks_like_one(repository: Path, blob: bytes) -> None:
    file = repository / "candidate"
    file.write_bytes(blob)
    checks = [["git", "lfs", "pointer", "--check", f"--file={file}", *strict] for strict in ([], ["--strict"])]
    accepted, canonical = (
        subprocess.run(check, cwd=repository, capture_output=True, check=False).returncode == 0 for check in checks
    )
    assert looks_like_pointer(blob) or not accepted
    assert (parse_pointer(blob) is not None) == (canonical and b"ext-" not in blob)


@pytest.mark.parametrize(
    "head", [b"x\0", b"\xff\xfe\x01\n", b"x" * 7999 + b"\0", b"x" * 8000 + b"\0", b"\x1bPNG"], ids=[*"abcde"]
)
def test_binary_means_what_it_means_to_git(repository: Path, head: bytes) -> None:
    file = repository / "candidate"
    file.write_bytes(head)
    shown = subprocess.run(
        ["git", "diff", "--no-index", "--numstat", "/dev/null", file], cwd=repository, capture_output=True, check=False
    )
    assert is_binary(head) == shown.stdout.startswith(b"-\t-\t")
