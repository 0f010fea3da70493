"""What is taken first when time is short: a table of names, and the order of a directory."""

from __future__ import annotations

import math
import random

import pytest

from lfssync.model import Change, Signature
from lfssync.rules.closing import LastCall, TimeIsUp, Worth, in_order, worth


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"config.json", Worth.DESCRIPTION),
        (b"checkpoint-1/tokenizer.json", Worth.DESCRIPTION),
        (b"tokenizer.model", Worth.DESCRIPTION),
        (b"vocab.txt", Worth.DESCRIPTION),
        (b"merges.txt", Worth.DESCRIPTION),
        (b"chat_template.jinja", Worth.DESCRIPTION),
        (b"README.md", Worth.DESCRIPTION),
        (b"LICENSE", Worth.DESCRIPTION),
        (b"model.safetensors.index.json", Worth.DESCRIPTION),
        (b"trainer_state.json", Worth.DESCRIPTION),
        (b"model-00001-of-00002.safetensors", Worth.WEIGHTS),
        (b"pytorch_model.bin", Worth.WEIGHTS),
        (b"model.Q4_K_M.gguf", Worth.WEIGHTS),
        (b"adapter_model.safetensors", Worth.WEIGHTS),
        (b"training_args.bin", Worth.WEIGHTS),
        (b"best.ckpt", Worth.WEIGHTS),
        (b"events.out.tfevents.1", Worth.OTHER),
        (b"samples/1.png", Worth.OTHER),
        (b"\xff\n", Worth.OTHER),
        (b"checkpoint-1/optimizer.pt", Worth.TRAINING),
        (b"checkpoint-1/scheduler.pt", Worth.TRAINING),
        (b"checkpoint-1/scaler.pt", Worth.TRAINING),
        (b"checkpoint-1/rng_state_0.pth", Worth.TRAINING),
        (b"checkpoint-1/global_step500/mp_rank_00_model_states.pt", Worth.TRAINING),
        (b"zero_pp_rank_0_mp_rank_00_optim_states.pt", Worth.TRAINING),
        (b"optimizer_0/__0_0.distcp", Worth.TRAINING),
    ],
)
def test_worth(path: bytes, expected: Worth) -> None:
    assert worth(path) is expected


def test_small_and_valuable_files_come_first() -> None:
    wanted = [
        (b"config.json", 500),
        (b"tokenizer.json", 2_000_000),
        (b"run/config.json", 10),
        (b"a.safetensors", 100),
        (b"b.safetensors", 5_000_000),
        (b"run/model.safetensors", 50),
        (b"events.tfevents", 5),
        (b"optimizer.pt", 1),
    ]
    changes = [Change(path, Signature(size, 0, 0, 0, 0o100644), None) for path, size in wanted]
    random.Random(1).shuffle(changes)
    assert [change.path for change in in_order(changes)] == [path for path, _ in wanted]


def test_a_last_call_counts_only_for_taking() -> None:
    assert not LastCall().was_given
    with LastCall().taking():
        LastCall().check()
    call = LastCall(until=-math.inf)
    assert call.was_given
    assert call.is_over
    call.check()  # a commit goes on
    with pytest.raises(TimeIsUp), call.taking():
        call.check()
    assert not call.takes
