"""The text of `.gitattributes`, pointers and the decision about a file, as tables and properties."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lfssync.errors import UserError
from lfssync.model import LfsObject
from lfssync.rules.attributes import (
    DEFAULT_PATTERNS,
    HUB_PATTERNS,
    Block,
    Storage,
    Verdict,
    classify,
    decide,
    has_line,
    is_binary,
    is_lfs_line,
    join,
    line_for_path,
    looks_like_pointer,
    parse_pointer,
    split,
)

_KIB = 1024
_MIB = 1024 * _KIB
_OID = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393"
_TAIL = b" filter=lfs diff=lfs merge=lfs -text\n"


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        (b"model.bin", b"/model.bin"),
        (b"a/b/c.x", b"/a/b/c.x"),
        (b"sp ace  x", b"/sp[[:space:]]ace[[:space:]][[:space:]]x"),
        (b" x ", b"/[[:space:]]x[[:space:]]"),
        (b"a*b?c[d]e\\f", b"/a\\*b\\?c\\[d]e\\\\f"),
        (b"#x", b"/#x"),
        (b"!x", b"/!x"),
        (b"-x", b"/-x"),
        (b"[attr]x", b"/\\[attr]x"),
        ("modèle".encode(), "/modèle".encode()),
        (b'say "hi" now', b'"/say \\"hi\\" now"'),
        (b"a\nb\tc", b'"/a\\012b\\011c"'),
        (b"\x7f", b'"/\\177"'),
        (b"\xff [1]", b'"/\\377 \\\\[1]"'),
        ("日\n".encode(), '"/日\\012"'.encode()),
    ],
)
def test_line_for_path(path: bytes, pattern: bytes) -> None:
    assert line_for_path(path) == pattern + _TAIL


def test_a_line_is_as_long_as_git_reads_and_no_longer() -> None:
    longest = b"x" * (2048 - len(_TAIL) - 1)
    line = line_for_path(longest)
    assert line is not None
    assert len(line) == 2048
    assert line_for_path(longest + b"x") is None
    assert line_for_path(b" " * 200) is None, "a space takes eleven bytes"


@pytest.mark.parametrize("letter", [b"x", b" ", b"*", b"\\", b"\xff", b"\n", b'"', "ä".encode()])
def test_whether_there_is_a_line_is_the_same_question(letter: bytes) -> None:
    for length in (*range(170, 200), *range(200, 2048 // len(letter) + 1, 37), 2000, 2012, 2013, 2014):
        path = letter * length
        assert has_line(path) == (line_for_path(path) is not None)


def test_a_path_without_a_line_is_refused_with_its_name() -> None:
    with pytest.raises(UserError, match=r"xxx: the path is too long.*; shorten it"):
        join(b"", Block(paths=frozenset({b"x" * 2048})))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"*.bin filter=lfs diff=lfs merge=lfs -text\n", True),
        (b"*.bin\tfilter=lfs\r\n", True),
        (b"  *.bin filter=lfs", True),
        (b'"a b" filter=lfs', True),
        (b'"a \\" filter=x b" filter=lfs', True),
        (b"*.bin -filter filter=lfs", True),
        (b"*.bin filter=lfs -filter", False),
        (b"*.bin filter=lfs !filter", False),
        (b"*.bin filter=lfs filter=other", False),
        (b"*.bin filter=lfsx", False),
        (b"*.bin filter", False),
        (b"*.bin -text", False),
        (b"*.bin myfilter=lfs", False),
        (b"filter=lfs", False),
        (b'"a filter=lfs" -text', False),
        (b"# *.bin filter=lfs", False),
        (b"!*.bin filter=lfs", False),
        (b'"!a b" filter=lfs', False),
        (b"[attr]big filter=lfs", False),
        (b"", False),
        (b"\n", False),
        (b"x" * 2036 + b" filter=lfs\n", True),
        (b"x" * 2037 + b" filter=lfs\n", False),
    ],
)
def test_is_lfs_line(line: bytes, expected: bool) -> None:
    assert is_lfs_line(line) == expected


def test_default_patterns_begin_with_the_hubs_own_file() -> None:
    text = b"".join(pattern.encode() + _TAIL for pattern in HUB_PATTERNS)
    assert (len(HUB_PATTERNS), len(text)) == (35, 1519)
    assert DEFAULT_PATTERNS[:35] == HUB_PATTERNS
    assert len(set(DEFAULT_PATTERNS)) == len(DEFAULT_PATTERNS)
    assert all(is_lfs_line(line) for line in join(b"", Block(default_patterns=True)).splitlines()[1:-1])


# --- the block ---

_path_bytes = st.binary(min_size=1, max_size=12).map(lambda raw: raw.replace(b"\0", b"x").replace(b"/", b"y"))
_nasty = st.sampled_from(
    [
        b" ",
        b'"',
        b"\\",
        b"[[:space:]]",
        b"[",
        b"*",
        b"?",
        b"\n",
        b"\r",
        b"\xff",
        "é".encode(),
        b"\\012",
        b"#",
        b" filter=lfs",
    ]
)
_parts = st.lists(_nasty | _path_bytes, min_size=1, max_size=4).map(b"".join)
_paths = st.lists(_parts, min_size=1, max_size=4).map(b"/".join)
_blocks = st.builds(Block, st.booleans(), st.frozensets(_paths, max_size=6))
_ours = b"# lfssync "
_user_lines = st.sampled_from([
    b"", b"\r", b"# comment", b"*.bin -filter", b"*.bin filter=lfs diff=lfs merge=lfs -text",
    b"/x filter=lfs diff=lfs merge=lfs -text", b"* text=auto\r", b"  ", b"#", b"# lfssync",
])  # fmt: skip
_user_texts = st.binary(max_size=60) | st.lists(_user_lines, max_size=6).map(b"\n".join)
_user_texts = _user_texts.filter(lambda text: _ours not in text)


@given(_user_texts, _blocks)
@example(b"", Block())
@example(b"x", Block(paths=frozenset({b"a"})))
@example(b"x\r", Block(paths=frozenset({b"a"})))
@example(b"\n", Block(default_patterns=True))
def test_split_gives_back_what_was_joined(user_text: bytes, block: Block) -> None:
    joined = join(user_text, block)
    assert split(joined) == (user_text, block)
    assert joined.startswith(user_text)


@given(_blocks, _user_texts)
def test_joining_again_changes_nothing(block: Block, user_text: bytes) -> None:
    joined = join(user_text, block)
    assert join(*split(joined)) == joined


@given(_user_texts, _blocks, st.binary(max_size=40), st.randoms(use_true_random=False))
def test_no_line_of_the_user_is_lost(user_text: bytes, block: Block, more: bytes, random: Random) -> None:
    """Whatever is put into or around the block, and whichever marker goes missing."""
    lines = join(user_text, block).split(b"\n")
    for added in more.replace(b"# lfssync", b"").split(b"\n"):
        lines.insert(random.randrange(len(lines) + 1), added)
    for dropped in [line for line in lines if line.startswith(b"# lfssync ")]:
        if random.random() < 0.3:
            lines.remove(dropped)
    text = b"\n".join(lines)
    again = join(*split(text)).split(b"\n")
    kept = {line.rstrip(b"\r") for line in again}
    assert {line.rstrip(b"\r") for line in lines if not line.startswith(b"# lfssync ")} <= kept | {b""}


def test_an_empty_block_leaves_the_text_alone() -> None:
    assert join(b"* text=auto", Block()) == b"* text=auto"
    assert join(b"", Block()) == b""


def test_the_block_is_sorted_and_follows_the_users_text() -> None:
    text = join(b"* text=auto\n", Block(paths=frozenset({b"b", b"a", b"a/b", b"\xff"})))
    assert text.splitlines()[0] == b"* text=auto"
    assert [line.split()[0] for line in text.splitlines()[2:-1]] == [b"/a", b"/a/b", b"/b", b'"/\\377"']


_BLOCK = Block(default_patterns=True, paths=frozenset({b"a b", b"c\n"}))
_JOINED = join(b"", _BLOCK)
_BEGIN, *_INSIDE, _END = _JOINED.splitlines(keepends=True)
_FOREIGN = b"*.bin -filter\n"
_GLOB = b"/data/*.bin filter=lfs diff=lfs merge=lfs -text\n"


@pytest.mark.parametrize(
    ("text", "user_text"),
    [
        pytest.param(b"above\n" + _JOINED + b"below\n", b"above\nbelow\n", id="moved"),
        pytest.param(_JOINED + b"below", b"below", id="moved to the top"),
        pytest.param(_JOINED + _INSIDE[0] + _INSIDE[-1], _INSIDE[0] + _INSIDE[-1], id="lines like ours below"),
        pytest.param(b"1\n" + _JOINED + b"2\n" + _JOINED + b"3\n", b"1\n2\n3\n", id="doubled"),
        pytest.param((b"1\n" + _JOINED + b"2\n").replace(b"\n", b"\r\n"), b"1\r\n2\r\n", id="CRLF"),
        pytest.param(_BEGIN + b"".join(_INSIDE) + b"below\n", b"below\n", id="no end"),
        pytest.param(_BEGIN + b"".join(_INSIDE) + b"\n" + _INSIDE[0], b"\n" + _INSIDE[0], id="no end, more below"),
        pytest.param(_BEGIN + b"".join(_INSIDE), b"", id="cut off before the end"),
        pytest.param((_BEGIN + b"".join(_INSIDE)).rstrip(b"\n"), b"", id="cut off within the last line end"),
        pytest.param(_BEGIN + b"".join(_INSIDE) + _JOINED + b"2\n", b"2\n", id="no end, then a whole one"),
        pytest.param(_BEGIN + _GLOB + b"".join(_INSIDE) + _FOREIGN + _END, _GLOB + _FOREIGN, id="lines within"),
        pytest.param(_BEGIN + b"/c\n" + b"".join(_INSIDE) + _END, b"/c\n", id="a line that is half ours"),
        pytest.param(b"1\n" + _END + _JOINED + _END + b"2\n", b"1\n2\n", id="stray ends"),
        pytest.param(join(b"last", _BLOCK), b"last", id="no line end above"),
        pytest.param(join(b"last", _BLOCK).replace(b"\n", b"\r\n"), b"last", id="no line end above, CRLF"),
        pytest.param(join(b"last", _BLOCK) + b"2\n", b"last\n2\n", id="no line end above, more below"),
    ],
)  # fmt: skip
def test_a_mistreated_block_is_still_ours_and_the_rest_the_users(text: bytes, user_text: bytes) -> None:
    assert split(text) == (user_text, _BLOCK)


def test_a_text_without_a_block_is_the_users() -> None:
    text = b"".join(pattern.encode() + _TAIL for pattern in HUB_PATTERNS) + b"/a filter=lfs diff=lfs merge=lfs -text\n"
    assert split(text) == (text, Block())


# --- pointers and contents ---


@pytest.mark.parametrize("size_bytes", [1, 12345, 2**63 - 1])
def test_a_canonical_pointer_is_parsed(size_bytes: int) -> None:
    lfs = LfsObject(_OID, size_bytes)
    assert parse_pointer(lfs.pointer()) == lfs
    assert looks_like_pointer(lfs.pointer())


_CANONICAL = LfsObject(_OID, 5).pointer()


@pytest.mark.parametrize(
    "blob",
    [
        _CANONICAL.replace(b"\n", b"\r\n"),
        _CANONICAL.rstrip(b"\n"),
        _CANONICAL + b"  \n\n",
        b"\n" + _CANONICAL,
        b" \x0b" + _CANONICAL,
        _CANONICAL.replace(b"size 5", b"size 05"),
        _CANONICAL.replace(b"size 5", b"size +5"),
        _CANONICAL.replace(b"size 5", b"size 0"),
        _CANONICAL.replace(b"git-lfs.github", b"hawser.github"),
        _CANONICAL.replace(b"https://git-lfs.github.com/spec/v1", b"http://git-media.io/v/2"),
        _CANONICAL.replace(b"oid", b"ext-0-foo sha256:" + _OID.encode() + b"\noid"),
        _CANONICAL.replace(_OID.encode(), _OID.upper().encode()),
        _CANONICAL + b" " * 2000 + b"junk",
    ],
)
def test_what_git_lfs_could_take_for_a_pointer_is_none_but_looks_like_one(blob: bytes) -> None:
    assert parse_pointer(blob) is None
    assert looks_like_pointer(blob)


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\n",
        b"version 1\n",
        b"# A pointer\n\n```\n" + _CANONICAL + b"```\n",
        b"text\n" + _CANONICAL,
        _CANONICAL.replace(b"version", b"Version"),
        _CANONICAL.replace(b"https:", b"http:"),
        _CANONICAL.replace(b"size 5", b"size  5"),
        _CANONICAL.replace(b"size 5", b"size 5x"),
        _CANONICAL.replace(b"size 5", b"sizes"),
        _CANONICAL.replace(b"sha256", b"sha1"),
        _CANONICAL.replace(_OID.encode(), _OID[:-1].encode()),
        _CANONICAL[: _CANONICAL.index(b"size")],
        b"oid sha256:" + _OID.encode() + b"\nsize 5\nversion https://git-lfs.github.com/spec/v1\n",
        b"\n" * 1000 + _CANONICAL,
        b"\0" * 1024,
    ],
)
def test_other_texts_do_not_look_like_a_pointer(blob: bytes) -> None:
    assert parse_pointer(blob) is None
    assert not looks_like_pointer(blob)


def test_a_size_beyond_git_lfss_is_no_pointer() -> None:
    assert parse_pointer(_CANONICAL.replace(b"size 5", b"size 9223372036854775808")) is None


@given(st.binary(max_size=1100) | st.binary(max_size=40).map(lambda raw: _CANONICAL + raw))
def test_whatever_is_parsed_is_written_back_the_same(blob: bytes) -> None:
    lfs = parse_pointer(blob)
    assert lfs is None or (lfs.pointer() == blob and looks_like_pointer(blob))


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"", False),
        (b"text \xff\xfe\x01", False),
        (b"\0", True),
        (b"x" * 7999 + b"\0", True),
        (b"x" * 8000 + b"\0", False),
    ],
)
def test_is_binary(head: bytes, expected: bool) -> None:
    assert is_binary(head) == expected


# --- the decision ---


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (b"lfs", Verdict.LFS),
        (b"unspecified", Verdict.UNSPECIFIED),
        (b"unset", Verdict.REFUSED),
        (b"set", Verdict.REFUSED),
        (b"crypt", Verdict.REFUSED),
        (b"", Verdict.REFUSED),
        (b"LFS", Verdict.REFUSED),
    ],
)
def test_classify(value: bytes, verdict: Verdict) -> None:
    assert classify(value) is verdict


@pytest.mark.parametrize(
    ("verdict", "size_bytes", "binary", "pointer", "storage"),
    [
        (Verdict.LFS, 0, False, False, Storage.PLAIN),
        (Verdict.UNSPECIFIED, 0, False, False, Storage.PLAIN),
        (Verdict.REFUSED, 5 << 30, True, False, Storage.PLAIN),
        (Verdict.REFUSED, 130, False, True, Storage.PLAIN),
        (Verdict.LFS, 1, False, False, Storage.LFS_BY_PATTERN),
        (Verdict.LFS, 5 << 30, True, False, Storage.LFS_BY_PATTERN),
        (Verdict.LFS, 130, False, True, Storage.LFS_BY_PATTERN),
        (Verdict.UNSPECIFIED, _MIB, False, False, Storage.PLAIN),
        (Verdict.UNSPECIFIED, _MIB + 1, False, False, Storage.LFS_BY_LINE),
        (Verdict.UNSPECIFIED, 64 * _KIB, True, False, Storage.PLAIN),
        (Verdict.UNSPECIFIED, 64 * _KIB + 1, True, False, Storage.LFS_BY_LINE),
        (Verdict.UNSPECIFIED, 64 * _KIB + 1, False, False, Storage.PLAIN),
        (Verdict.UNSPECIFIED, 130, False, True, Storage.LFS_BY_LINE),
    ],
)
def test_decide(verdict: Verdict, size_bytes: int, binary: bool, pointer: bool, storage: Storage) -> None:
    assert decide(verdict, size_bytes, binary, pointer, _MIB) is storage


def test_a_low_threshold_counts_for_binary_files_as_well() -> None:
    assert decide(Verdict.UNSPECIFIED, 101, True, False, 100) is Storage.LFS_BY_LINE
    assert decide(Verdict.UNSPECIFIED, 100, True, False, 100) is Storage.PLAIN
