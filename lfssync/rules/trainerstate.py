"""What a trainer says about a checkpoint: step, epoch, metrics; for commit messages and releases. Pure.

The one thing to know: the file comes from whoever writes into the directory, so anything may be in it. What is not
what it should be is left out, and the rest is short and printable.

Source: transformers, `TrainerState.save_to_json`
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NAME = b"trainer_state.json"
MAX_BYTES = 32 << 20
_METRICS = 3
_NAME = re.compile(r"[A-Za-z0-9_./-]{1,40}")
_NO_MEASURE = frozenset({"step", "epoch"})
_NO_METRIC = re.compile(r"eval_(.+_)?(runtime|time|per_second)")


@dataclass(frozen=True, slots=True)
class Training:
    """What a trainer says about a checkpoint.

    Args:
        step: How many steps were done, or None.
        epoch: The same in epochs.
        metrics: What was measured at this very step, by name, such as `eval_loss`; finite numbers only.
        telling: The gist of it for people, such as `step 500, epoch 2.0, eval_loss 1.234`; may be empty.
    """

    step: int | None = None
    epoch: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    telling: str = ""


def summary(text: bytes) -> str:
    """What is in a `trainer_state.json`, such as `step 500, epoch 2.0, eval_loss 1.234`; empty when nothing is.

    Args:
        text: The content of the file.
    """
    return training(text).telling


def training(text: bytes) -> Training:
    """What is in a `trainer_state.json`; all empty when nothing is.

    Args:
        text: The content of the file.
    """
    try:
        state = json.loads(text)
    except (ValueError, RecursionError):
        return Training()
    if not isinstance(state, dict):
        return Training()
    step = state.get("global_step")
    if not isinstance(step, int) or isinstance(step, bool) or not 0 <= step < 1 << 63:
        step = None
    epoch = number(state.get("epoch"))
    telling = words(step, epoch, metrics_of(state.get("log_history")))
    if epoch is not None and not math.isfinite(epoch):
        epoch = None
    return Training(step, epoch, _measured(_entries(state), step), telling)


def _entries(state: dict[str, Any]) -> list[dict[str, Any]]:
    history = state.get("log_history")
    return [entry for entry in history if isinstance(entry, dict)] if isinstance(history, list) else []


def _measured(entries: list[dict[str, Any]], step: int | None) -> dict[str, float]:
    """The last value of each metric; not those of an earlier step, which tell about other weights."""
    found: dict[str, float] = {}
    for entry in entries:
        if step is not None and entry.get("step", step) != step:
            continue
        for name, value in entry.items():
            found_value = number(value)
            if name in _NO_MEASURE or found_value is None or not _NAME.fullmatch(name):
                continue
            if math.isfinite(found_value):
                found[name] = found_value
    return found


def metrics_of(history: object) -> dict[str, float]:
    """What the last evaluation found, the loss first; or the last loss of the training; of a `log_history`."""
    entries = [entry for entry in history if isinstance(entry, dict)] if isinstance(history, list) else []
    evaluated = next((entry for entry in reversed(entries) if any(is_metric(name) for name in entry)), {})
    found = {name: value for name in evaluated if is_metric(name) and (value := number(evaluated[name])) is not None}
    if not found:
        losses = [{"loss": loss} for entry in entries if (loss := number(entry.get("loss"))) is not None]
        found = losses[-1] if losses else {}
    return {name: found[name] for name in sorted(found, key=lambda name: (name != "eval_loss", name))}


def words(step: int | None, epoch: float | None, metrics: Mapping[str, float]) -> str:
    """Where a training stands, for people; of the metrics the first few."""
    parts = [] if step is None else [f"step {step}"]
    parts += [] if epoch is None else [f"epoch {round(epoch, 2)}"]
    return ", ".join([*parts, *(f"{name} {metrics[name]:.4g}" for name in list(metrics)[:_METRICS])])


def is_metric(name: str) -> bool:
    """Whether an entry of the log is the outcome of an evaluation, and not how long it took."""
    return name.startswith("eval_") and bool(_NAME.fullmatch(name)) and not _NO_METRIC.fullmatch(name)


def number(value: object) -> float | None:
    """A number of moderate size, or not a number, which tells as much."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isnan(number) or abs(number) < 1e18 else None
