"""A pipe in the place of a file that is to be read is refused, and nobody waits for what it will never say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lfssync.configuration.telling import Target
from lfssync.errors import UserError
from lfssync.telling.senders import address_of
from tests.integration.daemons import lfssync


def test_a_pipe_as_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tmp_path / "config.toml"
    os.mkfifo(pipe)
    monkeypatch.setenv("LFSSYNC_CONFIG", str(pipe))
    for command in ("status", "run"):
        done = lfssync(command, timeout_s=60)
        assert done.returncode == 2
        assert f"cannot read {pipe}: it is a pipe and no file" in done.stderr


def test_a_configuration_of_nothing_is_still_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LFSSYNC_CONFIG", os.devnull)
    assert lfssync("status").returncode == 0


def test_a_pipe_as_a_file_with_an_address(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "hook")
    with pytest.raises(UserError, match="it is a pipe and no file"):
        address_of(Target(webhook_file=tmp_path / "hook"))
