"""Batches: what is asked, and every way in which a reply can say yes, no, or something that must not be believed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfssync.errors import BlockedError, LfssyncError
from lfssync.model import LfsObject
from lfssync.transfer.batch import (
    BASIC,
    MULTIPART,
    MULTIPART_BASIC,
    Action,
    Failed,
    Operation,
    Present,
    Sent,
    Standing,
    Wanted,
    batches,
    expiry,
    parse,
    request,
)

ONE = LfsObject("1" * 64, 5000)
OTHER = LfsObject("2" * 64, 7)
SENT = Sent(100.0, 1_800_000_000.0)
KINDS = (BASIC, MULTIPART, MULTIPART_BASIC)
HREF = "https://store.example.org/objects/1?signature=secret"


def row(lfs: LfsObject = ONE, **fields: Any) -> dict[str, Any]:
    return {"oid": lfs.oid, "size": lfs.size_bytes, **fields}


def read(*rows: Any, operation: Operation = Operation.UPLOAD, **fields: Any) -> dict[str, Standing]:
    objects = [ONE, OTHER] if len(rows) == 2 else [ONE]
    return dict(parse({"objects": list(rows), **fields}, operation, objects, KINDS, SENT).standings)


def standing(operation: Operation = Operation.UPLOAD, **fields: Any) -> Standing:
    return read(row(**fields), operation=operation)[ONE.oid]


def wanted(operation: Operation = Operation.UPLOAD, **fields: Any) -> Wanted:
    found = standing(operation, **fields)
    assert isinstance(found, Wanted)
    return found


def test_what_is_asked() -> None:
    assert request(Operation.UPLOAD, [ONE], "run/1", ("basic", "multipart")) == {
        "operation": "upload",
        "transfers": ["basic", "multipart"],
        "ref": {"name": "refs/heads/run/1"},
        "objects": [{"oid": "1" * 64, "size": 5000}],
        "hash_algo": "sha256",
    }
    assert json.dumps(request(Operation.DOWNLOAD, [ONE], "")) == json.dumps(
        {"operation": "download", "transfers": ["basic"], "objects": [{"oid": "1" * 64, "size": 5000}]}
        | {"hash_algo": "sha256"}
    )


def test_largest_first_each_once_and_no_oid_twice() -> None:
    small, large, lying = LfsObject("a" * 64, 1), LfsObject("b" * 64, 9), LfsObject("a" * 64, 2)
    assert batches([small, large, small, lying]) == [[large, lying], [small]]
    assert batches([]) == []


@given(st.lists(st.builds(LfsObject, st.sampled_from("abcdef"), st.integers(1, 4))), st.integers(1, 5))
def test_batches_hold_everything_once(objects: list[LfsObject], limit: int) -> None:
    found = batches(objects, limit)
    assert sorted((lfs.oid, lfs.size_bytes) for one in found for lfs in one) == sorted(
        {(lfs.oid, lfs.size_bytes) for lfs in objects}
    )
    for one in found:
        assert 0 < len(one) <= limit
        assert len({lfs.oid for lfs in one}) == len(one)


@pytest.mark.parametrize(
    "fields",
    [{}, {"actions": {}}, {"actions": None}, {"actions": {"upload": None}}, {"actions": {"download": {"href": HREF}}}],
)
def test_no_action_means_that_it_is_there(fields: dict[str, Any]) -> None:
    assert standing(**fields) == Present()


def test_an_action_with_all_that_may_be_in_it() -> None:
    upload = {"href": HREF, "header": {"Key": "value", "Number": 5}, "expires_in": 60, "odd": 1}
    found = wanted(authenticated=True, actions={"upload": upload, "verify": {"href": HREF, "header": None}})
    assert found == Wanted(
        BASIC,
        {
            "upload": Action(HREF, {"Key": "value", "Number": "5"}, 160.0, True, extras={"odd": 1}),
            "verify": Action(HREF, {}, None, True),
        },
    )
    assert found.expires_at == 160.0
    assert "secret" not in repr(found)


@pytest.mark.parametrize("name", ["Transfer-Encoding", "content-length", "HOST", "Connection", "Expect"])
def test_headers_that_http_decides_are_left_out(name: str) -> None:
    assert wanted(actions={"upload": {"href": HREF, "header": {name: "chunked", "A": "b"}}}).actions[
        "upload"
    ].headers == {"A": "b"}


def test_links_by_their_old_name() -> None:
    assert wanted(_links={"upload": {"href": HREF}}).actions == {"upload": Action(HREF)}


def test_only_a_verification_is_left_to_do() -> None:
    assert wanted(actions={"verify": {"href": HREF}}).actions.keys() == {"verify"}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"code": 404, "message": "gone"}, Failed(404, "gone")),
        ({"code": "404"}, Failed(0)),
        ({"code": True, "message": 5}, Failed(0)),
        ({}, Failed(0)),
        ("no", Failed(0, "no")),
        (False, Failed(0)),
    ],
)
def test_an_error_goes_before_everything(error: Any, expected: Failed) -> None:
    assert standing(error=error, actions={"upload": {"href": HREF}}, size=1) == expected
    assert standing(error=error, actions=None) == expected


def test_another_size_is_no_yes() -> None:
    for operation in Operation:
        found = standing(operation, size=4999)
        assert isinstance(found, Failed)
        assert found.code == 422
    assert standing(size=None) == Present()


def test_a_download_needs_a_link() -> None:
    assert wanted(Operation.DOWNLOAD, actions={"download": {"href": HREF}}).actions.keys() == {"download"}
    for actions in ({}, None, {"upload": {"href": HREF}}):
        assert standing(Operation.DOWNLOAD, actions=actions) == Failed(404, "there is no link to it")


def test_the_hub_says_by_the_object_that_it_comes_in_parts() -> None:
    upload = {"href": HREF, "header": {"chunk_size": "2000", "00001": "https://a", "1": "https://b"}}
    for transfer in (BASIC, MULTIPART, None, ""):
        found = read(row(actions={"upload": upload}), row(OTHER, actions={"upload": {"href": HREF}}), transfer=transfer)
        one, other = found[ONE.oid], found[OTHER.oid]
        assert isinstance(one, Wanted)
        assert isinstance(other, Wanted)
        assert (one.kind, one.chunk_bytes) == (MULTIPART, 2000)
        assert (other.kind, other.chunk_bytes) == (BASIC, None)


@pytest.mark.parametrize("size", ["", "0", "-5", "many", "1.5", "9" * 30])
def test_a_size_of_parts_that_is_none(size: str) -> None:
    found = wanted(actions={"upload": {"href": HREF, "header": {"chunk_size": size}}})
    assert (found.kind, found.chunk_bytes) == (MULTIPART, None)


def test_the_parts_of_giftless() -> None:
    parts = [
        {"href": HREF, "pos": 0, "size": 5, "expires_in": 30},
        {"href": HREF, "pos": 5, "want_digest": "contentMD5"},
    ]
    commit = {"href": HREF, "method": "PUT", "body": "<list/>"}
    found = read(row(actions={"parts": parts, "commit": commit}), transfer=MULTIPART_BASIC)[ONE.oid]
    assert found == Wanted(
        MULTIPART_BASIC,
        {"commit": Action(HREF, method="PUT", body=b"<list/>")},
        (
            Action(HREF, expires_at=130.0, extras={"pos": 0, "size": 5}),
            Action(HREF, extras={"pos": 5, "want_digest": "contentMD5"}),
        ),
    )
    assert isinstance(found, Wanted)
    assert found.expires_at == 130.0
    assert read(row(), transfer=MULTIPART_BASIC) == {ONE.oid: Present()}
    plain = read(row(actions={"upload": {"href": HREF}}), transfer=MULTIPART_BASIC)[ONE.oid]
    assert isinstance(plain, Wanted)
    assert plain.kind == BASIC


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "names no objects"),
        (None, "names no objects"),
        ("<html>", "names no objects"),
        ({}, "names no objects"),
        ({"objects": None}, "names no objects"),
        ({"objects": {}}, "names no objects"),
        ({"objects": []}, "does not answer about the object 1"),
        ({"objects": [None]}, "not asked for"),
        ({"objects": [{}]}, "not asked for"),
        ({"objects": [{"oid": ["1"]}]}, "not asked for"),
        ({"objects": [row(OTHER)]}, "not asked for"),
        ({"objects": [row(), row(OTHER)]}, "not asked for"),
        ({"objects": [row(), row()]}, "answers twice"),
        ({"objects": [row()], "hash_algo": "sha512"}, "hash algorithm 'sha512'"),
        ({"objects": [row()], "transfer": "tus"}, "transfer 'tus'"),
        ({"objects": [row()], "transfer": ["basic"]}, "transfer"),
        ({"objects": [row(actions=[1])]}, "actions"),
        ({"objects": [row(actions="upload")]}, "actions"),
        ({"objects": [row(actions={"upload": "https://a"})]}, "actions is none"),
        ({"objects": [row(actions={"parts": {"href": HREF}})]}, "parts"),
        ({"objects": [row(actions={"upload": {}})]}, "no absolute address"),
        ({"objects": [row(actions={"upload": {"href": None}})]}, "no absolute address"),
        ({"objects": [row(actions={"upload": {"href": "/objects/1"}})]}, "no absolute address"),
        ({"objects": [row(actions={"upload": {"href": "//host/1"}})]}, "no absolute address"),
        ({"objects": [row(actions={"upload": {"href": "file:///etc/passwd"}})]}, "no absolute address"),
        ({"objects": [row(actions={"upload": {"href": "https://host/\n1"}})]}, "no absolute address"),
        ({"objects": [row(actions={"upload": {"href": HREF, "header": []}})]}, "no absolute address|headers"),
        ({"objects": [row(actions={"upload": {"href": HREF, "header": {"A": None}}})]}, "headers"),
        ({"objects": [row(actions={"upload": {"href": HREF, "header": {"A": "b\r\nC: d"}}})]}, "headers"),
        ({"objects": [row(actions={"upload": {"href": HREF, "header": {"A b": "c"}}})]}, "headers"),
        ({"objects": [row(actions={"upload": {"href": HREF, "method": "put it"}})]}, "method"),
        ({"objects": [row(actions={"upload": {"href": HREF, "method": 1}})]}, "method"),
        ({"objects": [row(actions={"upload": {"href": HREF, "body": {}}})]}, "body"),
    ],
)
def test_what_is_no_answer_to_the_question(document: Any, words: str) -> None:
    with pytest.raises(LfssyncError, match=words) as raised:
        parse(document, Operation.UPLOAD, [ONE], KINDS, SENT)
    assert raised.type is LfssyncError
    assert raised.value.remedy


def test_a_transfer_that_was_not_offered() -> None:
    with pytest.raises(LfssyncError, match="not offered"):
        parse({"objects": [row()], "transfer": MULTIPART}, Operation.UPLOAD, [ONE], (BASIC,), SENT)
    assert parse({"objects": [row()], "transfer": BASIC}, Operation.UPLOAD, [ONE], (), SENT).transfer == BASIC


@pytest.mark.parametrize(
    "href", ["http://store.example.org/1", "https://me:pw@store.example.org/1", "https:///1", "https://[::1/1"]
)
def test_links_that_may_not_be_followed(href: str) -> None:
    with pytest.raises(BlockedError):
        wanted(actions={"upload": {"href": href}})


@pytest.mark.parametrize("href", ["http://127.0.0.1:80/1", "http://localhost/1", "HTTPS://store.example.org/1"])
def test_links_that_may_be_followed(href: str) -> None:
    assert wanted(actions={"upload": {"href": href}}).actions["upload"].href == href


# 1_800_000_000 is 2027-01-15T08:00:00Z
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"expires_in": 900}, 1000.0),
        ({"expires_in": 0.5}, 100.5),
        ({"expires_in": "900"}, 1000.0),
        ({"expires_in": -1}, 99.0),
        ({"expires_in": 10**400}, None),
        ({"expires_in": 10**12}, 100.0 + 365 * 86400),
        ({"expires_in": float("nan")}, None),
        ({"expires_in": float("inf")}, None),
        ({"expires_in": "soon"}, None),
        ({"expires_in": True}, None),
        ({"expires_in": [5]}, None),
        ({"expires_in": 900, "expires_at": "2027-01-15T08:00:01Z"}, 1000.0),
        ({"expires_in": 0, "expires_at": "2027-01-15T08:00:01Z"}, 101.0),
        ({"expires_at": "2027-01-15T08:00:10Z"}, 110.0),
        ({"expires_at": "2027-01-15t08:00:10z"}, 110.0),
        ({"expires_at": "2027-01-15T08:00:10.25Z"}, 110.25),
        ({"expires_at": "2027-01-15T08:00:10.250000123Z"}, 110.25),
        ({"expires_at": "2027-01-15T10:00:10+02:00"}, 110.0),
        ({"expires_at": "2027-01-15T10:00:10+0200"}, 110.0),
        ({"expires_at": "2027-01-15T08:00:10"}, 110.0),
        ({"expires_at": "2020-01-15T08:00:10Z"}, 100.0 + 1579075210 - 1800000000),
        ({"expires_at": "9999-12-31T23:59:59Z"}, 100.0 + 365 * 86400),
        ({"expires_at": "0001-01-01T00:00:00Z"}, None),
        ({"expires_at": "0001-01-01T00:00:00+14:00"}, None),
        ({"expires_at": "tomorrow"}, None),
        ({"expires_at": ""}, None),
        ({"expires_at": 5}, None),
        ({"expires_at": None, "expires_in": None}, None),
    ],
)
def test_until_when_an_action_is_good(fields: dict[str, Any], expected: float | None) -> None:
    assert expiry(fields, SENT) == (None if expected is None else pytest.approx(expected))


_FIELDS = (
    *("objects", "oid", "size", "actions", "_links", "error", "upload", "verify", "parts", "href", "header"),
    *("code", "message", "expires_in", "expires_at", "transfer", "hash_algo", "chunk_size", "download"),
)
_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(ONE.oid) | st.just(HREF),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(_FIELDS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(_anything, st.sampled_from(Operation))
def test_no_reply_is_more_than_an_error(document: Any, operation: Operation) -> None:
    for reply in (document, {"objects": [document]}, {"objects": [{"oid": ONE.oid, "actions": document}]}):
        try:
            found = parse(reply, operation, [ONE], KINDS, SENT)
        except LfssyncError:
            continue
        assert found.standings.keys() == {ONE.oid}
