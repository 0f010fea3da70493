"""Git's configuration is asked for once, and again when one of its files was touched."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lfssync.git import asked
from lfssync.git.addresses import last_value
from tests.helpers import git, make_bare


class Asked:
    """A git dir whose settings are asked for by a clock of its own; counts how often git really was."""

    def __init__(self, git_dir: Path) -> None:
        self.git_dir = git_dir
        self.count = 0
        self.now_s = 0.0

    def _list(self) -> bytes:
        self.count += 1
        return git("config", "--list", "--show-scope", "--show-origin", "-z", cwd=self.git_dir)

    def value(self, key: str) -> str:
        found = asked.settings(self.git_dir, self._list, os.environ, lambda: self.now_s)
        return last_value(found, key)


@pytest.fixture
def settings(tmp_path: Path) -> Asked:
    return Asked(make_bare(tmp_path / "r.git"))


def global_file() -> Path:
    return Path(os.environ.get("GIT_CONFIG_GLOBAL") or Path(os.environ["HOME"]) / ".gitconfig")


def test_git_is_asked_once(settings: Asked) -> None:
    git("config", "--global", "user.name", "A B", cwd=settings.git_dir)
    assert {settings.value("user.name") for _ in range(5)} == {"A B"}
    assert settings.count == 1


def _global(settings: Asked) -> None:
    git("config", "--global", "some.fresh", "new", cwd=settings.git_dir)


def _local(settings: Asked) -> None:
    git("config", "some.fresh", "new", cwd=settings.git_dir)


def _included(settings: Asked) -> None:
    (settings.git_dir.parent / "included").write_text("[some]\n\tkey = new\n\tfresh = new\n")


@pytest.mark.parametrize("change", [_global, _local, _included])
def test_a_change_is_seen_at_once(settings: Asked, change: Callable[[Asked], None]) -> None:
    (settings.git_dir.parent / "included").write_text("[some]\n\tkey = old\n")
    git("config", "include.path", str(settings.git_dir.parent / "included"), cwd=settings.git_dir)
    assert settings.value("some.key") == "old"
    change(settings)
    assert settings.value("some.fresh") == git("config", "some.fresh", cwd=settings.git_dir).decode().strip() == "new"
    assert settings.count == 2


def test_a_file_that_was_not_there_is_seen_within_a_minute(settings: Asked) -> None:
    git("config", "include.path", str(settings.git_dir.parent / "included"), cwd=settings.git_dir)
    assert settings.value("some.key") == ""
    _included(settings)
    settings.now_s += asked.FRESH_S
    assert settings.value("some.key") == "new"


def test_each_git_dir_and_each_home_has_its_own(
    settings: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Asked(make_bare(tmp_path / "other.git"))
    git("config", "some.key", "mine", cwd=settings.git_dir)
    assert (settings.value("some.key"), other.value("some.key")) == ("mine", "")
    git("config", "--global", "user.name", "A", cwd=settings.git_dir)
    assert settings.value("user.name") == "A"
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("GIT_CONFIG_GLOBAL", raising=False)
    assert settings.value("user.name") == ""
    assert not global_file().exists()
