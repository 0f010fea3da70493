"""Directories as training leaves them, for tests of model cards; byte for byte what the libraries write."""

from __future__ import annotations

import json
from collections.abc import Mapping

import safetensors.numpy

from tests.modelfiles import gguf_file, tensors, zip_file

CONFIG = {
    "_name_or_path": "google-bert/bert-base-uncased",
    "architectures": ["BertForSequenceClassification"],
    "hidden_size": 128,
    "max_position_embeddings": 512,
    "model_type": "bert",
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "torch_dtype": "float32",
    "transformers_version": "4.57.1",
    "vocab_size": 30522,
}


def trainer_state(evaluations: int = 3) -> bytes:
    """The state of a run that was best at its second evaluation."""
    history: list[dict[str, object]] = []
    for number in range(1, evaluations + 1):
        step, epoch = 100 * number, 0.5 * number
        history.append({"epoch": epoch, "learning_rate": 5e-05 / number, "loss": 0.7 / number, "step": step})
        found = {"eval_accuracy": 0.8 + 0.01 * number, "eval_loss": 0.4 + 0.1 * (number - 2) ** 2, "eval_runtime": 1.5}
        history.append({"epoch": epoch, **found, "eval_samples_per_second": 100.0, "step": step})
    state = {
        "best_metric": 0.4, "best_model_checkpoint": "/home/someone/outputs/run/checkpoint-200",
        "epoch": 0.5 * evaluations, "global_step": 100 * evaluations, "log_history": history, "max_steps": 600,
        "num_train_epochs": 3, "train_batch_size": 16,
    }  # fmt: skip
    return json.dumps(state, indent=2).encode()


def trained(evaluations: int = 3) -> dict[bytes, bytes]:
    """What a run of transformers' Trainer leaves; the pickle would end the program that opens it."""
    config, arguments = json.dumps(CONFIG), {"learning_rate": 5e-05, "output_dir": "/home/someone/run", "seed": 42}
    return {
        b"config.json": config.encode(),
        b"model.safetensors": safetensors.numpy.save(tensors(1, 3, 64), {"format": "pt"}),
        b"tokenizer_config.json": b'{"model_max_length": 512}',
        b"tokenizer.json": b'{"version": "1.0"}',
        b"training_args.bin": b"cposix\n_exit\n(I42\ntR.",
        b"args.json": json.dumps(arguments | {"hub_token": "a secret", "optim": "adamw_torch"}).encode(),
        f"checkpoint-{100 * evaluations}/trainer_state.json".encode(): trainer_state(evaluations),
        f"checkpoint-{100 * evaluations}/model.safetensors".encode(): safetensors.numpy.save(tensors(1, 3, 64)),
    }


def keras_file() -> bytes:
    """A model that Keras 3 saved, without its weights."""
    layers = [{"class_name": "InputLayer"}, {"class_name": "Dense"}]
    optimizer = {"class_name": "Adam", "config": {"name": "adam", "learning_rate": 0.001}}
    config = {
        "class_name": "Sequential", "config": {"name": "net", "layers": layers},
        "compile_config": {"optimizer": optimizer, "loss": "mse", "metrics": ["mae"]},
    }  # fmt: skip
    made = {"keras_version": "3.12.0", "date_saved": "2026-11-23@10:00:00"}
    entries: Mapping[str, bytes] = {
        "metadata.json": json.dumps(made).encode(), "config.json": json.dumps(config).encode(),
        "model.weights.h5": b"\x89HDF",
    }  # fmt: skip
    return zip_file(entries)


ADAPTER = {
    "base_model_name_or_path": "meta-llama/Llama-3.1-8B", "lora_alpha": 16, "lora_dropout": 0.05, "peft_type": "LORA",
    "peft_version": "0.18.0", "r": 8, "task_type": "CAUSAL_LM", "target_modules": ["q_proj", "v_proj"],
}  # fmt: skip

DIRECTORIES: dict[str, dict[bytes, bytes]] = {
    "trainer": trained(),
    "adapter": {
        b"adapter_config.json": json.dumps(ADAPTER).encode(),
        b"adapter_model.safetensors": safetensors.numpy.save(tensors(2, 2, 32)),
    },
    "gguf": {b"tiny.gguf": gguf_file(), b"LICENSE": b"MIT License\n\nCopyright (c) 2026 me\n"},
    "keras": {b"model.keras": keras_file()},
    "pickles only": {
        b"pytorch_model.bin": b"\x80\x02}.",
        b"hparams.yaml": b"lr: 0.001\ndata_dir: /home/someone/data\n",
    },
}
"""One directory for each kind of model."""
