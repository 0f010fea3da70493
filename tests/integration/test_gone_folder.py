"""A folder that a pattern found and that is gone: commands know its mirror as the daemon does, until it is removed."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.helpers import make_bare, write
from tests.integration.daemons import configure, lfssync


def test_commands_know_a_mirror_whose_folder_is_gone(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / "out" / name / "config.json", b"{}")
    remote = make_bare(tmp_path / "remote.git")
    configure({"path": str(tmp_path / "out/*"), "remote": str(remote), "into": "{name}"})
    assert lfssync("sync").returncode == 0
    shutil.rmtree(tmp_path / "out/a")
    assert "a  " in lfssync("list").stdout
    synced = lfssync("sync")
    assert synced.returncode == 4
    assert f"{tmp_path}/out/a" in synced.stderr
    assert "blocked" in lfssync("status", "a").stdout
    assert lfssync("sync", "b").returncode == 0
    assert lfssync("remove", "a").returncode == 0
    assert lfssync("sync").returncode == 0
    assert lfssync("status", "a").returncode == 2
