"""Semantic versions among tags: order by the specification, and the next one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfssync.rules.versionnumbers import Raise, following, newest_first, parse

NUMBERS = st.integers(0, 10**6)
PRE_RELEASES = st.sampled_from(["", "-rc.1", "-rc.2", "-alpha", "-1", "-rc.1.x", "+build.5", "-rc.1+b"])
VERSIONS = st.builds("{}{}.{}.{}{}".format, st.sampled_from(["", "v"]), NUMBERS, NUMBERS, NUMBERS, PRE_RELEASES)
ANY = st.one_of(VERSIONS, st.text(max_size=20))


def precedence(tag: str) -> tuple[object, ...]:
    number = parse(tag)
    assert number is not None, tag
    return number.precedence


def test_the_order_of_the_specification() -> None:
    ordered = "1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1 1.0.0 2.0.0"
    found = [precedence(tag) for tag in ordered.split()]
    assert sorted(found) == found
    assert len(set(found)) == len(found)
    assert precedence("v1.0.0+build.1") == precedence("1.0.0+build.2")


@pytest.mark.parametrize(
    "tag", ["", "v", "v1", "v1.0", "v1.0.0.0", "v01.0.0", "v1.0.0-", "v1.0.0-01", "v1.0.0-a..b", "x1.0.0", "v1.0.0 ",
            "v1.0.0\n", "V1.0.0", "v1.0.0+", "v٣.0.0", "v1.0." + "9" * 50, "v1.0.0-" + "9" * 5000],
)  # fmt: skip
def test_what_is_no_version(tag: str) -> None:
    assert parse(tag) is None


@pytest.mark.parametrize(
    ("tags", "major", "minor", "patch"),
    [
        ("", "v1.0.0", "v0.1.0", "v0.0.1"),
        ("step-500 2026-11-26 best", "v1.0.0", "v0.1.0", "v0.0.1"),
        ("v1.2.3 v1.10.0 v1.9.9", "v2.0.0", "v1.11.0", "v1.10.1"),
        ("1.2.3", "2.0.0", "1.3.0", "1.2.4"),
        ("v1.9.0 v2.0.0-rc.1", "v2.0.0", "v2.0.0", "v2.0.0"),
        ("v2.1.0-rc.1 v2.0.9", "v3.0.0", "v2.1.0", "v2.1.0"),
        ("v2.1.3-rc.1", "v3.0.0", "v2.2.0", "v2.1.3"),
        ("v2.0.0-rc.1 v2.0.0", "v3.0.0", "v2.1.0", "v2.0.1"),
        ("v2.0.0+build.7", "v3.0.0", "v2.1.0", "v2.0.1"),
    ],
)
def test_the_next_version(tags: str, major: str, minor: str, patch: str) -> None:
    assert [following(tags.split(), what) for what in Raise] == [major, minor, patch]


@given(st.lists(ANY), st.sampled_from(Raise))
def test_the_next_version_is_above_all_others(tags: list[str], what: Raise) -> None:
    after = following(tags, what)
    assert after not in tags
    for tag in tags:
        if parse(tag):
            assert precedence(after) > precedence(tag)


@given(st.lists(st.tuples(ANY, st.integers(0, 10)), unique_by=lambda tag: tag[0]))
def test_all_tags_are_listed_once_versions_first(tags: list[tuple[str, float]]) -> None:
    names = newest_first(tags)
    assert sorted(names) == sorted(name for name, _ in tags)
    versions = [name for name in names if parse(name)]
    assert names[: len(versions)] == versions
    assert [precedence(name) for name in versions] == sorted(map(precedence, versions), reverse=True)
    at = dict(tags)
    others = [at[name] for name in names[len(versions) :]]
    assert others == sorted(others, reverse=True)
    assert newest_first(reversed(tags)) == names
