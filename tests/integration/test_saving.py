"""One call that pushes an object: whatever has `save_pretrained` is saved, delivered, and leaves nothing behind."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import lfssync
from tests.helpers import assert_whole, clone, git, make_bare, random_bytes, tree
from tests.servers.hub import TOKEN, hub_at


class Model:
    """Saves some files, as a library's model would."""

    def __init__(self, files: dict[str, bytes], size_bytes: int = 0) -> None:
        self._files = files
        self._size_bytes = size_bytes
        self.saved_to: list[str] = []

    def get_memory_footprint(self) -> int:
        return self._size_bytes

    def save_pretrained(self, save_directory: str) -> None:
        self.saved_to.append(save_directory)
        for name, content in self._files.items():
            (Path(save_directory) / name).write_bytes(content)


class Failing:
    """Cannot be saved."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def save_pretrained(self, save_directory: str) -> None:
        (Path(save_directory) / "half").write_bytes(b"1")
        raise self._error


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


WEIGHTS = random_bytes(1, 2_000_000)


def test_a_tokenizer_is_added_to_a_model_that_stays(tmp_path: Path, temporary: Path) -> None:
    remote = make_bare(tmp_path / "remote.git")
    model = Model({"model.safetensors": WEIGHTS, "config.json": b"{}\n"})
    result = lfssync.push(model, str(remote), message="Longer context", tag="v1.0.0")
    assert (result.files, result.receipt.objects) == (2, 1)
    added = lfssync.push(Model({"tokenizer.json": b"[1]\n"}), str(remote), message="Add the tokenizer", tag="v1.1.0")
    assert added.files == 1
    there = tree(clone(remote, tmp_path / "clone", "v1.1.0"))
    assert there.keys() == {b".gitattributes", b"model.safetensors", b"config.json", b"tokenizer.json"}
    assert (tmp_path / "clone" / "model.safetensors").read_bytes() == WEIGHTS
    again = lfssync.push(model, str(remote))
    assert (again.commit, again.files) == (added.commit, 0)
    assert git("log", "--format=%s", "main", cwd=remote).decode().splitlines() == [
        "Add the tokenizer", "Longer context",
    ]  # fmt: skip
    assert_whole(remote)
    assert list(temporary.iterdir()) == []
    assert len(model.saved_to) == 2


def test_weights_that_grew_into_shards_do_not_stay_beside_the_old_file(tmp_path: Path, temporary: Path) -> None:
    remote = make_bare(tmp_path / "remote.git")
    lfssync.push(Model({"model.safetensors": WEIGHTS, "adapter_model.safetensors": WEIGHTS}), str(remote))
    shards = {f"model-0000{number}-of-00002.safetensors": random_bytes(number, 1_000_000) for number in (1, 2)}
    lfssync.push(Model(shards | {"model.safetensors.index.json": b"{}\n"}), str(remote))
    there = tree(clone(remote, tmp_path / "clone"))
    assert there.keys() == {
        b".gitattributes", b"adapter_model.safetensors", b"model.safetensors.index.json", *map(os.fsencode, shards),
    }  # fmt: skip
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    lfssync.push(folder, str(remote))
    assert tree(clone(remote, tmp_path / "copy")).keys() == there.keys() | {b"model.safetensors"}, "a folder deletes"


def test_the_repository_of_an_organisation_is_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_at(tmp_path / "hub") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        result = lfssync.push(Model({"model.safetensors": WEIGHTS}), "hf:my-organisation/m", tag="v1", create=True)
        assert hub.repositories["my-organisation/m"].commit_of("main") == result.commit
        assert hub.repositories["my-organisation/m"].is_private


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda: Model({}, 10**18), lfssync.TransientError, r"Model takes about 1\.\d EB, and .* left"),
        (lambda: Failing(OSError(errno.ENOSPC, "No space left on device")), lfssync.TransientError, "no space left"),
        (lambda: Failing(PermissionError(errno.EACCES, "Permission denied")), lfssync.UserError, "permission denied"),
        (lambda: Failing(ValueError("odd tensor")), lfssync.UserError, "Failing could not be saved: ValueError: odd"),
        (lambda: 5, lfssync.UserError, "5 is no folder and has no save_pretrained"),
        (lambda: Model({}), lfssync.UserError, "holds no files"),
    ],
)
def test_what_cannot_be_saved_is_said_and_nothing_stays(
    make: Callable[[], Model], kind: type[lfssync.LfssyncError], words: str, tmp_path: Path, temporary: Path
) -> None:
    remote = make_bare(tmp_path / "remote.git")
    with pytest.raises(kind, match=words) as raised:
        lfssync.push(make(), str(remote))
    assert raised.value.remedy
    assert git("for-each-ref", cwd=remote) == b""
    assert list(temporary.iterdir()) == []
