"""A tag, a branch and a commit, loaded by transformers as people would: restored, and from a stock clone.

The one thing to know: two versions with other weights and another tokenizer are on the remote, so a revision that is
mixed up with another does not go unnoticed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

import lfssync
from tests.helpers import assert_whole, clone, git, make_bare
from tests.integration.daemons import lfssync as command
from tests.ml import tiny


@dataclass
class Remote:
    """A mirrored model of which `v1.0.0` is an older version, with the weights of both by revision."""

    repository: Path
    weights: dict[str, str]


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """Two versions, mirrored and released by the command line."""
    repository, directory = make_bare(tmp_path / "model.git"), tmp_path / "model"
    older, newer = tiny.model(1), tiny.model(2)
    tiny.tokenizer().save_pretrained(directory)
    older.save_pretrained(directory, max_shard_size="200kB")
    done(command("add", directory, repository))
    done(command("tag", "v1.0.0"))
    commit = git("rev-parse", "main", cwd=repository).decode().strip()
    newer.save_pretrained(directory, max_shard_size="200kB")
    done(command("sync"))
    git("branch", "older", commit, cwd=repository)
    old, new = tiny.weights(older), tiny.weights(newer)
    return Remote(repository, {"v1.0.0": old, "older": old, "main": new, commit: old, commit[:8]: old})


def done(command: subprocess.CompletedProcess[str]) -> None:
    assert command.returncode == 0, command.stderr


def test_each_kind_of_revision_loads(remote: Remote, tmp_path: Path) -> None:
    assert_whole(remote.repository)
    for revision, weights in remote.weights.items():
        restored = tmp_path / f"restored-{revision}"
        done(command("restore", "model", restored, "--revision", revision))
        for folder in (restored, clone(remote.repository, tmp_path / f"clone-{revision}", revision)):
            model = AutoModelForCausalLM.from_pretrained(folder)
            assert tiny.weights(model) == weights, f"{revision} in {folder}"
            ids = torch.tensor([AutoTokenizer.from_pretrained(folder)("w0 w1 w2").input_ids])
            with torch.no_grad():
                assert model(ids).logits.shape == (1, 3, len(tiny.WORDS))
        assert sorted(path.name for path in restored.iterdir() if path.suffix == ".safetensors"), "it has no shards"


def test_a_clone_at_a_tag_loads_in_a_program_of_its_own(remote: Remote, tmp_path: Path) -> None:
    git("clone", "--quiet", "--depth", "1", "--branch", "v1.0.0", f"file://{remote.repository}", "copy", cwd=tmp_path)
    program = "import sys, transformers; print(transformers.AutoModel.from_pretrained(sys.argv[1]).config.n_embd)"
    shown = subprocess.run(
        [sys.executable, "-c", program, "copy"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert shown.stdout.split() == ["64"], shown.stderr


def test_one_call_pushes_a_model_and_then_its_tokenizer(tmp_path: Path) -> None:
    repository = make_bare(tmp_path / "model.git")
    model = tiny.model(3)
    first = lfssync.push(model, str(repository), message="First weights", tag="v1.0.0")
    second = lfssync.push(tiny.tokenizer(), str(repository), message="Add the tokenizer", tag="v1.0.1")
    assert first.receipt.objects == 1
    assert first.release is not None
    there = clone(repository, tmp_path / "copy", second.commit)
    assert tiny.weights(AutoModelForCausalLM.from_pretrained(there)) == tiny.weights(model)
    assert AutoTokenizer.from_pretrained(there)("w5").input_ids == [7]
    assert_whole(repository)

    class Sharded:
        """Saves the same model in pieces."""

        def save_pretrained(self, save_directory: str) -> None:
            grown.save_pretrained(save_directory, max_shard_size="200kB")

    grown = tiny.model(4)
    lfssync.push(Sharded(), str(repository), tag="v2.0.0")
    there = clone(repository, tmp_path / "grown", "v2.0.0")
    assert tiny.weights(AutoModelForCausalLM.from_pretrained(there)) == tiny.weights(grown)
    assert AutoTokenizer.from_pretrained(there)("w5").input_ids == [7]
    lfssync.push(AutoConfig.from_pretrained(there), str(repository))
    index = json.loads((there / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 1
