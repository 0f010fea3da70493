"""What becomes of a host's answers about locks, as a table: none of them fails, and none takes long."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from lfssync.errors import AuthError, BlockedError, LfssyncError, TransientError
from lfssync.transfer.batch import Operation
from lfssync.transfer.locks import ALL_S, ANSWER_S, holder, locked
from lfssync.web.messages import Answer


@dataclass
class Host:
    """Answers one after the other, the last one for ever."""

    answers: list[Answer | LfssyncError]
    branch: str = "main"
    takes_s: float = 0.0
    asked: list[dict[str, Any]] = field(default_factory=list)
    now_s: float = 0.0

    def call(self, operation: Operation, path: str, document: Mapping[str, Any], answer_timeout_s: float) -> Answer:
        assert (operation, path, answer_timeout_s) == (Operation.UPLOAD, "locks/verify", ANSWER_S)
        self.asked.append(dict(document))
        self.now_s += self.takes_s
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, LfssyncError):
            raise answer
        return answer

    def locked(self) -> Mapping[bytes, str] | None:
        return locked(self, lambda: self.now_s)


def says(status: int = 200, document: object = None) -> Answer:
    content = document if isinstance(document, bytes) else json.dumps(document or {}).encode()
    return Answer("https://host/locks/verify", status, {}, content)


def lock(path: object, name: object = "ada") -> dict[str, Any]:
    return {"id": "1", "path": path, "locked_at": "2026-11-25T10:00:00Z", "owner": {"name": name}}


@pytest.mark.parametrize("status", [403, 404, 405, 501])
def test_a_host_without_locks(status: int) -> None:
    assert Host([says(status)]).locked() is None


@pytest.mark.parametrize(
    "answer",
    [
        *(says(status) for status in (201, 400, 401, 409, 413, 422, 429, 500, 502, 503, 504)),
        says(document=b"<html>"),
        says(document=[]),
        says(document={"theirs": None}),
        says(document={"theirs": {}}),
        says(document={"theirs": [1, None, {}, {"path": 1}, lock(None)]}),
        says(document={"ours": [lock("mine.bin")], "theirs": []}),
        TransientError("no answer in time"),
        AuthError("not let in"),
        BlockedError("no certificate"),
    ],
)
def test_an_answer_that_names_no_lock_of_others(answer: Answer | LfssyncError) -> None:
    """It says nothing for long: what is wrong now may be right in the next pass."""
    host = Host([answer])
    assert host.locked() == {}
    assert len(host.asked) == 1


def test_locks_of_others() -> None:
    theirs = [lock("a/b.bin"), lock("ü.bin", "Bob \x1b[31m"), {"path": "c.bin"}, lock("d.bin", ""), lock("e.bin", 7)]
    host = Host([says(document={"ours": [lock("mine.bin")], "theirs": theirs})])
    assert host.locked() == {
        b"a/b.bin": "ada", "ü.bin".encode(): "Bob \\x1b[31m", b"c.bin": "somebody", b"d.bin": "somebody",
        b"e.bin": "somebody",
    }  # fmt: skip
    assert host.asked == [{"ref": {"name": "refs/heads/main"}, "limit": 1000}]


def test_without_a_branch_no_ref_is_named() -> None:
    host = Host([says()], branch="")
    host.locked()
    assert host.asked == [{"limit": 1000}]


def page(number: int, following: object) -> Answer:
    return says(document={"theirs": [lock(f"{number}.bin")], "next_cursor": following})


def test_all_pages_are_read() -> None:
    host = Host([page(1, "a"), page(2, "b"), page(3, "")])
    assert list(host.locked() or {}) == [b"1.bin", b"2.bin", b"3.bin"]
    assert [asked.get("cursor") for asked in host.asked] == [None, "a", "b"]


@pytest.mark.parametrize("following", ["a", None, 7, ""])
def test_pages_come_to_an_end(following: object) -> None:
    host = Host([page(1, "a"), page(2, following)])
    assert host.locked() == {b"1.bin": "ada", b"2.bin": "ada"}
    assert len(host.asked) == 2


@pytest.mark.parametrize("end", [says(500), says(404), TransientError("gone")])
def test_what_was_named_before_an_error_counts(end: Answer | LfssyncError) -> None:
    assert Host([page(1, "a"), end]).locked() == {b"1.bin": "ada"}


def test_a_slow_host_is_not_listened_to_for_long() -> None:
    host = Host([page(number, str(number)) for number in range(100)], takes_s=ANSWER_S - 1)
    assert len(host.locked() or {}) == 3
    assert host.now_s < ALL_S + ANSWER_S


LOCKED = {b"a/b": "ada", b"c": "bob"}


@pytest.mark.parametrize(
    ("path", "who"),
    [
        (b"a/b", "ada"),
        (b"c", "bob"),
        (b"a", "ada"),
        (b"a/b/new", "ada"),
        (b"c/new", "bob"),
        (b"a/other", None),
        (b"ab", None),
        (b"cc", None),
        (b"a/bb", None),
    ],
)
def test_whose_lock_is_in_the_way(path: bytes, who: str | None) -> None:
    """A file that takes the place of a folder, or a folder that of a file, would take a locked one away as well."""
    assert holder(LOCKED, path) == who
