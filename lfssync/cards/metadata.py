"""The metadata of a card: what is known, as the YAML that the Hub reads. Pure.

Used by `drafting`. The one thing to know: results are only given where the task is known, since the Hub takes none
without; and a number that is none (NaN) is left to the table for people.

Source: hub-docs, model cards; huggingface_hub, `model_index_to_eval_results`.
"""

from __future__ import annotations

import math
from typing import Any

from lfssync.cards.facts import About, Evaluation, Facts
from lfssync.cards.licences import LIST_URL
from lfssync.cards.tasks import METRICS

PLACEHOLDER = f"# license: fill in one of the names in {LIST_URL}\n"
_RESULTS = 10
_UNKNOWN = {"type": "unknown", "name": "evaluation set of the training"}


def front(facts: Facts, about: About) -> str:
    """The metadata between its two `---` lines; ends with a newline."""
    import yaml

    data = {key: value for key, value in _data(facts, about).items() if value}
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000) if data else ""
    return f"---\n{'' if facts.licence else PLACEHOLDER}{text}---\n"


def told_evaluation(facts: Facts) -> Evaluation | None:
    """The evaluation that speaks for the model: the best one, else the last."""
    found = facts.training.evaluations
    best = facts.training.best_step
    return next((one for one in reversed(found) if best is not None and one.step == best), found[-1] if found else None)


def _data(facts: Facts, about: About) -> dict[str, Any]:
    evaluation = told_evaluation(facts)
    measured = evaluation.metrics if evaluation else {}
    metrics = {name: float(f"{value:.6g}") for name, value in measured.items() if not math.isnan(value)}
    return {
        "language": list(facts.languages),
        "license": facts.licence,
        "library_name": facts.library,
        "base_model": facts.base_model,
        "base_model_relation": facts.relation if facts.base_model else "",
        "datasets": list(facts.datasets),
        "pipeline_tag": facts.task,
        "tags": list(facts.tags),
        "metrics": [name for name in metrics if name in METRICS],
        "model-index": _model_index(facts, about, metrics) if metrics and facts.task else None,
    }


def _model_index(facts: Facts, about: About, metrics: dict[str, float]) -> list[dict[str, Any]]:
    data = {"type": facts.datasets[0], "name": facts.datasets[0]} if len(facts.datasets) == 1 else dict(_UNKNOWN)
    measured = [{"type": name, "value": value} for name, value in list(metrics.items())[:_RESULTS]]
    return [{"name": about.name, "results": [{"task": {"type": facts.task}, "dataset": data, "metrics": measured}]}]
