"""What a training tells, and the files for which it holds."""

from __future__ import annotations

import math

import pytest

from lfssync.errors import UserError
from lfssync.integrations.ranks import is_first
from lfssync.rules.told import HOLDS_S, Told, holding, told_of


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (Told(0, 0, 30, 3.0, {"loss": 0.5, "val_loss": 0.25}), "step 30, epoch 3.0, val_loss 0.25, loss 0.5"),
        (Told(0, 0, 30, None, {"accuracy": 0.5, "loss": 1, "val_accuracy": 0.1, "val_loss": 2}),
         "step 30, val_loss 2, val_accuracy 0.1, loss 1"),
        (Told(0, 0), ""),
    ],
)  # fmt: skip
def test_it_is_said_with_what_was_evaluated_first(told: Told, words: str) -> None:
    assert told.words() == words
    assert told_of(told.document()) == told


def test_it_holds_from_its_time_on_until_the_next_or_for_an_hour() -> None:
    first, second, over = Told(100, 150, 1), Told(200, 250, 2), Told(300, 300)
    told = [first, over, second]
    assert holding(told, 99) is None
    assert holding(told, 100) is first
    assert holding(told, 199) is first
    assert holding(told, 299) is second
    assert holding(told, 300) is over
    assert holding([first], 150 + HOLDS_S) is first
    assert holding([first], 151 + HOLDS_S) is None
    assert holding([], 1) is None


def test_what_is_odd_is_left_out() -> None:
    told = told_of({
        "since": 1, "at": 2, "step": True, "epoch": "x", "metrics": {"a\n": 1, "b": "c", "d": math.nan, "e" * 99: 5},
    })  # fmt: skip
    assert (told.step, told.epoch) == (None, None)
    assert list(told.metrics) == ["d", "e" * 40]
    many = told_of({"since": 1, "at": 2, "step": 1 << 63, "metrics": {f"m{number}": number for number in range(99)}})
    assert len(many.metrics) == 20
    assert many.step is None
    assert len(many.words()) < 100


@pytest.mark.parametrize("document", [None, [], {}, {"since": 1}, {"since": "x", "at": 1}])
def test_it_needs_a_time(document: object) -> None:
    with pytest.raises(UserError, match="no time"):
        told_of(document)


@pytest.mark.parametrize(
    ("environ", "first"),
    [
        ({}, True),
        ({"RANK": "0"}, True),
        ({"RANK": "1"}, False),
        ({"RANK": "0", "SLURM_PROCID": "3"}, True),
        ({"SLURM_PROCID": "3"}, False),
        ({"OMPI_COMM_WORLD_RANK": "2"}, False),
        ({"PMI_RANK": "0"}, True),
        ({"RANK": ""}, True),
        ({"RANK": "x"}, True),
        ({"LOCAL_RANK": "1"}, True),
    ],
)
def test_the_first_rank_acts(environ: dict[str, str], first: bool) -> None:
    assert is_first(environ) is first
