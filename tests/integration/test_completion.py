"""Completion as users meet it: real shells on a real terminal, and the Tab key."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

PATIENCE_S = 15.0
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


class Keyboard:
    """A shell on a terminal of its own: keys go in, what it shows comes out."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._shown = ""

    def press(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def shown_until(self, text: str) -> str:
        """What was shown between what was waited for before and this text.

        Raises:
            AssertionError: It never came; shows what came instead.
        """
        deadline = time.monotonic() + PATIENCE_S
        while text not in self._shown:
            ready, _, _ = select.select([self._terminal], [], [], max(deadline - time.monotonic(), 0))
            assert ready, f"never saw {text!r} but {self._shown!r}"
            self._shown += os.read(self._terminal, 65536).decode(errors="replace")
        before, _, self._shown = self._shown.partition(text)
        return before


@contextmanager
def shell_with_lfssync(command: Sequence[str], folder: Path) -> Iterator[Keyboard]:
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
    environment = os.environ | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "TERM": "xterm",
        "LC_ALL": "C.UTF-8",
    }
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    on_terminal = ["setsid", "--ctty", *command]  # fish insists on a terminal that controls its session
    process = subprocess.Popen(on_terminal, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=environment)
    os.close(theirs)
    try:
        yield Keyboard(ours)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(ours)


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
    with shell_with_lfssync(SHELLS[shell], tmp_path) as keyboard:
        keyboard.press(f"{SOURCE[shell]}; echo rea''dy\n")
        keyboard.shown_until("ready")
        keyboard.press(f"lfssync {typed}\n")
        keyboard.shown_until("called with <")
        called = keyboard.shown_until(">.").split("><")
    assert [argument.rstrip("/") for argument in called] == arguments
