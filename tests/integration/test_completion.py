"""Completion as users meet it: real shells on a real terminal, and the Tab key."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.terminals import Screen, running

SHELLS = {
    "bash": ["bash", "--noprofile", "--norc", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
SOURCE = {
    "bash": "source <(lfssync completion bash)",
    "zsh": "source <(lfssync completion zsh)",
    "fish": "lfssync completion fish | source",
}
EVERY_SHELL = pytest.mark.parametrize("shell", SHELLS)


@contextmanager
def shell_with_lfssync(shell: str, folder: Path) -> Iterator[Screen]:
    """A shell on a new terminal whose `lfssync` completes for real; any other call of it only prints its arguments."""
    programs = folder / "programs"
    programs.mkdir()
    script = programs / "lfssync"
    script.write_text(
        f"""#!/bin/sh
        case $1 in
            __complete|completion) exec {shlex.quote(sys.executable)} -m lfssync "$@" ;;
        esac
        printf '%s' 'called with '; printf '<%s>' "$@"; echo .
        """
    )
    script.chmod(0o755)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(Path(__file__).parents[2])}
    with running(SHELLS[shell], folder, environment) as session:
        yield session.screen


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    """Two mirrors."""
    file = tmp_path / "config.toml"
    file.write_text(
        f'[[mirror]]\nname = "zebra-model"\npath = "{tmp_path}/a"\n[[mirror]]\nname = "other"\npath = "{tmp_path}/b"\n'
    )
    return file


@EVERY_SHELL
@pytest.mark.parametrize(
    ("typed", "arguments"),
    [
        ("rest\tzeb\tqq\t --rev\tv1", ["restore", "zebra-model", "qqfolder", "--revision", "v1"]),
        ("--conf\tconfig.t\twait oth\t", ["--config", "config.toml", "wait", "other"]),
        ("sync zeb\to\t--acc\t", ["sync", "zebra-model", "other", "--accept-deletions"]),
    ],
)
def test_the_tab_key_completes_commands_options_mirrors_and_folders(
    shell: str, typed: str, arguments: list[str], tmp_path: Path, configuration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LFSSYNC_CONFIG", str(configuration))
    (tmp_path / "qqfolder").mkdir()
    (tmp_path / "qqfile").touch()
    with shell_with_lfssync(shell, tmp_path) as screen:
        screen.press(f"{SOURCE[shell]}; echo rea''dy\n")
        screen.shown_until("ready")
        screen.press(f"lfssync {typed}\n")
        screen.shown_until("called with <")
        called = screen.shown_until(">.").split("><")
    assert [argument.rstrip("/") for argument in called] == arguments
