"""Real input: a model that a package ships, and safetensors files written by their own library.

Mirrored to the embedded default and to a bare repository, released, cloned by stock git, restored, loaded.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import lfssync
from lfssync.line.pipeline import Order
from lfssync.line.workbench import Session
from lfssync.model import Mirror
from lfssync.service.delivering import sync, tag
from lfssync.versions.restore import restore
from tests.helpers import assert_whole, clone, lfs_fsck, make_bare, objects_of_history, real_model, tree


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A private copy of the real model's folder."""
    return Path(shutil.copytree(real_model(), tmp_path / "model", ignore=shutil.ignore_patterns("__pycache__")))


def without_attributes(directory: Path) -> dict[bytes, object]:
    return {path: entry for path, entry in tree(directory).items() if path != b".gitattributes"}


def test_a_real_model_is_mirrored_released_cloned_and_restored(model: Path, tmp_path: Path) -> None:
    mirror = Mirror("model", model, str(tmp_path / "data" / "model.git"), embedded=True)
    result = sync(mirror, tmp_path / "state", Order(), Session())
    assert result.deferred == ()
    assert result.content_bytes == sum(file.stat().st_size for file in model.rglob("*") if file.is_file())
    released = tag(mirror, tmp_path / "state", "v2.0.1", None, None, Session())
    assert released.commit == result.commit

    (model / "README.md").write_text("after the release\n")
    later = sync(mirror, tmp_path / "state", Order(), Session())
    assert later.commit != released.commit

    remote = tmp_path / "data" / "model.git"
    copy = clone(remote, tmp_path / "clone", "v2.0.1")
    lfs_fsck(copy)
    assert_whole(remote)
    assert without_attributes(clone(remote, tmp_path / "newest")) == without_attributes(model)
    for revision in ("v2.0.1", released.commit, released.commit[:8]):
        destination = tmp_path / f"restored-{revision}"
        assert restore(mirror, tmp_path / "state", destination, revision, Session()).commit == released.commit
        assert tree(destination) == tree(copy)
    restore(mirror, tmp_path / "state", tmp_path / "tip", "main", Session())
    assert without_attributes(tmp_path / "tip") == without_attributes(model)


def test_nothing_but_the_remotes_own_copy_is_written(model: Path, tmp_path: Path) -> None:
    size = sum(file.stat().st_size for file in model.rglob("*") if file.is_file())
    mirror = Mirror("model", model, str(tmp_path / "data" / "model.git"), embedded=True)
    sync(mirror, tmp_path / "state", Order(), Session())
    state = sum(path.lstat().st_blocks * 512 for path in (tmp_path / "state").rglob("*"))
    objects = sum(path.lstat().st_blocks * 512 for path in (tmp_path / "data").rglob("*"))
    assert state < size * 0.02
    assert objects < size * 1.02


def test_tensors_load_from_a_stock_clone(tmp_path: Path) -> None:
    directory = tmp_path / "weights"
    directory.mkdir()
    source = np.random.default_rng(7)
    tensors = {f"layer.{number}": source.standard_normal((256, 512), dtype=np.float32) for number in range(4)} | {
        "empty": np.zeros((0, 3), dtype=np.float16),
        "flag": np.array([True, False]),
    }
    save_file(tensors, directory / "model.safetensors", {"format": "np"})
    remote = make_bare(tmp_path / "remote.git")
    result = lfssync.push(directory, str(remote), message="first weights", tag="v1.0.0")
    assert result.release is not None
    assert [size for _, size in objects_of_history(remote)] == [(directory / "model.safetensors").stat().st_size]
    loaded = load_file(clone(remote, tmp_path / "clone", "v1.0.0") / "model.safetensors")
    assert loaded.keys() == tensors.keys()
    assert all(np.array_equal(loaded[name], tensor) for name, tensor in tensors.items())


def test_a_push_leaves_nothing_behind_and_adds_to_what_is_there(tmp_path: Path) -> None:
    remote = make_bare(tmp_path / "remote.git")
    last = ""
    for name in ("weights", "tokenizer"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"{name}.bin").write_bytes(os.urandom(2_000_000))
        result = lfssync.push(folder, str(remote), message=f"add the {name}")
        assert result.files == 1
        assert result.receipt.commit == result.commit
        last = result.commit
    copy = clone(remote, tmp_path / "clone")
    for name in ("weights", "tokenizer"):
        assert (copy / f"{name}.bin").read_bytes() == (tmp_path / name / f"{name}.bin").read_bytes()
    again = lfssync.push(tmp_path / "tokenizer", str(remote))
    assert (again.commit, again.files) == (last, 0)
    left = [path for path in Path(os.environ["HOME"]).rglob("*") if "lfssync" in path.name]
    assert left == []
