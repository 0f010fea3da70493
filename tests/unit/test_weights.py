"""Which files of an earlier save go when weights are saved again."""

from __future__ import annotations

import pytest

from lfssync.rules.weights import outdated

SHARDED = [b"model-00001-of-00002.safetensors", b"model-00002-of-00002.safetensors", b"model.safetensors.index.json"]
OTHERS = [b"README.md", b"tokenizer.json", b"adapter_model.safetensors", b"unet/model.safetensors", b"config.json"]


@pytest.mark.parametrize(
    ("written", "there", "gone"),
    [
        (SHARDED, [b"model.safetensors"], [b"model.safetensors"]),
        ([b"model.safetensors"], SHARDED, SHARDED),
        (SHARDED, [b"model-00001-of-00003.safetensors"], [b"model-00001-of-00003.safetensors"]),
        (SHARDED, SHARDED, []),
        ([b"tokenizer.json"], [b"model.safetensors", *SHARDED], []),
        ([b"model.safetensors"], [b"pytorch_model.bin", b"model.fp16.safetensors"], []),
        ([b"model.fp16.safetensors"], [b"model.safetensors.index.fp16.json"], [b"model.safetensors.index.fp16.json"]),
        ([b"pytorch_model.bin"], [b"pytorch_model.bin.index.json"], [b"pytorch_model.bin.index.json"]),
        ([b"unet/model.safetensors"], [b"model.safetensors", b"unet/model-00001-of-00001.safetensors"],
         [b"unet/model-00001-of-00001.safetensors"]),
    ],
)  # fmt: skip
def test_only_the_rest_of_the_same_weights_goes(written: list[bytes], there: list[bytes], gone: list[bytes]) -> None:
    assert outdated(written, [*there, *(path for path in OTHERS if path not in written)]) == sorted(gone)
