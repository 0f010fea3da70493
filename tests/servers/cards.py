"""What the Hub checks in a model card: the YAML between the two `---` lines at the start of README.md.

The stand-in's interface and its hook ask the same question. The one thing to know: this is written from the Hub's
documentation and not from lfssync's own check, so the two can disagree, and a test that pushes shows it.

Source: hub-docs, model cards; hub-docs, repositories.
"""

from __future__ import annotations

import re
from typing import Any

_FRONT = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*$", re.DOTALL | re.MULTILINE)
_STRINGS = ("license", "license_name", "license_link", "library_name", "pipeline_tag", "thumbnail")
_LISTS = ("language", "tags", "datasets", "metrics", "base_model")
_RELATIONS = ("adapter", "merge", "quantized", "finetune")


def errors_of(text: str) -> list[str]:
    """What is wrong in a card; empty for one without metadata."""
    import yaml

    front = _FRONT.match(text)
    if not front:
        return []
    try:
        data = yaml.safe_load(front[1])
    except yaml.YAMLError as error:
        return [f"YAML: {' '.join(str(error).split())}"]
    if data is None:
        return []
    if not isinstance(data, dict):
        return ["The metadata must be an object"]
    return _wrong_fields(data)


def _wrong_fields(data: dict[Any, Any]) -> list[str]:
    errors = [f'"{key}" must be a string' for key in _STRINGS if key in data and not isinstance(data[key], str)]
    for key in _LISTS:
        value = data.get(key, [])
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str) for one in values):
            errors.append(f'"{key}" must be a string or an array of strings')
    if data.get("base_model_relation", "merge") not in _RELATIONS:
        errors.append(f'"base_model_relation" must be one of {", ".join(_RELATIONS)}')
    index = data.get("model-index", [])
    if not isinstance(index, list) or not all(isinstance(one, dict) and "name" in one for one in index):
        errors.append('"model-index" must be an array of objects with a name')
    return errors


def warnings_of(text: str) -> list[str]:
    """What the Hub would rather have."""
    return [] if _FRONT.match(text) else ["empty or missing yaml metadata in repo card"]
