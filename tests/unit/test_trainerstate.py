"""What a commit message takes from a trainer's own file, which may hold anything."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfssync.rules.trainerstate import summary

HISTORY = [
    {"loss": 3.2, "step": 100},
    {"eval_loss": 9.0, "step": 100},
    {
        "eval_loss": 1.23449, "eval_accuracy": 0.5, "eval_runtime": 3.1, "eval_samples_per_second": 4.0,
        "eval_steps_per_second": 5.0, "epoch": 2.0, "eval_f1": 0.25, "eval_z": 1.0,
    },
    {"loss": 2.0, "step": 500},
]  # fmt: skip


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (
            {"global_step": 500, "epoch": 2.0, "log_history": HISTORY},
            "step 500, epoch 2.0, eval_loss 1.234, eval_accuracy 0.5, eval_f1 0.25",
        ),
        ({"global_step": 5, "epoch": 1.23456, "log_history": HISTORY[:1]}, "step 5, epoch 1.23, loss 3.2"),
        ({"global_step": 5, "log_history": [{"loss": float("nan")}]}, "step 5, loss nan"),
        ({"global_step": True, "epoch": "1", "log_history": [{"loss": None}, 7, {"eval_\x1b[31m": 1.0}]}, ""),
        ({"global_step": -1, "epoch": 1e300, "log_history": [{"loss": 10**400}]}, ""),
        ({"global_step": 10**400}, ""),
        ({"log_history": {"loss": 1}}, ""),
        ([], ""),
        ("x", ""),
    ],
)
def test_summary(state: object, text: str) -> None:
    assert summary(json.dumps(state).encode()) == text


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_cannot_be_read_says_nothing(text: bytes) -> None:
    assert summary(text) == ""


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
names = st.sampled_from(["loss", "eval_loss", "eval_x"]) | st.text()


histories = st.lists(st.dictionaries(names, values))


@given(
    st.fixed_dictionaries(
        {}, optional={"global_step": values, "epoch": values, "log_history": values | histories}
    )
)  # fmt: skip
def test_whatever_it_says_is_short_and_printable(state: object) -> None:
    found = summary(json.dumps(state).encode())
    assert found.isprintable()
    assert len(found) < 300
