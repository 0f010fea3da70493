"""Git and git-lfs are asked for their versions once, and again only when they are other files than the good ones."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lfssync.git import programs

PROJECT = Path(__file__).parents[2]
GOOD = ("git version 2.39.5", "git-lfs/3.3.0 (GitHub)")


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Asks as a new process would, with programs that count how often they are run; gives how often that was."""
    (tmp_path / "bin").mkdir()
    lines = [
        f"#!{shutil.which('sh')}",
        f"echo >> {tmp_path}/runs",
        'case "$1" in lfs) cat "$0-lfs.txt";; *) cat "$0.txt";; esac',
    ]
    for name, words in zip(("git", "git-lfs"), GOOD, strict=True):
        (tmp_path / "bin" / name).write_text("\n".join(lines) + "\n")
        (tmp_path / "bin" / name).chmod(0o755)
        (tmp_path / "bin" / f"{name}.txt").write_text(words + "\n")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")

    def asked() -> int:
        (tmp_path / "runs").write_text("")
        words = "import sys, pathlib; from lfssync.git.programs import *; require_programs(pathlib.Path(sys.argv[1]))"
        command = [sys.executable, "-c", words, str(tmp_path / programs.PROGRAMS_FILE)]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return len((tmp_path / "runs").read_text())

    return asked


def test_the_same_programs_are_not_asked_again(ask: Callable[[], int]) -> None:
    assert [ask(), ask(), ask()] == [2, 0, 0]


@pytest.mark.parametrize("name", ["git", "git-lfs"])
def test_other_programs_are(ask: Callable[[], int], tmp_path: Path, name: str) -> None:
    ask()
    program = tmp_path / "bin" / name
    program.write_text(program.read_text() + "# newer\n")
    assert [ask(), ask()] == [2, 0]
    program.with_name(f"{name}.txt").write_text("git version 1.0, git-lfs/1.0\n")
    os.utime(program)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="is too old"):
            ask()


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_note_that_says_nothing_is_none(ask: Callable[[], int], tmp_path: Path, text: str) -> None:
    ask()
    (tmp_path / programs.PROGRAMS_FILE).write_text(text)
    assert [ask(), ask()] == [2, 0]
