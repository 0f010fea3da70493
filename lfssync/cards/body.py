"""The text of a card: what it is, how to load it, how it was trained, what came of it, which files. Pure.

Used by `drafting`. The one thing to know: what stays the same from commit to commit stays the same here, so that a card
changes only when there is something new to say; so there is no date and no growing log in it.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator, Mapping

from lfssync.cards import words
from lfssync.cards.facts import About, Evaluation, Facts
from lfssync.cards.tasks import auto_class_of
from lfssync.model import human_bytes

_ROWS = 10
_COLUMNS = 5
_MADE_OF = {"gguf": "GGUF", "keras": "Keras", "pytorch": "PyTorch", "safetensors": "safetensors"}


def body(facts: Facts, about: About) -> str:
    """Everything below the metadata; ends with a newline."""
    sections = (
        [f"# {words.escaped(about.name)}", "", *_opening(facts)],
        _loading(facts, about),
        _training(facts),
        _results(facts),
        _table("Size", ("size", "value"), facts.shape),
        _files(facts),
        _table("Made with", ("library", "version"), facts.versions),
        [f"Drafted by lfssync from {_sources(facts)}; what is not in these files, only its authors can tell."],
    )  # fmt: skip
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def _opening(facts: Facts) -> Iterator[str]:
    kind = words.code(facts.architecture or facts.model_type)
    of_type = f" ({words.code(facts.model_type)})" if facts.architecture and facts.model_type else ""
    subject = f"An adapter{f' of the kind {kind}' if kind else ''}" if facts.relation == "adapter" else ""
    made_of = _MADE_OF.get(facts.weights.format, "")
    subject = subject or (f"{kind}{of_type}" if kind else f"A model{f' in {made_of} files' if made_of else ''}")
    weights = facts.weights
    size = f" with {words.many(weights.parameters)} parameters" if weights.parameters else ""
    types = f" in {', '.join(words.code(one) for one in _types(weights.dtypes))}" if weights.dtypes else ""
    base = f", made from [{facts.base_model}](https://huggingface.co/{facts.base_model})" if facts.base_model else ""
    yield f"{subject}{size}{types}{base}."
    if facts.is_custom:
        yield ""
        yield "Loading it runs Python code of this repository: read that code first."


def _types(dtypes: Mapping[str, int]) -> list[str]:
    """The types that most values are of; a few counters among them are not worth a word."""
    share = sum(dtypes.values()) / 100
    return sorted((name for name in dtypes if dtypes[name] > share), key=lambda name: (-dtypes[name], name))[:4]


def _loading(facts: Facts, about: About) -> list[str]:
    """How to load it; from the Hub by name, from anywhere else by way of a clone."""
    lines, code = ["## How to load it", ""], _code(facts, about)
    if not (about.repository and code):
        address = shlex.quote(about.url) if about.url else "ADDRESS"
        clone = f"git clone --branch {shlex.quote(about.branch)} {address} {about.name}"
        lines += ["```sh", f"{clone}   # with git-lfs; a tag works as a branch does", "```", ""]
    return [*lines, "```python", *code, "```"] if code else lines[:-1]


def _code(facts: Facts, about: About) -> list[str]:
    where = json.dumps(about.repository or about.name)
    if about.repository:
        where += f", revision={json.dumps(about.branch)}"
    remark = "  # or a tag, or a commit" if about.repository else ""
    if facts.library == "peft":
        base = json.dumps(facts.base_model or "BASE MODEL")
        return [
            "from peft import PeftModel", f"from transformers import {auto_class_of(_task_class(facts))}", "",
            f"model = {auto_class_of(_task_class(facts))}.from_pretrained({base})",
            f"model = PeftModel.from_pretrained(model, {where}){remark}",
        ]  # fmt: skip
    if facts.library == "sentence-transformers":
        return [
            "from sentence_transformers import SentenceTransformer", "",
            f"model = SentenceTransformer({where}){remark}",
            'vectors = model.encode(["a sentence", "another one"])',
        ]  # fmt: skip
    if facts.library == "diffusers":
        return [
            "from diffusers import DiffusionPipeline", "",
            f"pipeline = DiffusionPipeline.from_pretrained({where}){remark}",
        ]  # fmt: skip
    if facts.library == "transformers":
        loads = auto_class_of(facts.architecture)
        tokenizer = ", AutoTokenizer" if facts.has_tokenizer else ""
        lines = [f"from transformers import {loads}{tokenizer}", ""]
        lines += [f"model = {loads}.from_pretrained({where}){remark}"]
        return [*lines, *([f"tokenizer = AutoTokenizer.from_pretrained({where})"] if tokenizer else [])]
    return _of_file(facts, about, where)


def _task_class(facts: Facts) -> str:
    endings = {
        "text-generation": "ForCausalLM", "text-classification": "ForSequenceClassification",
        "token-classification": "ForTokenClassification",
    }  # fmt: skip
    return endings.get(facts.task, "")


def _of_file(facts: Facts, about: About, where: str) -> list[str]:
    """How to load a model that is one file."""
    ending = {"keras": ".keras", "gguf": ".gguf", "safetensors": ".safetensors"}.get(facts.weights.format, "?")
    name = next((name for name, _ in facts.files if name.endswith(ending) and words.word(name)), "")
    if not name:
        return []
    file = json.dumps(f"{about.name}/{name}")
    lines = []
    if about.repository:
        repository, _, revision = where.partition(", ")
        lines = ["from huggingface_hub import hf_hub_download", ""]
        lines += [f"file = hf_hub_download({repository}, {json.dumps(name)}, {revision})  # or a tag, or a commit"]
        file = "file"
    imported, call = {
        ".keras": ("import keras", "model = keras.saving.load_model({})"),
        ".gguf": ("from llama_cpp import Llama", "model = Llama(model_path={})"),
    }.get(ending, ("from safetensors.torch import load_file", "tensors = load_file({})"))
    return [imported, *(lines or [""]), call.format(file)]


def _training(facts: Facts) -> list[str]:
    training = facts.training
    if training.step is None and not training.hyperparameters:
        return []
    lines = ["## Training", ""]
    if training.step is not None:
        of = f" of {words.shown(training.max_steps)}" if training.max_steps else ""
        epochs = f", {words.shown(training.epoch)} epochs" if training.epoch is not None else ""
        lines += [f"Trained for {words.shown(training.step)}{of} steps{epochs}.", ""]
    if training.hyperparameters:
        lines += ["| hyperparameter | value |", "|---|---|"]
        lines += [f"| {name} | {value} |" for name, value in training.hyperparameters.items()]
    return lines if lines[-1] else lines[:-1]


def _results(facts: Facts) -> list[str]:
    """The last evaluations and the best one."""
    found, best = facts.training.evaluations, facts.training.best_step
    if not found:
        return []
    rows = found[-_ROWS:]
    if best is not None and best not in {one.step for one in rows}:
        rows = (next(one for one in found if one.step == best), *rows[1:])
    names = list(dict.fromkeys(name for one in reversed(rows) for name in one.metrics))[:_COLUMNS]
    lines = ["## Results", "", f"| step | epoch | training loss | {' | '.join(words.code(name) for name in names)} |"]
    lines += ["|--:" * (3 + len(names)) + "|"]
    lines += [_row(one, names, one.step is not None and one.step == best) for one in rows]
    left = len(found) - len(rows)
    notes = ["in bold: the best"] if best is not None else []
    notes += [f"{left} earlier evaluations are left out"] if left else []
    return [*lines, *(["", f"({'; '.join(notes)})"] if notes else [])]


def _row(one: Evaluation, names: list[str], is_best: bool) -> str:
    cells = [_cell(one.step), _cell(one.epoch), _cell(one.loss), *(_cell(one.metrics.get(name)) for name in names)]
    return "| " + " | ".join(f"**{cell}**" if is_best and cell else cell for cell in cells) + " |"


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return "nan" if math.isnan(value) else words.shown(value)


def _table(title: str, heads: tuple[str, str], rows: Mapping[str, str]) -> list[str]:
    if not rows:
        return []
    lines = [f"## {title}", "", f"| {heads[0]} | {heads[1]} |", "|---|---|"]
    return lines + [f"| {key} | {value} |" for key, value in rows.items()]


def _files(facts: Facts) -> list[str]:
    if not facts.files:
        return []
    lines = ["## Files", "", "| file | size |", "|---|--:|"]
    lines += [f"| {words.code(name)} | {human_bytes(size_bytes)} |" for name, size_bytes in facts.files]
    more = facts.more_files
    return [*lines, *(["", f"and {words.shown(more)} more file{'s'[: more != 1]}"] if more else [])]


def _sources(facts: Facts) -> str:
    headers = _MADE_OF.get(facts.weights.format, "")
    parts = [
        "`config.json`" if facts.architecture and facts.weights.format != "keras" else "",
        "`trainer_state.json`" if facts.training.step is not None else "",
        f"the headers of {headers} files" if headers and headers != "PyTorch" else "",
    ]
    told = [part for part in parts if part]
    return " and ".join([", ".join(told[:-1]), told[-1]] if len(told) > 1 else told) or "the files of this repository"
