"""Looking at versions: tags, revisions and tensors, from wherever the bytes are, and without changing anything."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from lfssync.errors import TransientError, UserError
from lfssync.line.pipeline import Order
from lfssync.line.workbench import Session
from lfssync.model import LfsObject
from lfssync.results import Difference, Tensor, TensorChange
from lfssync.rules.versionnumbers import Raise
from lfssync.service import delivering
from lfssync.transfer.bare import BareTransfer
from lfssync.versions import history, tags
from tests.contract.lfsserver import serving
from tests.helpers import git, make_bare, write
from tests.integration.site import Site

MODEL = b"model.safetensors"
STATE = json.dumps({"global_step": 500, "epoch": 2.0, "log_history": [{"step": 500, "eval_f1": 0.5}]}).encode()


def weights(**arrays: np.ndarray) -> bytes:
    return safetensors.numpy.save(arrays)


OLD = weights(
    kept=np.zeros((2, 3), "f4"), reshaped=np.zeros(6, "f4"), retyped=np.zeros(2, "f2"), removed=np.ones(1, "f4")
)
NEW = weights(
    kept=np.ones((2, 3), "f4"), reshaped=np.zeros((3, 2), "f4"), retyped=np.zeros(2, "f4"), added=np.zeros((1, 1), "i8")
)
CHANGES = (
    TensorChange("added", None, Tensor("I64", (1, 1))),
    TensorChange("removed", Tensor("F32", (1,)), None),
    TensorChange("reshaped", Tensor("F32", (6,)), Tensor("F32", (3, 2))),
    TensorChange("retyped", Tensor("F16", (2,)), Tensor("F32", (2,))),
)


def of_model(site: Site, old: str | None = "main~1", new: str | None = None) -> Difference:
    [found] = [one for one in history.diff(site.mirror, site.state, old, new) if one.path == MODEL]
    return found


def tag(site: Site, version: str, text: str | None = None, at: str | None = None) -> None:
    delivering.tag(site.mirror, site.state, version, text, at, Session())


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site.make(tmp_path)
    made.put({MODEL: OLD, b"checkpoint-500/trainer_state.json": STATE})
    made.put({MODEL: NEW})
    return made


# ---- tensors


def test_tensors_are_compared_by_their_headers(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    part = BareTransfer.part

    def noted(self: BareTransfer, lfs: LfsObject, offset: int, count: int) -> bytes:
        asked.append(lfs.oid)
        return part(self, lfs, offset, count)

    monkeypatch.setattr(BareTransfer, "part", noted)
    found = of_model(site)
    assert found.old is not None
    assert found.tensors == CHANGES
    assert asked == [found.old.lfs_oid]  # the new one lies in the directory
    (site.directory / os.fsdecode(MODEL)).write_bytes(OLD)  # not yet synced: another file than was committed
    assert of_model(site).tensors == CHANGES
    assert of_model(site, "main", "main~1").tensors == tuple(TensorChange(c.name, c.new, c.old) for c in CHANGES)


def test_other_values_only(site: Site) -> None:
    site.put({MODEL: NEW.replace(b"\0\0\x80\x3f", b"\0\0\0\0")})
    assert of_model(site).tensors == ()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"nothing of the kind", "cannot be read"),
        ((6).to_bytes(8, "little") + b"[1, 2]", "cannot be read"),
        ((9).to_bytes(8, "little") + b'{"a": 12}', "cannot be read"),
        ((100000).to_bytes(8, "little") + b"[" * 100000, "cannot be read"),
    ],
)  # fmt: skip
def test_files_that_are_none_are_said_and_nothing_else_suffers(site: Site, content: bytes, words: str) -> None:
    site.put({MODEL: content, b"other.safetensors": OLD})
    site.put({MODEL: OLD, b"other.safetensors": NEW})
    model, other = [one for one in history.diff(site.mirror, site.state, None, None) if one.path != b".gitattributes"]
    assert model.tensors is None
    assert words in model.unseen
    assert other.tensors == CHANGES


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_server_is_asked_for_the_beginning_only(knows_ranges: bool, tmp_path: Path) -> None:
    remote = make_bare(tmp_path / "remote.git")
    with serving(tmp_path / "served", knows_ranges=knows_ranges) as server:
        site = Site.make(tmp_path, remote=remote, lfs_url=f"{server.address}/remote.git/info/lfs")
        padding = np.zeros(1 << 20, "f4")
        site.put({MODEL: weights(padding=padding, a=np.zeros(1, "f4"))})
        site.put({MODEL: weights(padding=padding, a=np.zeros(2, "f4"))})
        os.unlink(site.directory / os.fsdecode(MODEL))
        assert of_model(site).tensors == (TensorChange("a", Tensor("F32", (1,)), Tensor("F32", (2,))),)
        assert [one.headers["Range"] for one in server.asked if one.method == "GET"] == ["bytes=0-65535"] * 2


def test_a_server_that_is_gone_is_asked_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.put({b"other.safetensors": OLD})
    later = weights(later=np.zeros(1, "f4"))
    site.put({MODEL: later, b"other.safetensors": later})
    asked = []

    def part(self: BareTransfer, lfs: LfsObject, offset: int, count: int) -> bytes:
        asked.append(lfs.oid)
        raise TransientError("no answer")

    monkeypatch.setattr(BareTransfer, "part", part)
    found = [one for one in history.diff(site.mirror, site.state, None, None) if one.path != b".gitattributes"]
    assert [one.unseen for one in found] == ["no answer"] * 2
    assert len(asked) == 1


# ---- revisions


def test_what_a_revision_is(site: Site) -> None:
    tag(site, "v1", at="main~1")
    tag(site, "v1-again", at="v1")
    tag(site, "v2")
    found = history.show(site.mirror, site.state, "v1")
    assert found.commit == git("rev-parse", "main~1", cwd=site.remote).decode().strip()
    assert found.author == "Test User <test.user@example.org>"
    assert found.message.startswith("Add ")
    assert set(found.tags) == {"v1", "v1-again"}
    assert (found.step, dict(found.metrics)) == (500, {"eval_f1": 0.5})
    files = dict(found.files)
    assert files[MODEL].lfs_oid is not None
    assert files[MODEL].size_bytes == len(OLD)
    assert found.size_bytes == sum(version.size_bytes for version in files.values())
    assert list(files) == sorted(files)


def test_what_only_the_remote_knows_is_fetched_for_the_look(site: Site, tmp_path: Path) -> None:
    other = Site.make(tmp_path, "other", remote=site.remote, branch="side")
    other.put({b"theirs": b"1"})
    tag(other, "theirs", "words")
    theirs = other.tip()
    before = refs_of(site)
    for revision in ("theirs", "side", theirs, theirs[:10]):
        assert history.show(site.mirror, site.state, revision).commit == theirs
    assert {one.path for one in history.diff(site.mirror, site.state, "main", "theirs")} >= {b"theirs", MODEL}
    assert refs_of(site) == before
    assert sorted(path.name for path in site.state.iterdir() if path.is_dir()) == ["repo.git"]
    fresh = Site.make(tmp_path, "fresh", remote=site.remote)  # which has never synced
    assert history.show(fresh.mirror, fresh.state, "theirs").commit == theirs


def refs_of(site: Site) -> bytes:
    return git("for-each-ref", cwd=site.state / "repo.git") + git("for-each-ref", cwd=site.remote)


@pytest.mark.parametrize("revision", ["-x", "--all", "a b", "", "\n", "v9", "main^{tree}", "main:a", "..", "main..v1"])
def test_what_is_no_revision(site: Site, revision: str) -> None:
    with pytest.raises(UserError):
        history.show(site.mirror, site.state, revision)


# ---- tags


def test_tags_stand_newest_first_with_what_they_are(site: Site) -> None:
    for name, at in (("v1.9.0", "main~1"), ("nightly", None), ("v1.10.0", None), ("v2.0.0-rc.1", None)):
        tag(site, name, f"About {name}\n\nMore", at)
    git("tag", "by-hand", "main~1", cwd=site.remote)
    git("tag", "of-a-tree", "main^{tree}", cwd=site.remote)
    found = tags.listing(site.mirror, site.state, 20, Session())
    names = [one.name for one in found.tags]
    assert names[:3] == ["v2.0.0-rc.1", "v1.10.0", "v1.9.0"]
    assert sorted(names[3:]) == ["by-hand", "nightly"]
    assert (found.total, found.unreached) == (5, None)
    v1 = found.tags[2]
    assert v1.message.startswith("About v1.9.0\n\nMore\n\n3 files, ")
    assert v1.revision.commit == git("rev-parse", "main~1", cwd=site.remote).decode().strip()
    assert v1.revision.step == 500
    assert [one.name for one in tags.listing(site.mirror, site.state, 1, Session()).tags] == ["v2.0.0-rc.1"]
    shutil.rmtree(site.state)  # the remote knows
    assert [one.name for one in tags.listing(site.mirror, site.state, 20, Session()).tags] == names


def test_tags_while_the_remote_is_out_of_reach(site: Site) -> None:
    tag(site, "v1")
    site.remote.rename(site.remote.with_name("away"))
    found = tags.listing(site.mirror, site.state, 20, Session())
    assert [one.name for one in found.tags] == ["v1"]
    assert found.unreached is not None


def test_the_next_version_counts_what_others_released(site: Site, tmp_path: Path) -> None:
    assert tags.next_version(site.mirror, site.state, Raise.MINOR, Session()) == "v0.1.0"
    other = Site.make(tmp_path, "other", remote=site.remote)
    git("init", "--quiet", ".", cwd=other.directory)
    write(other.directory / "theirs", b"1")
    delivering.sync(other.mirror, other.state, Order(), Session())
    tag(other, "v3.1.0")
    assert tags.next_version(site.mirror, site.state, Raise.PATCH, Session()) == "v3.1.1"
    git("tag", "v7.0.0", cwd=other.directory)
    assert tags.next_version(other.mirror, other.state, Raise.MAJOR, Session()) == "v8.0.0"
