"""Reads a directory for its model card: configuration, weights, tokenizer, training, licence.

Used by `drafting`; gives `facts`. The one thing to know: many configurations hold the path of the model that they were
made from. Only what surely is a repository of the Hub is named; a path of this machine never is.

Source: transformers, `PretrainedConfig`; peft, `PeftConfig`; sentence-transformers; diffusers; keras; GGUF.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from lfssync.cards import licences, words
from lfssync.cards.facts import Facts, Training, Weights
from lfssync.cards.tasks import task_of
from lfssync.cards.training import settings_of, training
from lfssync.cards.weights import Told, of_gguf, of_keras, of_pickles, of_safetensors
from lfssync.line.holdings import Holdings
from lfssync.model import show

IsLocal = Callable[[str], bool]
"""Whether a name is that of something on this machine."""

_CONFIG_LIMIT_BYTES = 8 << 20
_LICENCE_LIMIT_BYTES = 1 << 20
_FILES = 15
_LISTED = 8
_SHAPE = {
    "hidden size": ("hidden_size", "d_model", "n_embd", "dim"),
    "layers": ("num_hidden_layers", "num_layers", "n_layer", "n_layers"),
    "attention heads": ("num_attention_heads", "n_head", "n_heads"),
    "vocabulary": ("vocab_size",),
    "longest input": ("max_position_embeddings", "n_positions", "max_length"),
}
_GGUF_SHAPE = {
    "hidden size": "embedding_length", "layers": "block_count", "attention heads": "attention.head_count",
    "vocabulary": "vocab_size", "longest input": "context_length",
}  # fmt: skip
_NAMED = re.compile(
    rb"[^/]+\.(safetensors|gguf|keras|h5|hdf5|bin|pt|pth|ckpt|onnx|msgpack|tflite|model)|[^/]*(config|tokenizer|vocab)[^/]*"
    rb"|[^/]*\.index\.json|merges\.txt|modules\.json|LICENSE[^/]*"
)
_NOT_NAMED = re.compile(rb"(training_args\.bin|(optimizer|scheduler|scaler|rng_state)[^/]*)")
_FOLDERS = """
    app cache checkpoint checkpoints ckpt ckpts content data drive exp experiment experiments exports home kaggle lfs
    lightning_logs local logs mnt model models my-model opt out output outputs private pretrained result results root
    run runs save saved scratch src test tests tmp train training users usr var weights work workspace
"""
_LOCAL_OWNERS = frozenset(_FOLDERS.split())
"""Names of folders, which nobody on the Hub is called."""
_CANONICAL = re.compile(
    r"(bert|roberta|distilbert|distilroberta|distilgpt2|albert|camembert|xlm-roberta|xlnet|electra|gpt2|t5|bart|openai-gpt)"
    r"(-[a-z0-9]+)*"
)
"""Models from before repositories had owners."""
_CHECKPOINT = re.compile(r"(checkpoint|epoch|step|global_step|iter)[-_=]?\d+", re.IGNORECASE)
_TEXT_GENERATORS = (
    "llama qwen2 qwen3 gemma gemma2 gemma3 mistral3 phi2 phi3 gpt2 falcon starcoder2 deepseek2 olmo2 smollm3"
)


def facts(holdings: Holdings, is_local: IsLocal) -> Facts:
    """What is known about the model in a directory.

    Args:
        holdings: The directory.
        is_local: See `IsLocal`.
    """
    config, adapter = _json(holdings, b"config.json"), _json(holdings, b"adapter_config.json")
    trained = training(holdings)
    settings = settings_of(holdings)
    keras, gguf = of_keras(holdings), of_gguf(holdings)
    weights = of_safetensors(holdings) or _weights(gguf) or _weights(keras) or of_pickles(holdings.files)
    named, more = _files(holdings)
    found = Facts(
        architecture=next(filter(None, map(words.class_name, words.items(config.get("architectures"), 1))), ""),
        model_type=words.word(config.get("model_type")),
        licence=licences.identified(config.get("license")) or _licence(holdings),
        base_model=published(config.get("_name_or_path"), is_local),
        datasets=_published(settings, ("dataset_name", "dataset", "datasets"), is_local),
        languages=_languages(config.get("language")),
        tags=("generated_from_trainer",) if trained.step is not None else (),
        shape=dict(_shape(config)),
        versions=dict(_versions(holdings, config, adapter)),
        training=trained,
        is_custom="auto_map" in config,
        has_tokenizer=any(path in holdings.files for path in (b"tokenizer_config.json", b"tokenizer.json")),
        files=named,
        more_files=more,
    )
    if weights is not None:
        found = replace(found, weights=weights)
    found = replace(found, library=_library(holdings, config), task=task_of(found.architecture))
    if found.library == "sentence-transformers":
        found = replace(found, task="sentence-similarity")
    if adapter:
        found = _with_adapter(found, adapter, is_local)
    elif gguf and not config:
        found = _with_gguf(found, gguf.values, is_local)
    elif keras and not config:
        found = _with_keras(found, keras.values)
    return found


def published(value: object, is_local: IsLocal) -> str:
    """The name of a repository on the Hub; empty for what may be a path of this machine, or anything else."""
    name = words.repository_id(value)
    owner, slash, rest = name.partition("/")
    if not name or is_local(name):
        return ""
    if not slash:
        return name if _CANONICAL.fullmatch(name) else ""
    return "" if owner.lower() in _LOCAL_OWNERS or _CHECKPOINT.fullmatch(rest) else name


def _published(table: words.Table, keys: tuple[str, ...], is_local: IsLocal) -> tuple[str, ...]:
    found = (published(value, is_local) for key in keys for value in words.items(table.get(key), _LISTED))
    return tuple(dict.fromkeys(filter(None, found)))


def _languages(value: object) -> tuple[str, ...]:
    return tuple(filter(None, map(words.common_language, words.items(value, _LISTED))))


def _json(holdings: Holdings, path: bytes) -> words.Table:
    return words.table(holdings.read(path, _CONFIG_LIMIT_BYTES))


def _weights(told: Told | None) -> Weights | None:
    return told.weights if told else None


def _library(holdings: Holdings, config: words.Table) -> str:
    """The Hub's name of the library that loads the model."""
    for path, library in (
        (b"adapter_config.json", "peft"),
        (b"model_index.json", "diffusers"),
        (b"modules.json", "sentence-transformers"),
    ):
        if path in holdings.files:
            return library
    if words.word(config.get("_diffusers_version")):
        return "diffusers"
    if words.word(config.get("model_type")) or words.items(config.get("architectures"), 1):
        return "transformers"
    return "keras" if any(path.endswith(b".keras") and b"/" not in path for path in holdings.files) else ""


def _licence(holdings: Holdings) -> str:
    names = (b"LICENSE", b"LICENSE.txt", b"LICENSE.md", b"COPYING")
    return next(filter(None, (licences.of_text(holdings.read(name, _LICENCE_LIMIT_BYTES)) for name in names)), "")


def _shape(config: words.Table) -> Iterator[tuple[str, str]]:
    tables = (config, words.sub(config, "text_config"))
    for title, keys in _SHAPE.items():
        sizes = (words.count(table.get(key)) for table in tables for key in keys)
        if size := next(filter(None, sizes), None):
            yield title, words.shown(size)
    if method := words.word(words.sub(config, "quantization_config").get("quant_method")):
        yield "quantized with", words.code(method)


def _versions(holdings: Holdings, config: words.Table, adapter: words.Table) -> Iterator[tuple[str, str]]:
    sentence = words.sub(_json(holdings, b"config_sentence_transformers.json"), "__version__")
    pipeline = _json(holdings, b"model_index.json")
    generation = _json(holdings, b"generation_config.json")
    told = (
        ("transformers", config.get("transformers_version") or generation.get("transformers_version")),
        ("sentence-transformers", sentence.get("sentence_transformers")),
        ("pytorch", sentence.get("pytorch")),
        ("peft", adapter.get("peft_version")),
        ("diffusers", pipeline.get("_diffusers_version") or config.get("_diffusers_version")),
    )
    for name, value in told:
        if version := words.word(value):
            yield name, words.code(version)


def _with_adapter(found: Facts, adapter: words.Table, is_local: IsLocal) -> Facts:
    """An adapter of PEFT: what it adapts, and how."""
    kind = words.word(adapter.get("peft_type"))
    settings = {
        f"lora_{key}" if key == "r" else key: words.code(words.shown(value))
        for key in ("r", "lora_alpha", "lora_dropout")
        if (value := words.number(adapter.get(key))) is not None
    }
    task = {"CAUSAL_LM": "text-generation", "SEQ_CLS": "text-classification", "TOKEN_CLS": "token-classification"}
    return replace(
        found,
        base_model=published(adapter.get("base_model_name_or_path"), is_local),
        relation="adapter",
        model_type=found.model_type or kind.lower(),
        task=found.task or task.get(words.word(adapter.get("task_type")), ""),
        tags=(*found.tags, *(("lora",) if kind == "LORA" else ())),
        training=replace(found.training, hyperparameters={**found.training.hyperparameters, **settings}),
    )


def _with_gguf(found: Facts, values: Mapping[str, object], is_local: IsLocal) -> Facts:
    """What a GGUF file says of itself. Source: ggml, docs/gguf.md."""
    kind = words.word(values.get("general.architecture"))
    base = published(_repository_of(values.get("general.base_model.0.repo_url")), is_local)
    sizes = ((title, words.count(values.get(f"{kind}.{key}"))) for title, key in _GGUF_SHAPE.items())
    return replace(
        found,
        model_type=kind,
        task="text-generation" if kind in _TEXT_GENERATORS.split() else "",
        licence=licences.identified(values.get("general.license")) or found.licence,
        base_model=base,
        relation="quantized" if base else "",
        datasets=_published(dict(values), ("general.datasets",), is_local),
        languages=tuple(
            filter(None, map(words.common_language, words.items(values.get("general.languages"), _LISTED)))
        ),
        tags=(*found.tags, "gguf"),
        shape={title: words.shown(size) for title, size in sizes if size},
    )


def _repository_of(url: object) -> str:
    """The name in the address of a repository on the Hub."""
    return url.removeprefix("https://huggingface.co/") if isinstance(url, str) else ""


def _with_keras(found: Facts, values: words.Table) -> Facts:
    """What Keras 3 saves beside the weights. Source: keras, `saving_lib.py`."""
    config, made = words.sub(values, "config"), words.sub(values, "metadata")
    layers = words.sub(config, "config").get("layers")
    compiled = words.sub(config, "compile_config")
    optimizer = words.sub(compiled, "optimizer")
    told = {
        "optimizer": words.word(compiled.get("optimizer")) or words.word(optimizer.get("class_name")),
        "loss": words.word(compiled.get("loss")) or words.word(words.sub(compiled, "loss").get("class_name")),
    }
    rate = words.number(words.sub(optimizer, "config").get("learning_rate"))
    settings = {name: words.code(value) for name, value in told.items() if value}
    settings |= {"learning_rate": words.code(f"{rate:g}")} if rate is not None else {}
    version = words.word(made.get("keras_version"))
    return replace(
        found,
        architecture=words.class_name(config.get("class_name")),
        shape={"layers": words.shown(len(layers))} if isinstance(layers, list) else {},
        versions={**found.versions, **({"keras": words.code(version)} if version else {})},
        training=_with_settings(found.training, settings),
    )


def _with_settings(training: Training, settings: Mapping[str, str]) -> Training:
    return replace(training, hyperparameters={**settings, **training.hyperparameters})


def _files(holdings: Holdings) -> tuple[tuple[tuple[str, int], ...], int]:
    """The files worth naming, the largest first, and how many others there are."""
    named = [path for path in holdings.files if _NAMED.fullmatch(path) and not _NOT_NAMED.fullmatch(path)]
    named.sort(key=lambda path: (-holdings.files[path].size_bytes, path))
    shown = tuple((show(path), holdings.files[path].size_bytes) for path in named[:_FILES])
    return shown, len(holdings.files) - len(shown)
