"""Retention on real repositories: what leaves the tip, how it comes back, and what is never touched."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lfssync.errors import BlockedError, UserError
from lfssync.line.workbench import Session
from lfssync.model import DeletePolicy
from lfssync.records.store import Store
from lfssync.service import delivering
from lfssync.versions import retiring
from lfssync.versions.restore import restore
from lfssync.wishes import Keep, Rule, When
from tests.helpers import git, tree
from tests.integration.site import Site
from tests.integration.test_applying import checkpoint, gone, refs

KEEP = Keep(2, "eval_loss", True)


def site_at(base: Path, name: str = "model", **keys: Any) -> Site:
    settings: dict[str, Any] = {"delete": DeletePolicy.KEEP, "keep": KEEP, "lfs_threshold_bytes": 60} | keys
    return Site.make(base, name, **settings)


def at_tip(site: Site) -> set[str]:
    names = git("ls-tree", "--name-only", f"{site.mirror.branch}:{site.mirror.into}", cwd=site.remote).decode().split()
    return {name for name in names if name.startswith("checkpoint-")}


def names(*steps: int) -> set[str]:
    return {f"checkpoint-{step}" for step in steps}


@pytest.mark.parametrize("into", ["", "models/a"])
def test_what_rotation_deleted_leaves_the_tip_and_comes_back_on_request(into: str, tmp_path: Path) -> None:
    site = site_at(tmp_path, into=into)
    site.put({b"a": b"1", **checkpoint(100, 2.0)})
    site.put(checkpoint(200, 1.0))
    assert site.put({**checkpoint(300, 3.0), **gone(100)}).commit == site.tip()
    assert at_tip(site) == names(200, 300)
    text = git("log", "-1", "--format=%B", "main", cwd=site.remote).decode()
    assert text.startswith("Retire 1 checkpoint (")
    assert "): checkpoint-100\n\n- checkpoint-100 (2 files, " in text
    revision = text.strip().rpartition(" ")[2]
    assert f"lfssync restore model DEST --revision {revision}" in text
    restore(site.mirror, site.state, tmp_path / "back", revision, Session())
    assert tree(tmp_path / "back")[b"checkpoint-100/w"] is not None
    site.put({**checkpoint(400, 3.0), **gone(200)})
    assert at_tip(site) == names(200, 300, 400)
    count = git("rev-list", "--count", "main", cwd=site.remote)
    assert site.sync().commit == site.tip()
    with Store(site.state / "state.db") as store, store.transaction():
        store.record_facts({"retention": None})
    site.sync()
    assert (at_tip(site), git("rev-list", "--count", "main", cwd=site.remote)) == (names(200, 300, 400), count)
    site.put({**gone(300), **checkpoint(500, 3.0), **checkpoint(600, 3.0)})
    assert at_tip(site) == names(200, 400, 500, 600)  # that of the directory stays
    assert "checkpoint-100" not in str(sorted(os.listdir(site.directory)))
    git("fsck", "--strict", cwd=site.remote)
    assert not [path for path in (site.state / "repo.git/lfs").rglob("*") if path.is_file()]


def test_what_others_bring_is_theirs_until_a_person_asks(tmp_path: Path) -> None:
    one, other = site_at(tmp_path, "one"), Site.make(tmp_path, "other", remote=tmp_path / "one.git")
    other.put({**checkpoint(1), **checkpoint(2)})
    for step in (10, 20, 30, 40):
        one.put({**checkpoint(step), **gone(step - 10)})
    assert at_tip(one) == names(1, 2, 30, 40)
    assert other.sync().warnings == ()
    seen = refs(one, "heads")
    planned = retiring.preview(one.mirror, one.state, Session())
    assert [candidate.folder for candidate in planned.leaving] == [b"checkpoint-2", b"checkpoint-1"]
    assert refs(one, "heads") == seen
    assert planned.commit is None
    done = retiring.retire(one.mirror, one.state, Session())
    assert done.decisions == planned.decisions
    one.sync()
    assert one.tip() == done.commit
    assert at_tip(one) == names(30, 40)


def test_what_another_directory_has_under_the_same_name_stays(tmp_path: Path) -> None:
    one, other = site_at(tmp_path, "one"), Site.make(tmp_path, "other", remote=tmp_path / "one.git")
    one.put({**checkpoint(100), **checkpoint(200)})
    other.put(dict.fromkeys(checkpoint(100), b"of another run"))
    for step in (300, 400):
        one.put(checkpoint(step))
    one.put({**gone(100), **gone(200)})
    assert at_tip(one) == names(100, 300, 400)
    assert other.sync().warnings == ()
    other_files = tree(other.directory)
    assert {name for name in other_files if name.startswith(b"checkpoint-100/")}
    assert git("show", "main:checkpoint-100/w", cwd=one.remote) == b"of another run"


def test_what_is_deleted_piece_by_piece_leaves_as_well(tmp_path: Path) -> None:
    site = site_at(tmp_path)
    for step in (100, 200, 300):
        site.put(checkpoint(step))
    (first, *_) = gone(100)
    site.put({first: None})
    site.put(gone(100))
    assert at_tip(site) == names(200, 300)


def test_a_directory_without_checkpoints_is_no_reason(tmp_path: Path) -> None:
    site = site_at(tmp_path)
    site.put({b"a": b"1", **checkpoint(1), **checkpoint(2), **checkpoint(3), **checkpoint(4)})
    site.put({b"b": b"1", **gone(1), **gone(2), **gone(3), **gone(4)})
    assert at_tip(site) == names(1, 2, 3, 4)
    site.put(checkpoint(5))
    assert at_tip(site) == names(4, 5)


def test_what_a_tag_is_on_stays(tmp_path: Path) -> None:
    site = site_at(tmp_path, keep=Keep(1, tags=True))
    site.put({**checkpoint(1), **checkpoint(2)})
    delivering.tag(site.mirror, site.state, "v1", None, "main~1", Session())
    site.put({**checkpoint(3), **gone(1), **gone(2)})
    assert at_tip(site) == names(1, 3)
    site.configure(tag=(Rule(When.CHECKPOINT, "step-{step}"),))
    site.put({**checkpoint(4), **gone(3)})
    assert at_tip(site) == names(1, 3, 4)


def test_what_cannot_be_retired_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = site_at(tmp_path)
    site.put({**checkpoint(1), **checkpoint(2), **checkpoint(3)})

    def fails(*_: object) -> None:
        raise BlockedError("something odd")

    with monkeypatch.context() as patch:
        patch.setattr(retiring, "decide", fails)
        result = site.put(gone(1))
        assert result.warnings == ("retention: something odd",)
    site.sync()
    assert at_tip(site) == names(2, 3)


def test_who_asks_without_a_policy(tmp_path: Path) -> None:
    site = Site.make(tmp_path)
    for ask in (retiring.preview, retiring.retire):
        with pytest.raises(UserError, match="does not say which checkpoints stay"):
            ask(site.mirror, site.state, Session())
    site.configure(keep=KEEP, delete=DeletePolicy.KEEP)
    for ask in (retiring.preview, retiring.retire):
        with pytest.raises(UserError, match="no commit yet"):
            ask(site.mirror, site.state, Session())
