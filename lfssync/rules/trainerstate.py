"""What a trainer says about a checkpoint: step, epoch, loss; for the commit message. Pure.

The one thing to know: the file comes from whoever writes into the directory, so anything may be in it. What is not
what it should be is left out, and the rest is short and printable.

Source: transformers, `TrainerState.save_to_json`
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

NAME = b"trainer_state.json"
MAX_BYTES = 32 << 20
_METRICS = 3
_NAME = re.compile(r"[A-Za-z0-9_./-]{1,40}")
_NO_METRIC = re.compile(r"eval_(.+_)?(runtime|time|per_second)")


def summary(text: bytes) -> str:
    """What is in a `trainer_state.json`, such as `step 500, epoch 2.0, eval_loss 1.234`; empty when nothing is.

    Args:
        text: The content of the file.
    """
    try:
        state = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    return ", ".join(_parts(state)) if isinstance(state, dict) else ""


def _parts(state: dict[str, Any]) -> Iterator[str]:
    step = state.get("global_step")
    if isinstance(step, int) and not isinstance(step, bool) and 0 <= step < 1 << 63:
        yield f"step {step}"
    epoch = _number(state.get("epoch"))
    if epoch is not None:
        yield f"epoch {round(epoch, 2)}"
    history = state.get("log_history")
    entries = [entry for entry in history if isinstance(entry, dict)] if isinstance(history, list) else []
    evaluated = next((entry for entry in reversed(entries) if any(is_metric(name) for name in entry)), {})
    found = {name: value for name in evaluated if is_metric(name) and (value := _number(evaluated[name])) is not None}
    if not found:
        losses = [{"loss": loss} for entry in entries if (loss := _number(entry.get("loss"))) is not None]
        found = losses[-1] if losses else {}
    for name in sorted(found, key=lambda name: (name != "eval_loss", name))[:_METRICS]:
        yield f"{name} {found[name]:.4g}"


def is_metric(name: str) -> bool:
    """Whether an entry of the log is the outcome of an evaluation, and not how long it took."""
    return name.startswith("eval_") and bool(_NAME.fullmatch(name)) and not _NO_METRIC.fullmatch(name)


def _number(value: object) -> float | None:
    """A number of moderate size, or not a number, which tells as much."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isnan(number) or abs(number) < 1e18 else None
