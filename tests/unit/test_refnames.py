"""Names of branches and tags: what is taken and what is refused, with the reason."""

from __future__ import annotations

import pytest

from lfssync.errors import UserError
from lfssync.rules.refnames import check_branch, check_tag


@pytest.mark.parametrize(
    "name",
    [
        "main",
        "v2.0.1",
        "feature/x",
        "a.b",
        "a@b",
        "@a",
        "a@",
        "x/@",
        "größe",
        "head",
        "a-",
        "lock",
        "a.lockx",
        "{a}",
        "1",
        "HEAD/x",
        "a'b",
    ],
)
def test_good_names_come_back_unchanged(name: str) -> None:
    assert check_branch(name) == name
    assert check_tag(name) == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "is empty"),
        ("HEAD", "current commit"),
        ("@", "current commit"),
        ("-d", "like an option"),
        ("--upload-pack=x", "like an option"),
        ("refs/heads/main", "like a full name"),
        ("a..b", "has '..'"),
        ("a/../b", "has '..'"),
        ("a@{1}", "has '@{'"),
        ("a\nb", "control character"),
        ("a\x7f", "control character"),
        ("a\tb", "control character"),
        ("a b", "has ' '"),
        ("a~1", "has '~'"),
        ("a^", "has '^'"),
        ("a:b", "has ':'"),
        ("a?", "has '?'"),
        ("*", "has '*'"),
        ("a[b", "has '['"),
        ("a\\b", "has '\\\\'"),
        ("/a", "empty part"),
        ("a/", "empty part"),
        ("a//b", "empty part"),
        (".a", "starts with '.'"),
        ("a/.b", "starts with '.'"),
        ("a.lock", "ends with '.lock'"),
        ("a.lock/b", "ends with '.lock'"),
        ("a.", "ends with '.'"),
        ("\udcff", "not text in UTF-8"),
    ],
)
def test_bad_names_are_refused_with_the_reason(name: str, reason: str) -> None:
    for check, kind in ((check_branch, "branch"), (check_tag, "tag")):
        with pytest.raises(UserError) as caught:
            check(name)
        assert caught.value.message.startswith(f"{kind} {name!r} ")
        assert reason in caught.value.message
        assert "such as" in caught.value.remedy
        assert str(caught.value).isprintable()
