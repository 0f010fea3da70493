"""What is remembered about git: only what cannot change, and only so much of it."""

from __future__ import annotations

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
