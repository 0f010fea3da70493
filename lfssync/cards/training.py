"""How a model was trained, from what trainers write as text: steps, evaluations, hyperparameters.

Used by `reading`. The one thing to know: `training_args.bin` is a pickle, so it is never opened; and of all settings
only those of a fixed list are taken, because others hold paths of the machine, host names and tokens.

Source: transformers, `TrainerState.save_to_json` and `Trainer.save_metrics`; Lightning, `hparams.yaml`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from lfssync.cards import words
from lfssync.cards.facts import Evaluation, Training
from lfssync.line.holdings import Holdings
from lfssync.rules.trainerstate import MAX_BYTES, is_metric

_NAMES = """
learning_rate lr train_batch_size per_device_train_batch_size batch_size eval_batch_size per_device_eval_batch_size
gradient_accumulation_steps num_train_epochs max_epochs epochs max_steps optim optimizer lr_scheduler_type warmup_steps
warmup_ratio weight_decay adam_beta1 adam_beta2 adam_epsilon max_grad_norm label_smoothing_factor dropout seed data_seed
bf16 fp16 gradient_checkpointing max_seq_length max_length block_size hidden_dim num_layers lora_r lora_alpha
lora_dropout
"""
HYPERPARAMETERS = tuple(_NAMES.split())
_FILES = (b"training_args.json", b"args.json", b"all_results.json")
_YAMLS = (b"hparams.yaml", b"hparams.yml")
_LIMIT_BYTES = 1 << 20
_YAML_LIMIT_BYTES = 64 << 10
_CHECKPOINT = re.compile(rb"(?:checkpoint-(\d{1,15})/)?trainer_state\.json")
_LOOKED_AT = 3
_EVALUATIONS = 2000


def training(holdings: Holdings) -> Training:
    """What is known of the training."""
    state = _latest_state(holdings)
    settings = _settings(holdings) | {
        key: state[key] for key in ("train_batch_size", "num_train_epochs", "max_steps") if key in state
    }
    hyperparameters = {key: shown for key in HYPERPARAMETERS if (shown := _shown(settings.get(key)))}
    if (rate := _peak_rate(state)) and not settings.keys() & {"learning_rate", "lr"}:
        hyperparameters = {"learning_rate (peak in the log)": words.code(words.shown(rate)), **hyperparameters}
    evaluations = tuple(_evaluations(state)) or _final(holdings)
    return Training(
        words.count(state.get("global_step")),
        words.count(state.get("max_steps")),
        _rounded(state.get("epoch")),
        evaluations,
        _best(state, evaluations),
        hyperparameters,
    )


def settings_of(holdings: Holdings) -> words.Table:
    """All settings, for those that look for names of datasets in them; unchecked."""
    return _settings(holdings)


def _latest_state(holdings: Holdings) -> words.Table:
    """The trainer's state that came furthest, out of the few that may be it."""
    found = {path: match for path in holdings.files if (match := _CHECKPOINT.fullmatch(path))}
    newest = sorted(found, key=lambda path: int(found[path][1] or 1 << 62), reverse=True)[:_LOOKED_AT]
    states = [words.table(holdings.read(path, MAX_BYTES)) for path in newest]
    return max(states, key=lambda state: words.count(state.get("global_step")) or 0, default={})


def _settings(holdings: Holdings) -> words.Table:
    found: words.Table = {}
    for path in _FILES:
        found = words.table(holdings.read(path, _LIMIT_BYTES)) | found
    for path in _YAMLS:
        found = _yaml(holdings.read(path, _YAML_LIMIT_BYTES)) | found
    return found


def _yaml(text: bytes) -> words.Table:
    if not text:
        return {}
    import yaml

    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError):
        return {}
    return {key: value for key, value in found.items() if isinstance(key, str)} if isinstance(found, dict) else {}


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return words.code("yes" if value else "no")
    if (number := words.number(value)) is not None:
        return words.code(f"{number:g}" if isinstance(number, float) else str(number)) if number != -1 else ""
    return words.code(words.word(value))


def _entries(state: words.Table) -> list[words.Table]:
    history = state.get("log_history")
    return [entry for entry in history if isinstance(entry, dict)] if isinstance(history, list) else []


def _peak_rate(state: words.Table) -> float | None:
    rates = [rate for entry in _entries(state) if (rate := words.number(entry.get("learning_rate"))) is not None]
    return max(rates, default=None)


def _evaluations(state: words.Table) -> Iterator[Evaluation]:
    loss = None
    for entry in _entries(state)[-_EVALUATIONS:]:
        if (logged := words.number(entry.get("loss"))) is not None:
            loss = float(logged)
        if metrics := _metrics(entry):
            yield Evaluation(words.count(entry.get("step")), _rounded(entry.get("epoch")), loss, metrics)


def _final(holdings: Holdings) -> tuple[Evaluation, ...]:
    """What a trainer says at the very end, where it left no state."""
    found = words.table(holdings.read(b"eval_results.json", _LIMIT_BYTES))
    metrics = _metrics(found)
    return (Evaluation(None, _rounded(found.get("epoch")), None, metrics),) if metrics else ()


def _metrics(entry: words.Table) -> dict[str, float]:
    return {
        name.removeprefix("eval_"): value
        for name in sorted(entry, key=lambda name: (name != "eval_loss", name))
        if is_metric(name) and (value := _measured(entry[name])) is not None
    }


def _measured(value: object) -> float | None:
    """A number, or not a number, which tells as much."""
    if isinstance(value, float) and math.isnan(value):
        return value
    number = words.number(value)
    return None if number is None else float(number)


def _rounded(value: object) -> float | None:
    number = words.number(value)
    return None if number is None else round(float(number), 2)


def _best(state: words.Table, evaluations: tuple[Evaluation, ...]) -> int | None:
    """The best step, as the trainer says; else by the loss."""
    steps = {one.step for one in evaluations}
    told = words.count(state.get("best_global_step"))
    if told is None and isinstance(path := state.get("best_model_checkpoint"), str):
        match = re.search(r"(?:^|[/\\])checkpoint-(\d{1,15})[/\\]?\Z", path)
        told = int(match[1]) if match else None
    if told in steps and told is not None:
        return told
    measured = [one for one in evaluations if not math.isnan(one.metrics.get("loss", math.nan))]
    return min(measured, key=lambda one: one.metrics["loss"]).step if len(measured) > 1 else None
