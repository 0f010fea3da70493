"""What a host refused is not tried again: where, for how long, and what is written down of it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from lfssync.credentials.refusals import EVERYWHERE, LAPSE_S, Refusal, Refusals, is_refused


def one(path: str, *, host: str = "h", digest: str = "d", at: float = 1000.0) -> Refusal:
    return Refusal(host, path, digest, at)


@pytest.mark.parametrize(
    ("refusals", "path", "now", "expected"),
    [
        ([], "a", 1000, False),
        ([one("a")], "a", 1000, True),
        ([one("a")], "b", 1000, False),
        ([one("a", host="x")], "a", 1000, False),
        ([one("a", digest="x")], "a", 1000, False),
        ([one("a"), one("b")], "c", 1000, False),
        ([one("a"), one("b"), one("c")], "d", 1000, True),
        ([one("a"), one("b"), one("c", host="x")], "d", 1000, False),
        ([one("a"), one("b"), one("c", digest="x")], "d", 1000, False),
        ([one("a"), one("a", at=1001), one("a", at=1002)], "d", 1002, False),
        ([one("a")], "a", 1000 + LAPSE_S - 1, True),
        ([one("a")], "a", 1000 + LAPSE_S, False),
        ([one("a")], "a", 1000 - LAPSE_S, False),
    ],
)
def test_what_counts_as_refused(refusals: list[Refusal], path: str, now: float, expected: bool) -> None:
    assert EVERYWHERE == 3
    assert is_refused(refusals, "h", path, "d", now) is expected


@pytest.fixture
def refusals(tmp_path: Path) -> Refusals:
    return Refusals(tmp_path / "state" / "refused.json", now=lambda: 1000.0)


def test_a_refused_secret_is_known_to_the_next_process(refusals: Refusals) -> None:
    assert not refusals.has("h", "a", "canary")
    refusals.add("h", "a", "canary")
    again = Refusals(refusals.file, now=lambda: 1001.0)
    assert again.has("h", "a", "canary")
    assert not again.has("h", "a", "another")
    assert not again.has("h", "b", "canary")


def test_the_file_is_private_and_holds_no_secret(refusals: Refusals) -> None:
    refusals.add("h", "a", "canary")
    assert stat.S_IMODE(refusals.file.stat().st_mode) == 0o600
    text = refusals.file.read_text()
    assert "canary" not in text
    other = Refusals(refusals.file.with_name("other.json"), now=lambda: 1000.0)
    other.add("h", "a", "canary")
    assert other.file.read_text() != text, "the salt is another one"
    assert [file.name for file in sorted(refusals.file.parent.iterdir())] == ["other.json", "refused.json"]


def test_a_new_login_forgets_what_that_host_refused(refusals: Refusals) -> None:
    for host in ("h", "x"):
        refusals.add(host, "a", "canary")
    before = refusals.stamp
    refusals.forget("h")
    assert refusals.stamp != before
    assert not refusals.has("h", "a", "canary")
    assert refusals.has("x", "a", "canary")


def test_a_login_shows_in_the_stamp_even_when_nothing_was_refused(refusals: Refusals) -> None:
    before = refusals.stamp
    refusals.forget("h")
    assert refusals.stamp != before


def test_the_file_stays_small(refusals: Refusals) -> None:
    for number in range(260):
        refusals.add("h", f"path-{number}", "canary")
    assert refusals.file.read_text().count("path-") <= 201


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"salt": 1, "refused": [{}]}', '{"salt": "x", "refused": 3}', "\0"])
def test_a_damaged_file_counts_as_empty(text: str, refusals: Refusals) -> None:
    refusals.file.parent.mkdir()
    refusals.file.write_text(text)
    assert not refusals.has("h", "a", "canary")
    refusals.add("h", "a", "canary")
    assert refusals.has("h", "a", "canary")


def test_a_disk_that_takes_nothing_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refusals = Refusals(tmp_path / "file" / "refused.json")
    refusals.add("h", "a", "canary")
    refusals.forget("h")
    assert not refusals.has("h", "a", "canary")
