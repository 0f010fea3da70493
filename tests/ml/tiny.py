"""A language model so small that a step takes milliseconds, with its tokenizer and its data.

The one thing to know: `weights` names the values and not the file, so a checkpoint that went through the remote can be
compared with the model as it was in memory.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, Trainer, TrainingArguments

WORDS = ("<pad>", "<eos>", *(f"w{number}" for number in range(62)))
LENGTH = 16


class Sentences(Dataset[dict[str, torch.Tensor]]):
    """Random sentences, the same ones each time."""

    def __init__(self, count: int = 64) -> None:
        self._ids = torch.randint(2, len(WORDS), (count, LENGTH), generator=torch.Generator().manual_seed(1))

    def __len__(self) -> int:
        """How many there are."""
        return len(self._ids)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """One of them, which is its own label."""
        return {"input_ids": self._ids[index], "labels": self._ids[index]}


def model(seed: int = 0) -> GPT2LMHeadModel:
    """A GPT-2 of 100,000 parameters with random weights."""
    torch.manual_seed(seed)
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=len(WORDS), n_positions=LENGTH, n_embd=64, n_layer=2, n_head=2, eos_token_id=1)
    )


def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer that knows each word."""
    made = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<pad>"))
    made.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="<eos>")


def trainer(directory: Path, *, callbacks: list[Any] | None = None, **settings: Any) -> Trainer:
    """A Trainer that saves into a directory.

    Args:
        directory: Its `output_dir`.
        callbacks: What it calls.
        settings: More of `TrainingArguments`.
    """
    arguments = {
        "per_device_train_batch_size": 4, "learning_rate": 1e-3, "report_to": "none", "disable_tqdm": True,
        "use_cpu": True, "logging_steps": 5, "seed": 1, "dataloader_pin_memory": False,
    }  # fmt: skip
    return Trainer(
        model=model(),
        args=TrainingArguments(str(directory), **(arguments | settings)),
        train_dataset=Sentences(),
        eval_dataset=Sentences(8),
        processing_class=tokenizer(),
        callbacks=callbacks or [],
    )


def weights(module: torch.nn.Module) -> str:
    """A name for the values of all parameters."""
    hashed = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        hashed.update(name.encode())
        hashed.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return hashed.hexdigest()
