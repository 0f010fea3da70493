"""What patterns mean before the disk is asked, and which directories and names go together."""

from __future__ import annotations

import fnmatch
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfssync.configuration.patterns import (
    Claims,
    complete,
    escape,
    is_pattern,
    resolve_branch,
    resolve_into,
    resolve_remote,
    unescape,
)
from lfssync.errors import UserError
from lfssync.model import Mirror
from lfssync.places import Places
from lfssync.rules.remotes import RemoteKind

PLACES = Places.from_environment({"HOME": "/home/ann"})


@pytest.mark.parametrize("path", ["/a/*", "/a/b?", "/a/[ab]", "/*/a", "/a[", "/a/[[]*", "/a/[*?]"])
def test_wild_cards_make_a_pattern(path: str) -> None:
    assert is_pattern(path)


@pytest.mark.parametrize(
    ("path", "meant"), [("/a/b", "/a/b"), ("/a]", "/a]"), ("/a[[]1]", "/a[1]"), ("/[*][?]", "/*?")]
)
def test_escaped_wild_cards_make_none(path: str, meant: str) -> None:
    assert not is_pattern(path)
    assert unescape(path) == meant


@given(st.text("ab*?[]!/", min_size=1))
def test_escaping_is_undone_and_matches_nothing_else(path: str) -> None:
    assert not is_pattern(escape(path))
    assert unescape(escape(path)) == path
    assert fnmatch.fnmatchcase(path, escape(path))


def test_a_name_is_filled_in() -> None:
    assert resolve_remote("hf:me/{name}", "run-1", PLACES) == ("https://huggingface.co/me/run-1", RemoteKind.HTTPS)
    assert resolve_remote("", "run-1", PLACES) == (str(PLACES.embedded_remote("run-1")), RemoteKind.LOCAL)
    assert resolve_branch("runs/{name}/{name}", "a") == "runs/a/a"
    assert resolve_into("runs/{name}", "a") == "runs/a"
    assert resolve_into("", "a") == ""


@pytest.mark.parametrize("text", ["{}", "{nme}", "{name", "name}", "{{name}}", "{name!r}", "{name.x}", "{0}"])
def test_nothing_else_is_filled_in(text: str) -> None:
    for resolve in (resolve_branch, resolve_into):
        with pytest.raises(UserError, match="braces") as caught:
            resolve(text, "a")
        assert caught.value.remedy.startswith("{name} is the only thing")
    with pytest.raises(UserError, match="braces"):
        resolve_remote(f"hf:me/{text}", "a", PLACES)


def test_what_is_filled_in_is_checked() -> None:
    template = Mirror(name="", path=Path("/data/*"), remote="hf:me/{name}", branch="{name}")
    assert complete(template, "a", Path("/data/a"), PLACES) == Mirror(
        name="a", path=Path("/data/a"), remote="https://huggingface.co/me/a", branch="a"
    )
    with pytest.raises(UserError, match=r"branch 'a..b' has"):
        complete(template, "a..b", Path("/data/a..b"), PLACES)


@pytest.mark.parametrize("path", ["/home/ann", "/home/ann/.local", "/home/ann/.local/state/lfssync", "/srv"])
def test_a_directory_with_our_own_files_in_it_is_refused(path: str) -> None:
    with pytest.raises(UserError, match="where lfssync itself writes"):
        complete(Mirror("", Path(), "/srv/m.git"), "a", Path(path), PLACES)


def claimed(*directories: str) -> UserError | None:
    claims = Claims()
    refusals = []
    for number, directory in enumerate(directories):
        refusals.append(claims.claim(Mirror(f"m{number}", Path(directory), f"/remote/{number}"), Path(directory)))
    assert refusals[:-1] == [None] * (len(directories) - 1)
    return refusals[-1]


@pytest.mark.parametrize("directories", [("/a", "/b"), ("/a/b", "/a/bc"), ("/a", "/a"), ("/a/b/c", "/a/b/d", "/a/e")])
def test_directories_that_go_together(directories: tuple[str, ...]) -> None:
    assert claimed(*directories) is None


@pytest.mark.parametrize(
    "directories", [("/a", "/a/b"), ("/a/b", "/a"), ("/x", "/a", "/y", "/a/b/c/d"), ("/a/b/c", "/x", "/a")]
)
def test_a_directory_inside_another_is_refused(directories: tuple[str, ...]) -> None:
    refusal = claimed(*directories)
    assert refusal
    assert "is inside that of mirror" in refusal.message
    assert directories[-1] in refusal.message


DIRECTORIES = st.lists(st.sampled_from("ab"), min_size=1, max_size=4).map(lambda parts: Path("/", *parts))


@given(st.lists(DIRECTORIES, max_size=6))
def test_claims_agree_with_comparing_everything_with_everything(directories: list[Path]) -> None:
    claims = Claims()
    taken: list[Path] = []
    for number, directory in enumerate(directories):
        refusal = claims.claim(Mirror(f"m{number}", directory, f"/remote/{number}"), directory)
        nested = any(
            directory != other and (directory in other.parents or other in directory.parents) for other in taken
        )
        assert (refusal is not None) == nested
        if not nested:
            taken.append(directory)


def test_a_refused_claim_takes_nothing() -> None:
    claims = Claims()
    assert claims.claim(Mirror("a", Path("/a"), "/r"), Path("/a")) is None
    assert claims.claim(Mirror("b", Path("/a/b"), "/r"), Path("/a/b"))
    assert claims.claim(Mirror("b", Path("/b"), "/r2"), Path("/b")) is None


def test_the_same_place_twice_is_refused_and_another_branch_is_not() -> None:
    claims = Claims()
    assert claims.claim(Mirror("a", Path("/a"), "/r"), Path("/a")) is None
    assert claims.claim(Mirror("b", Path("/a"), "/r", branch="dev"), Path("/a")) is None
    assert claims.claim(Mirror("c", Path("/a"), "/r2"), Path("/a")) is None
    refusal = claims.claim(Mirror("d", Path("/a"), "/r"), Path("/a"))
    assert refusal
    assert "'a' and 'd' are the same" in refusal.message
    assert claims.claim(Mirror("a", Path("/z"), "/z"), Path("/z"))
