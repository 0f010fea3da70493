"""What log and diff say about the past, with and without what the store remembers."""

from __future__ import annotations

from pathlib import Path

import pytest

from lfssync.errors import BlockedError, LfssyncError, UserError
from lfssync.line.pipeline import Order
from lfssync.line.workbench import Session
from lfssync.records.report import read_status
from lfssync.results import Difference, Version
from lfssync.service import delivering
from lfssync.versions import history
from tests.helpers import git, random_bytes, write
from tests.integration.site import ATTRIBUTES, Content, Link, Program, Site

BIG = random_bytes(1, 3000)
FIRST: dict[bytes, Content] = {
    b"a": b"1", b"m.safetensors": BIG, b"\xff": b"x", b"l": Link(b"a"), b"new\nline": b"2", b"kind": Link(b"a"),
}  # fmt: skip
THEN: dict[bytes, Content] = {
    b"a": None, b"m.safetensors": BIG + b"2", b"\xff": Program(b"x"), b"l": Link(b"new\nline"), b"d": b"",
    b"kind": b"1",
}  # fmt: skip


@pytest.fixture(params=["plain", "working copy"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    made = Site.make(tmp_path)
    if request.param == "working copy":
        git("init", "--quiet", ".", cwd=made.directory)
    made.lay(FIRST)
    delivering.sync(made.mirror, made.state, Order(), Session())
    made.lay(THEN)
    delivering.sync(made.mirror, made.state, Order(), Session())
    return made


def told(version: Version | None) -> tuple[str, int, bool] | None:
    return None if version is None else (version.git_mode, version.size_bytes, version.lfs_oid is not None)


def found(differences: list[Difference]) -> dict[bytes, tuple[object, object]]:
    return {one.path: (told(one.old), told(one.new)) for one in differences if one.path != ATTRIBUTES}


CHANGED = {
    b"a": (("100644", 1, False), None),
    b"d": (None, ("100644", 0, False)),
    b"kind": (("120000", 1, False), ("100644", 1, False)),
    b"l": (("120000", 1, False), ("120000", 8, False)),
    b"m.safetensors": (("100644", 3000, True), ("100644", 3001, True)),
    b"\xff": (("100644", 1, False), ("100755", 1, False)),
}


def test_a_difference_is_told_in_sizes_of_contents(site: Site) -> None:
    assert found(history.diff(site.mirror, site.state, None, None)) == CHANGED
    assert found(history.diff(site.mirror, site.state, "main~1", "main")) == CHANGED
    first = git("rev-parse", "main~1", cwd=site.remote).decode().strip()
    assert found(history.diff(site.mirror, site.state, first[:7], None)) == CHANGED
    backwards = {path: (new, old) for path, (old, new) in CHANGED.items()}
    assert found(history.diff(site.mirror, site.state, "main", "main~1")) == backwards
    assert found(history.diff(site.mirror, site.state, "main", "main")) == {}
    assert found(history.diff(site.mirror, site.state, None, "main~1")).keys() == FIRST.keys()
    with pytest.raises(UserError):
        history.diff(site.mirror, site.state, "nothing", None)


def test_the_log_is_newest_first_and_knows_releases(site: Site) -> None:
    done = delivering.tag(site.mirror, site.state, "v1", None, None, Session())
    entries = history.log(site.mirror, site.state, 10)
    assert [entry.kind.value for entry in entries] == ["release", "commit", "commit"]
    assert entries[0].tags == entries[1].tags == ("v1",)
    assert entries[1].commit == done.commit
    assert [entry.at for entry in entries] == sorted((entry.at for entry in entries), reverse=True)
    assert len(history.log(site.mirror, site.state, 2)) == 2
    for entry in entries:
        assert entry.text.isprintable()


def test_the_log_without_a_store_comes_from_git(site: Site) -> None:
    before = [entry.commit for entry in history.log(site.mirror, site.state, 10)]
    (site.state / "state.db").unlink()
    assert [entry.commit for entry in history.log(site.mirror, site.state, 10)] == before


def test_the_log_has_what_others_committed_too(tmp_path: Path) -> None:
    site = Site.make(tmp_path)
    site.put({b"a": b"1"})
    other = Site.make(tmp_path, "other", remote=site.remote)
    theirs = other.put({b"theirs": b"1"}).commit
    site.sync()
    assert theirs in [entry.commit for entry in history.log(site.mirror, site.state, 10)]


def test_what_was_refused_stays_in_the_log_once(tmp_path: Path) -> None:
    site = Site.make(tmp_path)
    write(site.remote / "hooks/pre-receive", b"#!/bin/sh\necho no >&2\nexit 1\n").chmod(0o755)
    site.lay({b"a": b"1"})
    for _ in range(3):
        with pytest.raises(BlockedError):
            site.sync()
    refused = [entry for entry in history.log(site.mirror, site.state, 10) if entry.kind.value == "refused"]
    assert len(refused) == 1
    status = read_status(site.mirror, site.state)
    assert status.state.value == "blocked"
    assert status.error is not None
    assert "no" in status.error["message"]


def test_before_the_first_sync(tmp_path: Path) -> None:
    site = Site.make(tmp_path)
    assert history.log(site.mirror, site.state, 10) == []
    with pytest.raises(UserError, match="no commit yet"):
        history.diff(site.mirror, site.state, None, None)
    assert read_status(site.mirror, site.state).state.value == "idle"


def test_a_broken_store_is_told_by_those_who_only_look(site: Site) -> None:
    (site.state / "state.db").write_bytes(b"garbage" * 1000)
    status = read_status(site.mirror, site.state)
    assert status.state.value == "failed"
    assert status.error is not None
    assert "state.db" in status.error["message"]
    with pytest.raises(LfssyncError, match=r"state\.db"):
        history.log(site.mirror, site.state, 10)
    assert (site.state / "state.db").read_bytes() == b"garbage" * 1000  # not theirs to mend
    delivering.sync(site.mirror, site.state, Order(), Session())
    assert read_status(site.mirror, site.state).state.value == "idle"
    assert len(history.log(site.mirror, site.state, 10)) == 2
