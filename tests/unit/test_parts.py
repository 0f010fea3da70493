"""What servers offer for uploads in parts, as tables: which parts there are, what each wants, which upload it is."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfssync.errors import LfssyncError
from lfssync.model import LfsObject
from lfssync.transfer.batch import MEDIA_TYPE, MULTIPART, MULTIPART_BASIC, Operation, Wanted, parse
from lfssync.transfer.batch import Sent as Asked
from lfssync.transfer.parts import InParts, Taken, checksum, completion, holes, listed, tagged

OID = "ab" * 32
KEYS = {"padded": "{:05}", "bare": "{}", "wide": "{:08}"}


def lfs(size_bytes: int) -> LfsObject:
    return LfsObject(OID, size_bytes)


def in_parts(one: LfsObject, actions: dict[str, Any]) -> InParts:
    """What a server's actions stand for, in a reply that calls itself `multipart-basic`, whatever they are."""
    reply = {"transfer": MULTIPART_BASIC, "objects": [{"oid": one.oid, "size": one.size_bytes, "actions": actions}]}
    standing = parse(reply, Operation.UPLOAD, [one], [MULTIPART_BASIC], Asked(0.0, 0.0)).standings[one.oid]
    assert isinstance(standing, Wanted)
    return tagged(one, standing) if standing.kind == MULTIPART else listed(one, standing)


def hub(size_bytes: int, chunk: int, style: str = "padded", **more: str) -> dict[str, Any]:
    """Actions as the Hub gives them, the parts in no order."""
    count = -(-size_bytes // chunk)
    keys = [KEYS[style].format(number) for number in range(1, count + 1)]
    random.Random(size_bytes).shuffle(keys)
    header = {"chunk_size": str(chunk), **more, **{key: f"https://s3/part?n={int(key)}" for key in keys}}
    return {"upload": {"href": "https://hub/complete?uploadId=u1&X-Amz-Signature=s1", "header": header}}


def numbers(actions: dict[str, Any], size_bytes: int) -> list[int]:
    made = in_parts(lfs(size_bytes), actions)
    return [int(part.action.href.rpartition("=")[2]) for part in made.parts]


@pytest.mark.parametrize("style", KEYS)
@given(size=st.integers(1, 5000), chunk=st.integers(100, 6000))
def test_parts_go_by_number_and_make_up_the_object(style: str, size: int, chunk: int) -> None:
    made = in_parts(lfs(size), hub(size, chunk, style))
    assert made.is_tagged
    assert numbers(hub(size, chunk, style), size) == list(range(1, len(made.parts) + 1))
    assert [part.span[0] for part in made.parts] == list(range(0, size, chunk))
    assert sum(part.span[1] for part in made.parts) == size
    assert holes(lfs(size), (part.span for part in made.parts)) == []


def test_what_is_no_part_is_no_header_either() -> None:
    made = in_parts(
        lfs(300), hub(300, 100, upload_id="u1", Authorization="secret", **{"1.5": "x", "-1": "x", "1e3": "x"})
    )
    assert [part.action.headers for part in made.parts] == [{}, {}, {}]
    assert made.last
    assert made.last.headers == {"Accept": MEDIA_TYPE, "Content-Type": MEDIA_TYPE}
    assert all(one.authenticated for one in (made.last, *(part.action for part in made.parts))), "no login goes there"


@pytest.mark.parametrize(
    "header",
    [
        {"chunk_size": "100"},
        {"chunk_size": "100", "1": "https://s3/1", "2": "https://s3/2"},
        {"chunk_size": "100", "1": "https://s3/1", "2": "https://s3/2", "3": "https://s3/3", "4": "https://s3/4"},
        {"chunk_size": "100", "1": "https://s3/1", "2": "https://s3/2", "02": "https://s3/2"},
        {"chunk_size": "0", "1": "https://s3/1"},
        {"chunk_size": "-100", "1": "https://s3/1"},
        {"chunk_size": "many", "1": "https://s3/1"},
        {"chunk_size": "", "1": "https://s3/1"},
        {"chunk_size": "1", "1": "https://s3/1"},
    ],
)
def test_parts_that_do_not_make_up_the_object(header: dict[str, Any]) -> None:
    with pytest.raises(LfssyncError, match=OID):
        in_parts(lfs(300), {"upload": {"href": "https://hub/complete", "header": header}})


def test_a_chunk_larger_than_the_object_is_one_part() -> None:
    made = in_parts(lfs(300), hub(300, 1 << 40))
    assert [part.span for part in made.parts] == [(0, 300)]


def test_the_completion_names_the_parts_in_order_and_the_etags_as_received() -> None:
    sent = {(at, 100): Taken(f'"e{at}"', "") for at in (1000, 0, 200, 100)}
    assert json.loads(completion(lfs(1100), sent)) == {
        "oid": OID,
        "parts": [
            {"partNumber": 1, "etag": '"e0"'}, {"partNumber": 2, "etag": '"e100"'},
            {"partNumber": 3, "etag": '"e200"'}, {"partNumber": 4, "etag": '"e1000"'},
        ],
    }  # fmt: skip


def href(name: str, **more: Any) -> dict[str, Any]:
    return {"href": f"https://giftless/{name}?sig=1", **more}


def test_a_part_is_always_bytes_of_the_object() -> None:
    (part,) = in_parts(lfs(300), {"parts": [href("a", body="something else")]}).parts
    assert part.action.body is None


def test_requests_are_made_as_they_stand() -> None:
    actions = {
        "init": href("init", body="begin", header={"a": "b"}),
        "parts": [href("last", pos=200), href("first", size=100, want_digest="contentMD5"),
                  href("middle", pos=100, size=100, method="POST", header=None)],
        "commit": href("commit", method="PUT", body="<xml/>"),
        "abort": href("abort", method="DELETE"),
        "verify": href("verify"),
    }  # fmt: skip
    made = in_parts(lfs(300), actions)
    asked = [(one.method, one.href, one.headers, one.body) for one in (made.first, made.last, made.abort) if one]
    assert asked == [
        ("", "https://giftless/init?sig=1", {"a": "b"}, b"begin"),
        ("PUT", "https://giftless/commit?sig=1", {}, b"<xml/>"),
        ("DELETE", "https://giftless/abort?sig=1", {}, None),
    ]
    assert [(part.span, part.action.method, part.want_digest) for part in made.parts] == [
        ((0, 100), "", "contentMD5"), ((100, 100), "POST", ""), ((200, 100), "", ""),
    ]  # fmt: skip
    assert not made.is_tagged


@pytest.mark.parametrize(
    "actions",
    [
        {"parts": [href("a")]},
        {"parts": [href("b", pos=200)], "commit": href("commit")},
        {"commit": href("commit")},
        {"init": href("init"), "commit": href("commit"), "parts": []},
        {"commit": href("commit"), "parts": None, "init": None, "abort": None},
    ],
)
def test_every_step_may_be_missing(actions: dict[str, Any]) -> None:
    made = in_parts(lfs(300), actions)
    assert (made.last is not None) is ("commit" in actions)
    assert len(made.parts) == len(actions.get("parts") or ())


@pytest.mark.parametrize(
    "parts",
    [
        [href("a", pos="x")],
        [href("a", pos=True)],
        [href("a", size=1.5)],
        [href("a", pos=-1)],
        [href("a", pos=300)],
        [href("a", size=301)],
        [href("a", size=-1)],
        [href("a", size=200), href("b", pos=100)],
    ],
)
def test_parts_that_make_no_sense(parts: object) -> None:
    with pytest.raises(LfssyncError, match=OID):
        in_parts(lfs(300), {"parts": parts, "commit": href("commit")})


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([], [(0, 300)]),
        ([(0, 300)], []),
        ([(200, 100), (0, 100)], [(100, 100)]),
        ([(100, 100)], [(0, 100), (200, 100)]),
        ([(0, 100), (50, 100)], None),
        ([(0, 0)], None),
        ([(0, 301)], None),
        ([(-1, 10)], None),
    ],
)
def test_holes(spans: list[tuple[int, int]], expected: list[tuple[int, int]] | None) -> None:
    assert holes(lfs(300), spans) == expected


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


CONTENT = b"some bytes"
SHA256, MD5 = b64(hashlib.sha256(CONTENT).digest()), b64(hashlib.md5(CONTENT).digest())


@pytest.mark.parametrize(
    ("wanted", "header"),
    [
        ("", {}),
        ("contentMD5", {"Content-MD5": MD5}),
        ("sha-256;q=1.0, md5;q=0.5", {"Digest": f"SHA-256={SHA256}"}),
        ("md5;q=0.5,SHA-256", {"Digest": f"SHA-256={SHA256}"}),
        ("crc32c;q=1.0, md5;q=0.3", {"Digest": f"MD5={MD5}"}),
        ("sha-512;q=0.1, sha-256;q=0", {"Digest": f"SHA-512={b64(hashlib.sha512(CONTENT).digest())}"}),
        ("sha-256;q=0", {}),
        ("unixsum", {}),
    ],
)
def test_checksums(wanted: str, header: dict[str, str]) -> None:
    assert checksum(wanted, lambda: [CONTENT[:3], CONTENT[3:]]) == header


def test_a_part_is_read_for_its_checksum_only_if_one_is_wanted() -> None:
    def read() -> list[bytes]:
        raise AssertionError("read for nothing")

    assert checksum("", read) == {}


HREF = "https://hub/complete?uploadId=u1&key=a%2Fb"


@pytest.mark.parametrize(
    ("href", "is_same"),
    [
        (HREF, True),
        ("https://hub/complete?key=a%2Fb&uploadId=u1", True),
        (HREF + "&X-Amz-Signature=2&X-Amz-Date=20261125T000000Z&X-Amz-Expires=900&X-Amz-Credential=c", True),
        (HREF + "&sig=x&se=2026&st=2025&sp=w&sv=2020&sr=b&skoid=x&skt=y", True),
        (HREF + "&Expires=1&Signature=s&Key-Pair-Id=k&Policy=p", True),
        (HREF + "&expires=1&signature=s&token=t", True),
        (HREF.replace("u1", "u2"), False),
        (HREF + "&part=1", False),
        (HREF.replace("hub/", "other/"), False),
        (HREF.replace("complete", "finish"), False),
    ],
)
def test_which_upload_it_is(href: str, is_same: bool) -> None:
    def upload(url: str, **more: str) -> str:
        header = {"chunk_size": "300", "1": "https://s3/1", **more}
        made = in_parts(lfs(300), {"upload": {"href": url, "header": header}})
        return made.upload

    assert (upload(href + "#f") == upload(HREF + "&Signature=old")) is is_same
    assert upload(HREF, upload_id="a") != upload(HREF, upload_id="b")
    assert "hub" not in upload(HREF)


def test_other_parts_are_another_upload() -> None:
    one, other = in_parts(lfs(300), hub(300, 100)), in_parts(lfs(300), hub(300, 150))
    assert one.upload != other.upload


def test_giftless_names_the_same_upload_whatever_it_lacks() -> None:
    def upload(**actions: Any) -> str:
        made = in_parts(lfs(300), actions)
        return made.upload

    commit = href("commit")
    assert upload(commit=commit, init=href("init"), parts=[href("a")]) == upload(commit=commit)
    assert upload(init=href("init"), parts=[href("a")]) == upload(parts=[href("b", pos=100)])


def test_no_signature_shows() -> None:
    made = in_parts(lfs(300), hub(300, 100))
    assert "Signature" not in repr(made)
    assert "s3" not in repr(made)
    assert "hub" not in repr(made)
