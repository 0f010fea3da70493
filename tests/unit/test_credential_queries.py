"""Which questions of git are answered: those about exactly one address, and no other (faults 43)."""

from __future__ import annotations

import os
import string
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfssync.credentials import answering
from lfssync.credentials.answering import answer, fits, parse, split

HUB = "https://huggingface.co/me/model"


def query(protocol: str, host: str, path: str, **more: str) -> dict[str, str]:
    return {"protocol": protocol, "host": host, "path": path} | more


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        (HUB, query("https", "huggingface.co", "me/model")),
        (HUB, query("https", "huggingface.co", "me/model/")),
        (HUB, query("https", "huggingface.co", "me/model.git/info/lfs")),
        (HUB, query("https", "huggingface.co", "me/model/info/lfs")),
        (HUB, query("https", "huggingface.co:443", "me/model")),
        (HUB, query("https", "HuggingFace.co", "me/model")),
        (HUB, query("https", "huggingface.co", "me/model", username="anybody")),
        (f"{HUB}.git", query("https", "huggingface.co", "me/model.git")),
        (f"{HUB}.git", query("https", "huggingface.co", "me/model.git/info/lfs")),
        ("https://h:8443/a/b", query("https", "h:8443", "a/b")),
        ("https://h:443/a/b", query("https", "h", "a/b")),
        ("http://127.0.0.1:80/a", query("http", "127.0.0.1", "a")),
        ("http://[::1]:8000/a", query("http", "[::1]:8000", "a")),
        ("https://me@h/a", query("https", "h", "a", username="me")),
        ("https://me@h/a", query("https", "h", "a")),
        ("https://m%40x@h/a", query("https", "h", "a", username="m@x")),
        ("https://h/a%20b/%C3%9F", query("https", "h", "a b/ß")),
        ("https://h/lfs/a/info/lfs", query("https", "h", "lfs/a/info/lfs")),
    ],
)
def test_the_right_questions(address: str, asked: dict[str, str]) -> None:
    assert fits(asked, address)


@pytest.mark.parametrize(
    "asked",
    [
        query("http", "huggingface.co", "me/model"),
        query("ssh", "huggingface.co", "me/model"),
        query("", "huggingface.co", "me/model"),
        query("HTTPS", "huggingface.co", "me/model"),
        query("https", "huggingface.co.evil.example", "me/model"),
        query("https", "evil.example", "me/model"),
        query("https", "", "me/model"),
        query("https", "huggingface.co:8443", "me/model"),
        query("https", "huggingface.co:80", "me/model"),
        query("https", "huggingface.co ", "me/model"),
        query("https", "huggingface.co%00", "me/model"),
        query("https", "huggingface.co%0ahost=evil.example", "me/model"),
        query("https", "evil.example%0ahost=huggingface.co", "me/model"),
        query("https", "huggingface.co", "me/other"),
        query("https", "huggingface.co", "me/model2"),
        query("https", "huggingface.co", "me/model.git"),
        query("https", "huggingface.co", "me/model/info/lfs/objects/batch"),
        query("https", "huggingface.co", "me/model.git/info"),
        query("https", "huggingface.co", "me"),
        query("https", "huggingface.co", ""),
        query("https", "huggingface.co", "ME/model"),
        query("https", "huggingface.co", "me/model/../other"),
        query("https", "huggingface.co", "me%2fmodel"),
        query("https", "huggingface.co", "/me/model"),
        {"protocol": "https", "host": "huggingface.co"},
        {"protocol": "https", "path": "me/model"},
        {"host": "huggingface.co", "path": "me/model"},
        {},
    ],
)
def test_the_wrong_questions(asked: dict[str, str]) -> None:
    assert not fits(asked, HUB)


@pytest.mark.parametrize("address", ["", "https://", "https://h", "https:///a", "ssh://h/a", "/a/b", "git@h:a", "h/a"])
def test_what_is_no_address_of_a_repository_on_the_web_fits_nothing(address: str) -> None:
    asked = [{}, query("https", "h", "a"), query("https", "", ""), query("https", "h", ""), query("ssh", "h", "a")]
    assert not any(fits(one, address) for one in asked)


def test_another_user_of_the_same_repository() -> None:
    assert not fits(query("https", "h", "a", username="you"), "https://me@h/a")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"protocol=https\nhost=h\npath=a=b\n\n", {"protocol": "https", "host": "h", "path": "a=b"}),
        (b"protocol=https\nhost=h\n", {"protocol": "https", "host": "h"}),
        (b"protocol=https\n\nhost=evil\n", {"protocol": "https"}),
        (b"capability[]=authtype\nwwwauth[]=Basic\nwwwauth[]=Bearer\nhost=h\n", "h"),
        (b"", {}),
        (b"host=h\0evil\n", {}),
        (b"host=h\r\n", {}),
        (b"host=h\rhost=evil\n", {}),
        (b"host=h\nhost=evil\n", {}),
        (b"url=https://h/a\nprotocol=https\n", {}),
        (b"host\n", {}),
        (b"host=\xff\n", {}),
        (b"host=" + b"h" * 70_000, {}),
    ],
)
def test_how_a_question_is_read(raw: bytes, expected: dict[str, str] | str) -> None:
    found = parse(raw)
    assert (found if isinstance(expected, dict) else found["host"]) == expected


NAMES = st.text(string.ascii_letters + string.digits + "-._", min_size=1).filter(lambda name: name.strip("."))
ENDS = st.sampled_from(("", "/", ".git", "/info/lfs", ".git/info/lfs", "/info/lfs/objects/batch", "%0a", "\0", "?x"))


@given(
    protocol=st.sampled_from(("https", "http", "ssh", "https\n", "")),
    host=st.sampled_from(("h.example", "H.example", "h.example:443", "h.example:80", "h.example.", "x@h.example", "")),
    path=st.tuples(NAMES, ENDS).map("".join) | ENDS.map(lambda end: f"model{end}"),
    name=NAMES | st.just("model"),
)
def test_nothing_but_the_repository_and_its_lfs_server_fits(protocol: str, host: str, path: str, name: str) -> None:
    right = {name, f"{name}/info/lfs", f"{name.removesuffix('.git')}.git/info/lfs"}
    same_host = host.lower() in ("h.example", "h.example:443")
    expected = protocol == "https" and same_host and path.rstrip("/") in right
    assert fits(query(protocol, host, path), f"https://h.example/{name}") is expected


@given(raw=st.binary(max_size=200))
def test_any_bytes_are_a_question_or_none(raw: bytes) -> None:
    assert all("\n" not in value and "\0" not in value and "\r" not in value for value in parse(raw).values())


@given(text=st.text(max_size=60))
def test_any_text_can_be_taken_apart(text: str) -> None:
    assert len(split(text)) == 4


@pytest.fixture
def memory() -> Iterator[int]:
    fd = os.memfd_create(answering.MEMORY)
    os.write(fd, b"me\nsecret")
    yield fd
    os.close(fd)


RIGHT = query("https", "huggingface.co", "me/model")


def test_the_answer(memory: int) -> None:
    assert answer("get", RIGHT, [HUB], memory) == "username=me\npassword=secret\n"
    assert answer("get", RIGHT | {"username": "me"}, ["https://h/other", HUB], memory) != ""
    assert answer("get", RIGHT | {"username": "you"}, [HUB], memory) == ""
    assert answer("get", RIGHT | {"host": "h"}, [HUB], memory) == ""
    assert answer("store", RIGHT | {"password": "secret"}, [HUB], memory) == ""
    assert answer("get", RIGHT, [HUB], memory) != ""


def test_what_git_has_erased_is_given_no_more(memory: int) -> None:
    assert answer("erase", RIGHT | {"username": "me", "password": "another"}, [HUB], memory) == ""
    assert answer("erase", RIGHT | {"host": "h"}, [HUB], memory) == ""
    assert answer("get", RIGHT, [HUB], memory) != ""
    assert answer("erase", RIGHT | {"username": "me", "password": "secret"}, [HUB], memory) == ""
    assert answer("get", RIGHT, [HUB], memory) == ""


def test_a_number_that_stands_for_another_file_by_now_is_left_alone() -> None:
    fd = os.memfd_create("another")
    os.write(fd, b"me\nsecret")
    try:
        assert answer("get", RIGHT, [HUB], fd) == ""
        assert answer("erase", RIGHT, [HUB], fd) == ""
        assert os.fstat(fd).st_size == 9
    finally:
        os.close(fd)
