"""Model cards from real directories, read by huggingface_hub's own parser; and directories that mean no good."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lfssync.cards.checking import problems
from lfssync.cards.drafting import draft
from lfssync.cards.reading import published
from lfssync.line.holdings import of_directory
from lfssync.model import Mirror
from tests.cardfiles import CONFIG, DIRECTORIES, trained
from tests.helpers import make_bare, real_model, tree, write
from tests.integration.site import Link, lay
from tests.integration.test_cli_output import complaint, run, said

HUB = "https://huggingface.co/me/my-model"


def card_of(directory: Path, contents: Mapping[bytes, bytes | Link] | None = None, remote: str = HUB) -> str:
    """The draft for a directory, after the Hub's own library has read it."""
    if contents is not None:
        directory.mkdir(parents=True, exist_ok=True)
        lay(directory, contents)
    with of_directory(directory, ()) as holdings:
        text = draft(Mirror("my-model", directory, remote), {}, holdings)
    assert text is not None
    ModelCard(text)
    assert not [one for one in problems(text.encode()) if one.is_error]
    return text


def data_of(text: str) -> dict[str, Any]:
    """The metadata of a card, as the Hub's own library reads it."""
    return dict(ModelCard(text).data.to_dict())  # type: ignore[no-untyped-call]


# -- real directories ------------------------------------------------------------------------------------------------


def test_a_real_model(tmp_path: Path) -> None:
    shutil.copytree(real_model(), tmp_path / "model", ignore=shutil.ignore_patterns("__pycache__", "README.md"))
    text = card_of(tmp_path / "model")
    data = data_of(text)
    assert data["library_name"] == "sentence-transformers"
    assert data["pipeline_tag"] == "sentence-similarity"
    assert data["base_model"] == "nreimers/MiniLM-L6-H384-uncased"
    assert "license" not in data
    assert "with 22.7 M parameters in `F32`," in text
    assert 'SentenceTransformer("me/my-model", revision="main")' in text
    assert "| hidden size | 384 |" in text
    assert "| transformers | `4.8.2` |" in text


def test_what_a_trainer_leaves(tmp_path: Path) -> None:
    text = card_of(tmp_path / "run", trained(14))
    data = data_of(text)
    assert data["base_model"] == "google-bert/bert-base-uncased"
    assert (data["library_name"], data["pipeline_tag"]) == ("transformers", "text-classification")
    assert data["tags"] == ["generated_from_trainer"]
    assert data["metrics"] == ["accuracy"]
    [model] = data["model-index"]
    assert {one["type"]: one["value"] for one in model["results"][0]["metrics"]} == {"loss": 0.4, "accuracy": 0.82}
    assert "Trained for 1,400 of 600 steps, 7 epochs." in text
    assert "| learning_rate | `5e-05` |" in text
    assert "| optim | `adamw_torch` |" in text
    assert "| **200** | **1** | **0.35** | **0.4** | **0.82** |" in text  # the best, though it is long ago
    assert "| 1,400 | 7 | 0.05 | 14.8 | 0.94 |" in text
    assert "| 500 |" not in text
    assert "4 earlier evaluations are left out" in text
    assert "`model.safetensors` |" in text
    assert "training_args.bin" not in text


KINDS: list[tuple[str, dict[str, object], list[str]]] = [
    (
        "adapter",
        {
            "base_model": "meta-llama/Llama-3.1-8B",
            "base_model_relation": "adapter",
            "library_name": "peft",
            "pipeline_tag": "text-generation",
            "tags": ["lora"],
        },
        ["| lora_r | `8` |", "AutoModelForCausalLM", 'PeftModel.from_pretrained(model, "me/my-model"'],
    ),
    (
        "gguf",
        {"license": "mit", "pipeline_tag": "text-generation", "tags": ["gguf"]},
        ["`llama`", "hf_hub_download"],
    ),
    ("keras", {"library_name": "keras"}, ["| keras | `3.12.0` |", "| learning_rate | `0.001` |", "`Sequential`"]),
    ("pickles only", {}, ["| lr | `0.001` |", "git clone --branch main"]),
]


@pytest.mark.parametrize(("kind", "metadata", "words"), KINDS, ids=[kind for kind, _, _ in KINDS])
def test_other_kinds(kind: str, metadata: dict[str, object], words: list[str], tmp_path: Path) -> None:
    text = card_of(tmp_path / "model", DIRECTORIES[kind])
    assert data_of(text) == metadata
    for word in words:
        assert word in text


def test_nothing_of_this_machine_reaches_a_card(tmp_path: Path) -> None:
    for kind, contents in DIRECTORIES.items():
        text = card_of(tmp_path / kind, contents, remote=str(tmp_path / "remote.git"))
        for word in ("someone", str(tmp_path), "a secret"):
            assert word not in text, kind
        assert "ADDRESS" in text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("google-bert/bert-base-uncased", "google-bert/bert-base-uncased"),
        ("gpt2", "gpt2"),
        ("distilbert-base-uncased", "distilbert-base-uncased"),
        ("my-bert", ""),
        ("/home/me/models/bert", ""),
        ("./bert", ""),
        ("../me/bert", ""),
        ("~/bert", ""),
        ("outputs/bert", ""),
        ("me/checkpoint-500", ""),
        ("here/bert", ""),
        ("C:\\models\\bert", ""),
        ("me/a--b", ""),
        ("me/bert.git", ""),
        ("a/b/c", ""),
        (["me/bert"], ""),
        (None, ""),
    ],
)
def test_what_counts_as_a_base_model(value: object, expected: str) -> None:
    assert published(value, lambda name: name == "here/bert") == expected


def test_a_folder_beside_it_is_no_base_model(tmp_path: Path) -> None:
    (tmp_path / "google-bert" / "bert-base-uncased").mkdir(parents=True)
    assert "base_model" not in data_of(card_of(tmp_path / "runs" / "model", DIRECTORIES["trainer"]))


# -- directories that mean no good -----------------------------------------------------------------------------------


def test_words_are_never_markdown_or_html(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>|x](http://evil)`'\n---\n# owned"
    settings = {"optim": evil, "learning_rate": evil, "lr_scheduler_type": "line`ar"}
    contents = {
        b"config.json": json.dumps(CONFIG | {"model_type": evil, "architectures": [evil]}).encode(),
        b"model.safetensors": DIRECTORIES["trainer"][b"model.safetensors"],
        b"args.json": json.dumps(settings).encode(),
        b"<img src=x>|`\n# owned`.safetensors": b"",
    }  # fmt: skip
    text = card_of(tmp_path / "model", contents)
    assert "alert" not in text
    assert "evil" not in text
    assert "`<img src=x>\\|'\\n# owned'.safetensors`" in text


def test_links_are_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere.json", json.dumps(CONFIG | {"model_type": "secret"}).encode())
    contents: dict[bytes, bytes | Link] = {
        b"config.json": Link(b"../elsewhere.json"),
        b"model.safetensors": DIRECTORIES["trainer"][b"model.safetensors"],
    }
    assert "secret" not in card_of(tmp_path / "model", contents)
    with of_directory(tmp_path / "model", ()) as holdings:
        assert list(holdings.files) == [b"model.safetensors"]
        (tmp_path / "model" / "model.safetensors").unlink()
        (tmp_path / "model" / "model.safetensors").symlink_to("../elsewhere.json")  # after it was listed
        assert holdings.read(b"model.safetensors", 1 << 20) == b""
        assert holdings.missed == {b"model.safetensors"}


def test_what_claims_to_be_huge_is_not_read(tmp_path: Path) -> None:
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("metadata.json", b'{"keras_version": "3.0"' + b" " * (64 << 20) + b"}")
        packed.writestr("config.json", b"{}")
    (tmp_path / "model").mkdir()
    with open(tmp_path / "model" / "config.json", "wb") as config:
        config.truncate(1 << 40)
    contents = {
        b"model.keras": archive.getvalue(),
        b"model.safetensors": (1 << 60).to_bytes(8, "little") + b"{",
        b"hparams.yaml": b"a: &a [x]\n" + b"".join(b"b%d: &b%d [*a, *a]\n" % (n, n) for n in range(50)),
        b"eval_results.json": b"[" * 100_000,
    }
    text = card_of(tmp_path / "model", contents)
    assert "parameters" not in text
    assert "`3.0`" not in text


def test_a_directory_without_a_model_has_no_card(tmp_path: Path) -> None:
    write(tmp_path / "model" / "train.log", b"step 1\n")
    with of_directory(tmp_path / "model", ()) as holdings:
        assert draft(Mirror("m", tmp_path / "model", HUB), {}, holdings) is None


KEYS = st.sampled_from(
    [*CONFIG, "language", "license", "quantization_config", "auto_map", "log_history", "global_step", "epoch",
     "eval_loss", "eval_accuracy", "eval_x|y", "step", "loss", "learning_rate", "optim", "seed", "dataset_name", "r",
     "peft_type", "base_model_name_or_path", "weight_map", "dtype", "shape", "best_global_step", "class_name", "config"]
)  # fmt: skip
WORDS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["me/model", "mit", "---", "\n---\n", "<b>", "`", "| |", "en", "no", "1e5", "null", "=", "&a"]),
)  # fmt: skip
NUMBERS = st.one_of(st.integers(-(10**30), 10**30), st.floats(), st.booleans(), st.none())
JSON = st.recursive(
    st.one_of(WORDS, NUMBERS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.one_of(KEYS, WORDS), inner, max_size=6)),
    max_leaves=20,
)
TABLES = st.dictionaries(KEYS, JSON, max_size=12).map(lambda value: json.dumps(value).encode())
PATHS = st.sampled_from(
    [b"config.json", b"adapter_config.json", b"generation_config.json", b"trainer_state.json", b"args.json",
     b"checkpoint-7/trainer_state.json", b"all_results.json", b"eval_results.json", b"hparams.yaml",
     b"config_sentence_transformers.json", b"modules.json", b"model.safetensors", b"model.safetensors.index.json",
     b"x.gguf", b"x.keras", b"LICENSE", b"<x>`|\xff.bin", b"README.md"]
)  # fmt: skip
REAL = st.sampled_from([content for contents in DIRECTORIES.values() for content in contents.values()])
CUT = st.tuples(REAL, st.integers(0, 400)).map(lambda pair: pair[0][: pair[1]])
HEADERS = TABLES.map(lambda text: len(text).to_bytes(8, "little") + text)
CONTENTS = st.dictionaries(PATHS, st.one_of(TABLES, REAL, CUT, HEADERS, st.binary(max_size=60)), min_size=1, max_size=8)


@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(CONTENTS)
def test_any_directory_gives_a_card_that_the_hub_can_read(contents: dict[bytes, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "model"
        directory.mkdir()
        lay(directory, contents)
        with of_directory(directory, ()) as holdings:
            text = draft(Mirror("my-model", directory, HUB), {}, holdings)
        if text is not None:
            assert text.isprintable() or not [c for c in text if not c.isprintable() and c != "\n"]
            data = data_of(text)
            assert "base_model" not in data or published(data["base_model"], lambda _: False)
            assert not [one for one in problems(text.encode()) if one.is_error]
            assert folder not in text


CARDS = st.one_of(
    st.binary(max_size=80),
    st.text(max_size=80).map(lambda text: f"---\n{text}\n---\n".encode()),
    st.dictionaries(
        st.sampled_from(["license", "base_model", "datasets", "language", "model-index", "tags", "metrics", "x"]), JSON
    ).map(lambda value: f"---\n{json.dumps(value)}\n---\n# x\n".encode()),
)


@settings(max_examples=200)
@given(CARDS)
def test_what_our_check_finds_in_order_the_hubs_parser_reads(card: bytes) -> None:
    found = problems(card)
    assert all(one.message.isprintable() and one.remedy for one in found)
    if not [one for one in found if one.is_error]:
        ModelCard(card.decode("utf-8-sig"))


# -- the rules -------------------------------------------------------------------------------------------------------

INDEX = "model-index:\n- name: x\n  results:\n  - task: {type: text-generation}\n    dataset: {type: a, name: A}\n"


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        (b"# no metadata\n", [(False, "it has no metadata")]),
        (b"---\nlicense: mit\n---\n", []),
        (b"---\nlicense: MIT License\n---\n", [(True, "license 'MIT License' is none that the Hub knows")]),
        (b"---\ntags: [a]\n---\n", [(False, "it names no license")]),
        (b"---\nlicense: other\n---\n", [(False, "license is other, without license_name")]),
        (b"---\nlicense: mit\nlicense: [\n---\n", [(True, "its metadata: line 4")]),
        (b"---\nlicense: mit\n", [(True, "its metadata does not end")]),
        (b"---\n- a\n---\n", [(True, "its metadata: it is no table")]),
        (b"---\nlicense: mit\nbase_model: /home/me/x\n---\n", [(True, "base_model: '/home/me/x' is no name")]),
        (b"---\nlicense: mit\ndatasets: [my data]\n---\n", [(False, "datasets: 'my data' is no name")]),
        (b"---\nlicense: mit\nlanguage: English\n---\n", [(True, "language: 'English' is no code")]),
        (f"---\nlicense: mit\n{INDEX}---\n".encode(), [(True, "model-index: result 1 has no metrics")]),
        (f"---\nlicense: mit\n{INDEX}    metrics: [{{type: acc, value: 1}}]\n---\n".encode(), []),
        (b"---\nlicense: mit\nmodel-index: [{name: x}]\n---\n", [(True, "model-index: x has no list of results")]),
        (b"---\nlicense: mit\n---\n\xff", [(True, "line 4: it is not UTF-8")]),
        (b"x" * ((1 << 20) + 1), [(True, "it is larger than 1 MiB")]),
    ],
)
def test_what_a_check_finds(card: bytes, expected: list[tuple[bool, str]]) -> None:
    found = [(one.is_error, one.message) for one in problems(card)]
    assert [is_error for is_error, _ in found] == [is_error for is_error, _ in expected]
    assert all(message.startswith(words) for (_, message), (_, words) in zip(found, expected, strict=True)), found


# -- the command -----------------------------------------------------------------------------------------------------

EDITOR = """#!/bin/sh
cp "$1" {seen}
cp {text} "$1"
exit {status}
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A configured directory with a model."""
    (tmp_path / "my-model").mkdir()
    lay(tmp_path / "my-model", DIRECTORIES["trainer"])
    make_bare(tmp_path / "remote.git")
    said(run("add", "my-model", tmp_path / "remote.git", folder=tmp_path))
    return tmp_path / "my-model"


def editor(tmp_path: Path, text: bytes, status: int = 0) -> str:
    """An editor that notes what it is given, and puts another text in its place."""
    write(tmp_path / "text.md", text)
    lines = EDITOR.format(seen=tmp_path / "seen.md", text=tmp_path / "text.md", status=status)
    script = write(tmp_path / "editor", lines.encode())
    script.chmod(0o755)
    return str(script)


def test_a_draft_is_printed_written_shown_and_checked(model: Path, tmp_path: Path) -> None:
    before = tree(model)
    complaint(run("card", "show", folder=tmp_path), 2)
    printed = said(run("card", "new", folder=tmp_path))
    assert tree(model) == before
    wrote = said(run("card", "new", "my-model", "--write", folder=tmp_path))
    assert wrote.startswith(f"my-model: {model}/README.md is drafted\n• README.md: it names no license; add one of")
    assert (model / "README.md").read_text() == printed
    assert tree(model).keys() - before.keys() == {b"README.md"}
    assert said(run("card", "show", folder=tmp_path)) == printed
    assert json.loads(said(run("card", "show", "--json", folder=tmp_path)))["text"] == printed
    again = complaint(run("card", "new", "--write", folder=tmp_path), 2)
    assert "README.md is there already" in again


def test_a_wrong_card_is_an_error_of_the_check(model: Path, tmp_path: Path) -> None:
    (model / "README.md").write_text("---\nlicense: none\nbase_model: /x\n---\n\x1b[31m")
    done = run("card", "check", folder=tmp_path)
    assert (done.returncode, len(done.stdout.splitlines())) == (1, 2)
    assert done.stderr == "error: my-model: README.md has 2 errors; correct it with: lfssync card edit my-model\n"
    document = json.loads(run("card", "check", "--json", folder=tmp_path).stdout)
    assert [one["kind"] for one in document["problems"]] == ["error", "error"]
    assert document["checked_by"] == ["lfssync", "huggingface_hub"]
    assert "\\x1b[31m" in said(run("card", "show", folder=tmp_path))
    (model / "README.md").write_text("---\nlicense: mit\n---\n")
    assert said(run("card", "check", folder=tmp_path)) == "✓ my-model: README.md is in order\n"


def test_an_edited_card_is_written_once_it_is_right(model: Path, tmp_path: Path) -> None:
    complaint(run("card", "edit", folder=tmp_path, EDITOR="", VISUAL=""), 2)
    draft = said(run("card", "new", folder=tmp_path))
    wrong = complaint(run("card", "edit", folder=tmp_path, EDITOR=editor(tmp_path, b"---\nlicense: x\n---\n")), 2)
    assert "README.md is not written: license 'x'" in wrong
    assert (tmp_path / "seen.md").read_text() == draft
    assert not (model / "README.md").exists()
    failed = complaint(run("card", "edit", folder=tmp_path, EDITOR=editor(tmp_path, b"", 3)), 1)
    assert "the editor ended with 3" in failed
    good = b"---\nlicense: mit\n---\n# mine\n"
    write(model.parent / "seen.md", b"")
    said(run("card", "edit", folder=tmp_path, EDITOR="/bin/false", VISUAL=editor(tmp_path, good)))
    assert (model / "README.md").read_bytes() == good
    (model / "README.md").chmod(0o640)
    forced = run("card", "edit", "--force", folder=tmp_path, EDITOR=editor(tmp_path, b"---\nlicense: x\n---\n"))
    assert forced.returncode == 0
    assert (tmp_path / "seen.md").read_bytes() == good
    assert (model / "README.md").read_bytes() == b"---\nlicense: x\n---\n"
    assert stat.S_IMODE((model / "README.md").stat().st_mode) == 0o640
    assert not [name for name in os.listdir(model) if ".part" in name]


def test_what_somebody_wrote_meanwhile_is_not_replaced(model: Path, tmp_path: Path) -> None:
    (model / "README.md").write_text("---\nlicense: mit\n---\n")
    script = write(tmp_path / "editor", f"#!/bin/sh\necho mine > {model}/README.md\necho '# new' >> $1\n".encode())
    script.chmod(0o755)
    assert "changed while you edited" in complaint(run("card", "edit", folder=tmp_path, EDITOR=str(script)), 2)
    assert (model / "README.md").read_text() == "mine\n"


def test_links_and_wrong_options_are_refused(model: Path, tmp_path: Path) -> None:
    (model / "README.md").symlink_to("/etc/hostname")
    assert "is no plain file" in complaint(run("card", "show", folder=tmp_path), 2)
    assert "is there already" in complaint(run("card", "new", "--write", folder=tmp_path), 2)
    assert "--write does not go with card check" in complaint(run("card", "check", "--write", folder=tmp_path), 2)
    assert "invalid choice" in complaint(run("card", "paint", folder=tmp_path), 2)


def test_without_huggingface_hub_our_own_check_does(model: Path, tmp_path: Path) -> None:
    hidden = "import sys; sys.modules['huggingface_hub'] = None\nimport importlib.util as u; real = u.find_spec\n"
    hidden += "u.find_spec = lambda name, *a: None if name == 'huggingface_hub' else real(name, *a)\n"
    write(tmp_path / "hidden" / "sitecustomize.py", hidden.encode())
    path = f"{tmp_path / 'hidden'}{os.pathsep}{Path(__file__).parents[2]}"
    wrote = said(run("card", "new", "--write", folder=tmp_path, PYTHONPATH=path))
    assert "checked by lfssync alone; pip install 'lfssync[cards]' asks huggingface_hub as well" in wrote
