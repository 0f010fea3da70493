"""The rules for ref names, held against git's own opinion on many generated names."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from lfssync.errors import UserError
from lfssync.rules.refnames import check_branch, check_tag

PIECES = [
    "a",
    "B",
    "1",
    "-",
    ".",
    "..",
    "/",
    "//",
    "@",
    "@{",
    "{",
    "}",
    ".lock",
    "lock",
    "~",
    "^",
    ":",
    "?",
    "*",
    "[",
    "]",
    "\\",
]
MORE_PIECES = [
    " ",
    "\t",
    "\n",
    "\x7f",
    "\x80",
    "HEAD",
    "refs/heads/",
    "é",
    "\u202e",
    "😀",
    "'",
    '"',
    "$(x)",
    "`",
    "|",
    "%",
    "#",
    "!",
    "+",
]
NAMES = st.one_of(
    st.lists(st.sampled_from(PIECES + MORE_PIECES), min_size=1, max_size=6).map("".join),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20),
)


def git_takes(ref: str) -> bool:
    return subprocess.run(["git", "check-ref-format", ref], check=False).returncode == 0


def git_takes_branch(name: str) -> bool:
    return (
        subprocess.run(["git", "check-ref-format", "--branch", name], check=False, capture_output=True).returncode == 0
    )


def taken(check: Callable[[str], str], name: str) -> bool:
    try:
        return check(name) == name
    except UserError:
        return False


@settings(max_examples=700, deadline=None)
@given(NAMES)
def test_git_and_we_agree(name: str) -> None:
    ours_alone = name in ("HEAD", "@") or name.startswith(("-", "refs/"))
    assert taken(check_tag, name) == (git_takes(f"refs/tags/{name}") and not ours_alone)
    assert taken(check_branch, name) == (git_takes(f"refs/heads/{name}") and not ours_alone)


@settings(max_examples=300, deadline=None)
@given(NAMES)
def test_every_branch_that_we_take_is_one_for_git_too(name: str) -> None:
    if taken(check_branch, name):
        assert git_takes_branch(name)
