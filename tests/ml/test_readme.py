"""The README's examples that need a training library, word for word, against a remote on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import pytorch_lightning
import transformers

import lfssync
from tests.helpers import clone
from tests.integration.daemons import Pair
from tests.integration.test_hub_standin import ask
from tests.integration.test_readme import WITH_LIBRARY, blocks
from tests.ml import tiny
from tests.ml.test_callbacks import Line, batches
from tests.servers.hub import TOKEN, hub_at

EXAMPLES = [block.text for block in blocks("python") if block.mark == WITH_LIBRARY]


def example(words: str, remote: Path) -> str:
    """The only example with these words in it."""
    [text] = [text for text in EXAMPLES if words in text]
    for address in ("hf:me/my-model", "hf:my-organisation/my-model"):
        text = text.replace(address, str(remote))
    return text


def run(text: str, names: dict[str, Any]) -> None:
    """Runs an example, and ends what its callback started, as the end of the program would."""
    made: list[Any] = []
    if "import LfsSyncCallback" in text:
        text = text.replace("LfsSyncCallback(", "noted(").replace(", branch=", ", quiet='200ms', branch=")

        def noted(*given: Any, **keys: Any) -> Any:
            made.append(names["LfsSyncCallback"](*given, **keys))
            return made[-1]

        names["noted"] = noted
    exec(text, names)
    for callback in made:
        assert callback.receipt is not None
        callback.close()


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """A remote, and a folder to train in."""
    pair = Pair.make(tmp_path, "run")
    monkeypatch.chdir(tmp_path)
    return pair


def test_there_is_one_for_each() -> None:
    assert len(EXAMPLES) == 4


def test_transformers(pair: Pair) -> None:
    args = tiny.trainer(pair.directory, max_steps=4, save_steps=2).args
    names = {"Trainer": transformers.Trainer, "model": tiny.model(), "args": args, "data": tiny.Sentences()}
    run(example("integrations.transformers", pair.remote), names)
    pair.arrives(0)


def test_keras(pair: Pair) -> None:
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    x = np.ones((8, 8), dtype=np.float32)
    names = {"keras": keras, "model": model, "x": x, "y": x.sum(axis=1, keepdims=True)}
    run(example("integrations.keras", pair.remote), names)
    pair.arrives(0)
    assert sorted(path.name for path in pair.directory.iterdir()) == [f"epoch-0{number}.keras" for number in (1, 2, 3)]


def test_lightning(pair: Pair, tmp_path: Path) -> None:
    names = {"Trainer": pytorch_lightning.Trainer, "model": Line(), "data": batches()}
    run(example("integrations.lightning", pair.remote), names)
    copy = clone(pair.remote, tmp_path / "copy", "runs/7")
    assert (copy / "epoch=2-step=12.ckpt").exists()


def test_push(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model(5)
    [text] = [text for text in EXAMPLES if "lfssync.push(model" in text]
    with hub_at(tmp_path / "hub") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        exec(text, {"lfssync": lfssync, "model": model, "tokenizer": tiny.tokenizer()})
        commit = hub.repositories["my-organisation/my-model"].commit_of("main")
        loaded = ask(hub, LOADS, "my-organisation/my-model", "v2.1.0", "main", commit)
    weights = tiny.weights(model)
    assert loaded == [[weights, []], [weights, [7]], [weights, [7]]], "the tokenizer came after the tag"


LOADS = """
import os
os.environ.pop("HF_HUB_OFFLINE", None)
from tests.ml import tiny
from transformers import AutoModelForCausalLM, AutoTokenizer
name, *revisions = sys.argv[1:]
print(json.dumps([
    [
        tiny.weights(AutoModelForCausalLM.from_pretrained(name, revision=revision)),
        AutoTokenizer.from_pretrained(name, revision=revision)("w5").input_ids,
    ]
    for revision in revisions
]))
"""
