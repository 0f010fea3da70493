"""Where git goes for an address by the user's own rules: decided as git itself decides, from one look at them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lfssync.git.addresses import fetched_from, last_value, pushed_to
from lfssync.git.gitcommand import Git
from tests.helpers import git, make_bare

RULES = (
    ("url.https://a/.insteadOf", "short:"),
    ("url.https://b/deep/.insteadOf", "short:deep/"),
    ("url.https://first/.insteadOf", "same:"),
    ("url.https://second/.insteadOf", "same:"),
    ("url.ssh://git@p/.pushInsteadOf", "https://only-push/"),
    ("url./srv/.insteadOf", "/data/"),
    ("url.https://Capital.Example/X.Y/.insteadOf", "Big:"),
    ("url.https://all/.insteadOf", "many:"),
    ("url.https://all/.insteadOf", "several:"),
    ("url.https://a=b/.insteadOf", "eq="),
)
ADDRESSES = (
    "short:x", "short:deep/x", "same:x", "https://only-push/x", "/data/x.git", "Big:x", "big:x", "many:x", "several:x",
    "eq=x", "https://untouched/x", "short:", "git@host:path",
)  # fmt: skip


@pytest.fixture
def settled(tmp_path: Path) -> Git:
    for key, value in RULES:
        git("config", "--global", "--add", key, value, cwd=tmp_path)
    return Git(make_bare(tmp_path / "mirror.git"))


def pushed_by_git(url: str, folder: Path) -> str:
    """Where git itself pushes to."""
    git("init", "--quiet", folder, cwd=folder.parent)
    git("remote", "add", "o", url, cwd=folder)
    return git("remote", "get-url", "--push", "o", cwd=folder).decode().strip()


def test_fetches_go_where_git_goes(settled: Git) -> None:
    found = {url: fetched_from(url, settled.settings()) for url in ADDRESSES}
    assert found == {url: settled.run("ls-remote", "--get-url", url).text for url in ADDRESSES}


def test_pushes_go_where_git_goes(settled: Git, tmp_path: Path) -> None:
    found = {url: pushed_to(url, settled.settings()) for url in ADDRESSES}
    assert found == {url: pushed_by_git(url, tmp_path / str(number)) for number, url in enumerate(ADDRESSES)}


def test_the_last_value_of_a_key_counts(settled: Git, tmp_path: Path) -> None:
    before = settled.settings()
    for value in ("one", "two\nlines = odd"):
        git("config", "--global", "--add", "user.name", value, cwd=tmp_path)
    assert settled.settings() is before  # not looked at twice
    assert last_value(Git(settled.git_dir).settings(), "user.name") == "two\nlines = odd"


def test_a_key_without_a_value_is_an_empty_one(settled: Git, private_environment: Path) -> None:
    config = private_environment.parent / "gitconfig"
    config.write_text(config.read_text() + "[core]\n\tsshCommand\n")
    assert last_value(settled.settings(), "core.sshcommand") == ""
