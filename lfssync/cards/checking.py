"""Whether the Hub takes a model card, and what it would rather have.

Used by the command `card`. Two readers look at a card: our own, which a pass uses as well and which is always there,
and huggingface_hub's `ModelCard`, where that library is installed (`lfssync[cards]`). The one thing to know: ours must
do alone, because the daemon cannot wait half a second and 40 MB for a library that nothing else needs; the other is
asked as a second opinion, as the one that will read the card when somebody loads the model.

Source: hub-docs, model cards; huggingface_hub, `repocard.py`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lfssync.cards import words
from lfssync.cards.licences import KNOWN, LIST_URL
from lfssync.hosts.preflight import CARD_LIMIT_BYTES, wrong_card

_FRONT = re.compile(r"\A\ufeff?\s*---[ \t]*\r?\n(.*?)(?:^---[ \t]*\r?$|\Z)", re.DOTALL | re.MULTILINE)
_FRONT_END = re.compile(r"\A\ufeff?---[ \t]*\r?\n.*?^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
EXTRA = "pip install 'lfssync[cards]'"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something about a card.

    Args:
        message: What it is, in one line.
        remedy: What to do about it.
        is_error: Whether the Hub would refuse the card, or not read it as it is meant.
    """

    message: str
    remedy: str
    is_error: bool = True


def problems(card: bytes) -> list[Problem]:
    """What there is to say about a card, the errors first.

    Args:
        card: The content of README.md.
    """
    if len(card) > CARD_LIMIT_BYTES:
        return [Problem("it is larger than 1 MiB", "move parts of it into other files")]
    try:
        text = card.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = card.count(b"\n", 0, error.start) + 1
        return [Problem(f"line {line}: it is not UTF-8", "save it as UTF-8")]
    if wrong := wrong_card(card):
        return [Problem(f"its metadata: {wrong}", "correct the lines between the two ---")]
    data = metadata(text)
    if data is None:
        if _FRONT.match(text):
            return [Problem("its metadata does not end", "put a line --- behind it")]
        return [Problem("it has no metadata", "put license and the like between two lines --- at its top", False)]
    found = [*_licence(data), *_names(data), *_languages(data), *_results(data)]
    if not any(one.is_error for one in found):
        found += _second_opinion(text)
    return sorted(found, key=lambda one: not one.is_error)


def metadata(text: str) -> dict[str, Any] | None:
    """The metadata of a card; None where it has none that can be read."""
    match = _FRONT.match(text) if _FRONT_END.match(text) else None
    if match is None:
        return None
    import yaml

    try:
        found = yaml.safe_load(match[1])
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    if found is None:
        return {}
    return {str(key): value for key, value in found.items()} if isinstance(found, dict) else None


def has_second_opinion() -> bool:
    """Whether huggingface_hub is installed."""
    return importlib.util.find_spec("huggingface_hub") is not None


def _licence(data: dict[str, Any]) -> Iterator[Problem]:
    value = data.get("license")
    if value is None:
        yield Problem("it names no license", f"add one of {LIST_URL}", False)
    elif value not in KNOWN:
        yield Problem(f"license {words.printable(str(value))!r} is none that the Hub knows", f"use one of {LIST_URL}")
    elif value == "other" and not data.get("license_name"):
        yield Problem("license is other, without license_name", "add license_name and license_link", False)


def _names(data: dict[str, Any]) -> Iterator[Problem]:
    for key, what, is_error in (("base_model", "models", True), ("datasets", "datasets", False)):
        value = data.get(key)
        for one in value if isinstance(value, list) else [value] if value is not None else []:
            if not words.repository_id(one):
                shown = words.printable(str(one))
                remedy = f"write owner/name, as on https://hf.co/{what}"
                yield Problem(f"{key}: {shown!r} is no name of a repository", remedy, is_error)


def _languages(data: dict[str, Any]) -> Iterator[Problem]:
    value = data.get("language")
    for one in value if isinstance(value, list) else [value] if value is not None else []:
        if one not in ("code", "multilingual") and not words.language(one):
            shown = words.printable(str(one))
            yield Problem(f"language: {shown!r} is no code of a language", "use a code of ISO 639, such as en")


def _results(data: dict[str, Any]) -> Iterator[Problem]:
    """Whether `model-index` has all that is needed. Source: huggingface_hub, `model_index_to_eval_results`."""
    remedy = "give each result task.type, dataset.type, dataset.name and metrics with type and value"
    index = data.get("model-index")
    for model in index if isinstance(index, list) else []:
        results = model.get("results")
        if not isinstance(results, list):
            yield Problem(f"model-index: {words.printable(str(model['name']))} has no list of results", remedy)
            continue
        for number, result in enumerate(results, 1):
            if missing := _missing(result):
                yield Problem(f"model-index: result {number} has no {missing}", remedy)


def _missing(result: object) -> str:
    table = result if isinstance(result, dict) else {}
    for key, names in (("task", ("type",)), ("dataset", ("type", "name"))):
        for name in names:
            if words.sub(table, key).get(name) is None:
                return f"{key}.{name}"
    metrics = table.get("metrics")
    if not isinstance(metrics, list):
        return "metrics"
    has_all = all(isinstance(one, dict) and one.get("type") is not None and "value" in one for one in metrics)
    source = table.get("source")
    if source is not None and not (isinstance(source, dict) and (source.get("url") or not source.get("name"))):
        return "source.url"
    return "" if has_all else "type and value in each of its metrics"


def _second_opinion(text: str) -> list[Problem]:
    """What huggingface_hub says; nothing where it is not installed."""
    if not has_second_opinion():
        return []
    import logging

    from huggingface_hub import ModelCard

    logger = logging.getLogger("huggingface_hub.repocard")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            ModelCard(text)
    except Exception as error:  # noqa: BLE001  (whatever it raises, it cannot read the card)
        what = words.printable(str(error), 200)
        return [Problem(f"huggingface_hub cannot read it: {what}", "correct the lines between the two ---")]
    finally:
        logger.setLevel(level)
    return []
