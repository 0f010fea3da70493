"""How often a pass starts git: twice for one changed file, whatever it has to know besides."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.integration.site import Site


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that gets the words of every git that we start; those that git starts come from its own folder."""
    log, program = tmp_path / "started", tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$*" >> {log}\nexec {shutil.which("git")} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return log


@pytest.mark.parametrize("path", [b"config.json", b"deep/er/config.json"])
def test_a_pass_of_one_changed_file_starts_git_twice(path: bytes, started: Path, tmp_path: Path) -> None:
    site = Site.make(tmp_path)
    site.put({path: b"{}", b"other": b"1"})
    site.put({path: b'{"a": 1}'})
    site.lay({path: b'{"a": 2}'})
    started.write_text("")
    assert site.sync(hints=[path]).changed == 1
    words = [
        line.partition(f"--git-dir={site.state}/repo.git ")[2].split()[0] for line in started.read_text().splitlines()
    ]
    assert words == ["fast-import", "push"]
    site.assert_mirrored()
