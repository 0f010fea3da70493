"""What is known about a model, as values: between those who read a directory and those who write its card.

The one thing to know: everything here has been checked already, so it may be shown; empty means unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class About:
    """What lfssync itself knows of a mirror.

    Args:
        name: What it is called.
        branch: Its branch on the remote.
        repository: `owner/name` where the remote is a repository of the Hub, else empty.
        url: Where others clone it from, or empty where they cannot.
    """

    name: str
    branch: str = "main"
    repository: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of a model, as their headers tell.

    Args:
        parameters: How many values there are, or None.
        dtypes: Types of the values, with how many values are of each.
        tensors: How many tensors there are.
        shards: How many files they are in.
        format: `safetensors`, `gguf`, `keras` or `pytorch`.
    """

    parameters: int | None = None
    dtypes: Mapping[str, int] = field(default_factory=dict)
    tensors: int = 0
    shards: int = 0
    format: str = ""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluation of a training run.

    Args:
        step: When, or None.
        epoch: When, or None.
        loss: The training loss that was logged last before it, or None.
        metrics: What was found, by name without `eval_`; not a number where that was found.
    """

    step: int | None
    epoch: float | None
    loss: float | None
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Training:
    """A training run.

    Args:
        step: How far it came, or None.
        max_steps: How far it was to go, or None.
        epoch: The same in epochs, or None.
        evaluations: In their order.
        best_step: The step of the best evaluation, or None.
        hyperparameters: What was set, by name; ready to be shown.
    """

    step: int | None = None
    max_steps: int | None = None
    epoch: float | None = None
    evaluations: tuple[Evaluation, ...] = ()
    best_step: int | None = None
    hyperparameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Facts:
    """A model.

    Args:
        architecture: Its class, such as `BertForSequenceClassification`.
        model_type: What its library calls its kind, such as `bert`.
        library: The Hub's name of the library that loads it.
        task: The Hub's name of what it is for (`pipeline_tag`).
        base_model: What it was made from, on the Hub.
        relation: How, where that is certain: `adapter` or `quantized`.
        licence: The Hub's name of its licence.
        datasets: What it was trained on, on the Hub.
        languages: Codes of languages.
        tags: What else the Hub may sort it by.
        shape: Sizes of it, by name; ready to be shown.
        versions: What it was made with: names and versions.
        weights, training: See there.
        is_custom: Whether loading it needs code out of its repository.
        has_tokenizer: Whether a tokenizer is there.
        files: The files worth naming, by path for people, with their sizes in bytes.
        more_files: How many others there are.
    """

    architecture: str = ""
    model_type: str = ""
    library: str = ""
    task: str = ""
    base_model: str = ""
    relation: str = ""
    licence: str = ""
    datasets: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    shape: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    weights: Weights = field(default_factory=Weights)
    training: Training = field(default_factory=Training)
    is_custom: bool = False
    has_tokenizer: bool = False
    files: tuple[tuple[str, int], ...] = ()
    more_files: int = 0

    @property
    def is_model(self) -> bool:
        """Whether this is a model at all, and worth a card."""
        return bool(self.weights.format or self.architecture or self.model_type)
