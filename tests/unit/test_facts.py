"""What is remembered about git: only what cannot change, and only so much of it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from lfssync.git import facts
from lfssync.git.facts import Facts
from lfssync.rules.attributes import Verdict


def test_the_oldest_is_forgotten_first() -> None:
    kept: Facts[int, str] = Facts(2)
    for number in range(3):
        kept.tell(number, str(number))
    assert [kept.get(number) for number in range(3)] == [None, "1", "2"]


def test_a_child_is_never_an_ancestor_of_its_parent() -> None:
    facts.PARENTS.tell("child", ("parent", "other parent"))
    assert facts.is_known_ancestor("parent", "child") is True
    assert facts.is_known_ancestor("other parent", "child") is True
    assert facts.is_known_ancestor("child", "parent") is False
    assert facts.is_known_ancestor("stranger", "child") is None
    assert facts.is_known_ancestor("child", "stranger") is None


def test_files_are_told_apart_by_name_and_content() -> None:
    files = {b"a": b"x", b"b": b"y"}
    assert facts.digest(files) == facts.digest(dict(reversed(files.items())))
    others = [{b"a": b"y", b"b": b"x"}, {b"ab": b"xy"}, {b"a": b"x"}, {b"a": b"xb", b"": b"y"}, {}]
    assert len({facts.digest(one) for one in (files, *others)}) == 1 + len(others)


def test_verdicts_belong_to_their_rules() -> None:
    rules = facts.digest({b".gitattributes": b"* filter=lfs"})
    facts.VERDICTS.tell((rules, b"a"), Verdict.LFS)
    assert facts.verdicts(rules, [b"a", b"b"]) == {b"a": Verdict.LFS}
    assert facts.verdicts(facts.digest({}), [b"a"]) == {}


OLD, NEW = "1" * 40, "2" * 40


def name(size_bytes: int, blocks: Iterable[bytes]) -> str:
    return f"{size_bytes}:{b''.join(blocks).decode()}"


@pytest.mark.parametrize(
    ("edits", "kept"),
    [
        ({b"x": "1"}, {b".a", b"d/.a", b"d/e/.a"}),
        ({b".a": name(3, [b"top"])}, {b".a", b"d/.a", b"d/e/.a"}),  # the same text again
        ({b".a": "other"}, {b"d/.a", b"d/e/.a"}),
        ({b".a": None}, {b"d/.a", b"d/e/.a"}),
        ({b"d": "file"}, {b".a"}),  # a file in the place of a folder
        ({b"d/e": "file"}, {b".a", b"d/.a"}),
        ({b"d/e/.a/f": "1"}, {b".a", b"d/.a"}),  # a folder of that name
        ({b"d/e/.ab": "1"}, {b".a", b"d/.a", b"d/e/.a"}),
        ({b"d/e/.a": "made"}, {b".a", b"d/.a"}),
        (dict.fromkeys((b"%d" % number for number in range(1001)), "1"), set()),
    ],
)
def test_attribute_files_stay_known_unless_a_commit_touches_them(
    edits: dict[bytes, str | None], kept: set[bytes]
) -> None:
    facts.ATTRIBUTES.clear()
    facts.tell_attributes(OLD, {b".a": b"top", b"d/.a": b"", b"d/e/.a": None})
    facts.carry_attributes(OLD, NEW, edits, name)
    known = facts.ATTRIBUTES.get(NEW) or {}
    assert known.keys() == kept
    assert all(text == {b".a": b"top", b"d/.a": b"", b"d/e/.a": None}[path] for path, text in known.items())


def test_attribute_files_are_known_by_the_commits_own_name_only() -> None:
    facts.tell_attributes("main", {b".a": b"text"})
    assert facts.ATTRIBUTES.get("main") is None
    facts.tell_attributes(OLD[:-1] + "3", {b".a": b"x" * (2 << 20)})
    assert facts.ATTRIBUTES.get(OLD[:-1] + "3") is None
