"""What belongs together, and when it may be committed: by tables, with nothing but values."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfssync.model import GROUPS, Deferred
from lfssync.rules.groups import (
    Key,
    Kind,
    View,
    folder_of,
    is_index,
    key_of,
    numbered,
    reason_to_wait,
    shards_of,
    widened,
)

FOLDER = Key(b"runs/checkpoint-5", Kind.FOLDER)
SET = Key(b"final/model.safetensors.index.json", Kind.SET)
QUIET_S, MAX_WAIT_S = 5.0, 300.0


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        (b"checkpoint-500/model.safetensors", b"checkpoint-500"),
        (b"runs/a/checkpoint-500/deep/er/x", b"runs/a/checkpoint-500"),
        (b"checkpoint-500/global_step500/x.pt", b"checkpoint-500"),
        (b"global_step500/mp_rank_00.pt", b"global_step500"),
        (b"checkpoints/epoch=1-step=100.ckpt/shard", b"checkpoints/epoch=1-step=100.ckpt"),
        (b"checkpoints/epoch=1-step=100.ckpt", None),
        (b"checkpoints/last.pt", None),
        (b"checkpoint-500", None),
        (b"my-checkpoint-500/x", None),
        (b"out/step_100/x", b"out/step_100"),
        (b"step_functions/x", None),
        (b"epoch_2/x", b"epoch_2"),
        (b"iter_0000500/x", b"iter_0000500"),
        (b"checkpoint-\xff/x", b"checkpoint-\xff"),
        (b"lightning_logs/version_0/events", None),
    ],
)
def test_the_outermost_checkpoint_folder_counts(path: bytes, folder: bytes | None) -> None:
    assert folder_of(path, GROUPS) == folder


def test_without_patterns_no_folder_is_a_group() -> None:
    assert folder_of(b"checkpoint-5/x", ()) is None


def test_hints_are_widened_to_what_belongs_together() -> None:
    assert widened([b"a", b"checkpoint-5/x/y", b"b/c"], GROUPS) == {b"a", b"checkpoint-5", b"b/c"}


@pytest.mark.parametrize(
    ("path", "index", "count"),
    [
        (b"model-00001-of-00004.safetensors", b"model.safetensors.index.json", 4),
        (b"a/pytorch_model-00002-of-00002.bin", b"a/pytorch_model.bin.index.json", 2),
        (b"train-00000-of-00005.parquet", None, 0),
        (b"model-1-of-4.safetensors", None, 0),
        (b"model-00001-of-00000.safetensors", None, 0),
        (b"model-00001-of-99999.safetensors", None, 0),
        (b"model.safetensors", None, 0),
    ],
)
def test_numbered_shards(path: bytes, index: bytes | None, count: int) -> None:
    found = numbered(path)
    assert (found.index if found else None) == index
    assert len(found.all() if found else []) == count
    assert found is None or path in found.all()


@pytest.mark.parametrize(
    ("weights", "shards"),
    [
        ({"a": "x", "b": "y", "c": "x"}, {b"f/x", b"f/y"}),
        ({"a": "sub/x"}, {b"f/sub/x"}),
        ({"a": "../x", "b": "/etc/passwd", "c": "a//b", "d": "./x", "e": "", "f": "x\0y", "g": "s/../../x"}, set()),
        ({"a": 1, "b": None, "c": ["x"], "d": "é"}, {"f/é".encode()}),
        ({"a": "\ud800"}, set()),
        ({str(number): str(number) for number in range(10_001)}, set()),
        ([], set()),
        ("x", set()),
        (None, set()),
    ],
)
def test_what_an_index_lists(weights: object, shards: set[bytes]) -> None:
    assert shards_of(b"f/i.index.json", json.dumps({"weight_map": weights}).encode()) == shards


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"1", b"\xff", b"[" * 100_000, b'{"weight_map": {"a": "x"'])
def test_what_is_no_index_lists_nothing(text: bytes) -> None:
    assert shards_of(b"i.index.json", text) == set()


@given(st.binary())
def test_no_index_raises(text: bytes) -> None:
    shards_of(b"i.index.json", text)


def test_names_of_indexes() -> None:
    assert is_index(b"a/model.safetensors.index.json")
    assert is_index(b"model.safetensors.index.fp16.json")
    assert not is_index(b"index.json")
    assert not is_index(b"a.index.json/config.json")


@pytest.mark.parametrize(
    ("path", "key"),
    [
        (b"checkpoint-5/model-00001-of-00002.safetensors", (b"checkpoint-5", Kind.FOLDER)),
        (b"f/x.bin", (b"f/i.index.json", Kind.SET)),
        (b"f/i.index.json", (b"f/i.index.json", Kind.SET)),
        (b"f/model-00001-of-00002.bin", (b"f/model.bin.index.json", Kind.SET)),
        (b"f/config.json", None),
    ],
)
def test_which_group(path: bytes, key: tuple[bytes, Kind] | None) -> None:
    found = key_of(path, {b"f/x.bin": b"f/i.index.json"}, GROUPS)
    assert (found and (found.path, found.kind)) == key


def test_checkpoints_are_sorted_by_their_step() -> None:
    names = [b"checkpoint-last", b"b/checkpoint-1000", b"a/checkpoint-900", b"epoch=2-step=50.ckpt", b"checkpoint-90"]
    assert sorted(names, key=lambda name: Key(name, Kind.FOLDER).step) == [
        b"epoch=2-step=50.ckpt", b"checkpoint-90", b"a/checkpoint-900", b"b/checkpoint-1000", b"checkpoint-last",
    ]  # fmt: skip


def reason(key: Key, **fields: object) -> str | None:
    return reason_to_wait(View(key, **fields), QUIET_S, MAX_WAIT_S)  # type: ignore[arg-type]


SET_IS_WRITTEN = "the set of model.safetensors.index.json is still being written"
SHARD = b"final/model-00001-of-00002.safetensors"


@pytest.mark.parametrize(
    ("key", "fields", "waits"),
    [
        # what cannot be taken comes first, whatever else is
        (FOLDER, {"delayed": {b"runs/checkpoint-5/b": "open for writing"}}, "waits for b: open for writing"),
        (SET, {"delayed": {SHARD: "short"}}, "waits for model-00001-of-00002.safetensors: short"),
        (FOLDER, {"delayed": {b"runs/checkpoint-5/b": "x", b"runs/checkpoint-5/a": "y"}}, "waits for a: y"),
        (FOLDER, {"delayed": {b"runs/checkpoint-5/\x1b": "x"}, "still_s": 0}, r"waits for \x1b: x"),
        (FOLDER, {"missing": (b"runs/checkpoint-5/b",), "still_s": 1e9}, "waits for b: missing"),
        (SET, {"missing": (SHARD,), "still_s": 1e9}, "waits for model-00001-of-00002.safetensors: missing"),
        # rotation
        (FOLDER, {"is_left": False, "still_s": 0}, None),
        (SET, {"is_left": False, "still_s": 0, "is_mixed": True}, None),
        # a folder stands still
        (FOLDER, {"still_s": 4.9}, "checkpoint-5 is still being written"),
        (FOLDER, {"still_s": 5.0}, None),
        (FOLDER, {"still_s": 299.0, "is_mixed": True}, "only some files of checkpoint-5 are new"),
        (FOLDER, {"still_s": 300.0, "is_mixed": True}, None),
        (FOLDER, {"still_s": 4.0, "is_mixed": True}, "checkpoint-5 is still being written"),
        # an index that was written last proves its set
        (SET, {"still_s": 0.06}, None),
        (SET, {"still_s": 0.06, "is_mixed": True}, None),
        (SET, {"still_s": 0.01}, SET_IS_WRITTEN),
        # one that was not does so only after a while
        (SET, {"still_s": 4.9, "outdates_index": SHARD}, SET_IS_WRITTEN),
        (SET, {"still_s": 5.0, "outdates_index": SHARD}, None),
        (
            SET,
            {"still_s": 299.0, "outdates_index": SHARD, "is_mixed": True},
            "waits for model.safetensors.index.json: older than model-00001-of-00002.safetensors",
        ),
        (SET, {"still_s": 300.0, "outdates_index": SHARD, "is_mixed": True}, None),
        (SET, {"still_s": 299.0, "awaited": (SET.path,)}, "waits for model.safetensors.index.json: not written yet"),
        (SET, {"still_s": 299.0, "awaited": (SHARD,)}, "waits for model-00001-of-00002.safetensors: not written yet"),
        (SET, {"still_s": 300.0, "awaited": (SHARD,)}, None),
    ],
)  # fmt: skip
def test_the_table(key: Key, fields: Mapping[str, object], waits: str | None) -> None:
    assert reason(key, **fields) == waits


@given(
    st.sampled_from([FOLDER, SET]), st.booleans(), st.booleans(), st.none() | st.just(SHARD),
    st.sampled_from([(), (SHARD,)]), st.floats(0, 1000), st.floats(0, 1000),
)  # fmt: skip
def test_what_may_be_taken_may_be_taken_later(
    key: Key, is_left: bool, is_mixed: bool, outdates: bytes | None, awaited: tuple[bytes, ...], still: float,
    more: float,
) -> None:  # fmt: skip
    def waits(still_s: float) -> str | None:
        return reason(
            key, is_left=is_left, is_mixed=is_mixed, outdates_index=outdates, awaited=awaited, still_s=still_s
        )

    if waits(still) is None:
        assert waits(still + more) is None
    assert waits(MAX_WAIT_S) is None  # standing still for so long always ends it


@pytest.mark.parametrize(
    ("waits", "soon"),
    [
        ("open for writing", False),
        ("still changing", True),
        ("checkpoint-5 is still being written", True),
        ("waits for a: still changing", True),
        ("waits for still changing: missing", False),
        ("only some files of checkpoint-5 are new", False),
    ],
)
def test_what_passes_soon(waits: str, soon: bool) -> None:
    assert Deferred(b"x", waits).passes_soon is soon
