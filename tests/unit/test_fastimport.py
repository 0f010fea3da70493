"""The words that go to `git fast-import`: names of any bytes, in an order in which nothing is in another's way."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfssync.git.fastimport import Edit, Ident, blob_oid, edits_stream, quote

PATHS = st.binary(min_size=1, max_size=40).filter(lambda path: b"\0" not in path)
OID = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"


def unquote(text: bytes) -> bytes:
    """A reader of git's C-style quotes. Source: git's quote.c."""
    assert text[:1] == text[-1:] == b'"'
    body, at, found = text[1:-1], 0, b""
    while at < len(body):
        assert body[at : at + 1] != b'"'
        if body[at : at + 1] == b"\\":
            found += bytes((int(body[at + 1 : at + 4], 8),))
            at += 4
        else:
            found += body[at : at + 1]
            at += 1
    return found


@given(PATHS)
def test_a_quoted_path_is_one_plain_line_that_says_the_same(path: bytes) -> None:
    quoted = quote(path)
    assert all(0x20 <= byte <= 0x7E for byte in quoted)
    assert unquote(quoted) == path


@pytest.mark.parametrize(
    ("path", "quoted"),
    [
        (b"a/b c", b'"a/b c"'),
        (b'"', rb'"\042"'),
        (b"\\", rb'"\134"'),
        (b"\n", rb'"\012"'),
        (b"\xff", rb'"\377"'),
        (b"\x7f", rb'"\177"'),
    ],
)
def test_quote(path: bytes, quoted: bytes) -> None:
    assert quote(path) == quoted


def test_deletions_come_first() -> None:
    """So that a file may take a folder's place, and the reverse, in whatever order the edits were found."""
    edits = [Edit(b"a", "100644", OID), Edit(b"a/b"), Edit(b"c/d", "120000", OID), Edit(b"c")]
    assert list(edits_stream(edits)) == [
        b'D "a/b"\n', b'D "c"\n', b'M 100644 %b "a"\n' % OID.encode(), b'M 120000 %b "c/d"\n' % OID.encode()
    ]  # fmt: skip


@given(st.lists(st.tuples(PATHS, st.booleans())))
def test_each_edit_is_one_line(edits: list[tuple[bytes, bool]]) -> None:
    stream = list(edits_stream(Edit(path, "100644", OID) if is_set else Edit(path) for path, is_set in edits))
    assert len(stream) == len(edits)
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in stream)


@pytest.mark.parametrize(
    ("ident", "line"),
    [
        (Ident("A U Thor", "a@b.c", "1732380000 +0100"), b"A U Thor <a@b.c> 1732380000 +0100"),
        (Ident("", "", "0 +0000"), b"lfssync <> 0 +0000"),
        (Ident("<evil>\ncommitter x", "a>\n<b", "0 +0000"), b"evilcommitter x <ab> 0 +0000"),
        (Ident(" Jos\u00e9 \udcff\0", "\r", "0 +0000"), b"Jos\xc3\xa9 \xff <> 0 +0000"),
    ],
)
def test_nothing_in_a_name_ends_its_field(ident: Ident, line: bytes) -> None:
    assert ident.line() == line


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_a_blob_is_named_as_git_names_it(blocks: list[bytes]) -> None:
    content = b"".join(blocks)
    expected = hashlib.sha1(b"blob %d\0%b" % (len(content), content), usedforsecurity=False).hexdigest()
    assert blob_oid(len(content), blocks) == expected


def test_the_empty_blob() -> None:
    assert blob_oid(0, []) == OID
