"""Which rule wins, what the built-in list takes for a dropping, and what never gets through."""

from __future__ import annotations

import pytest

from lfssync.rules.ignore import IgnoreRules, is_git_name


def _rules(*extra: str, **gitignore: str) -> IgnoreRules:
    """Rules for a root, with the texts of `.gitignore` in the root (`root`) and in directories of one level."""
    rules = IgnoreRules(b"/data/model", extra)
    rules.enter(b"", gitignore.pop("root", "").encode())
    for directory, text in gitignore.items():
        rules.enter(directory.encode(), text.encode())
    return rules


_DROPPINGS = """
    model.safetensors.tmp data.part a.partial x.incomplete x.crdownload x.aria2 x.orbax-checkpoint-tmp-17
    variables.tempstate123 .goutputstream-AB12 x.py___jb_tmp___ x___jb_old___
    notes.txt~ #notes.txt# .#notes.txt .notes.txt.swp .notes.txt.swo .swp .x.kate-swp .~lock.x.odt#
    module.pyc module.pyo .DS_Store ._model.safetensors Thumbs.db desktop.ini
    .nfs000000000012a4b300000001 .fuse_hidden0000a4b300000001
"""

_DIRECTORIES_OF_DROPPINGS = """
    __pycache__ .ipynb_checkpoints .venv .mypy_cache .pytest_cache .ruff_cache tmp-checkpoint-500 lost+found .Trash-1000
"""

_KEPT = """
    model.safetensors model.safetensors.index.json pytorch_model.bin optimizer.pt events.out.tfevents.1.host.7.0
    checkpoint-500 train.log core nohup.out wandb .cache huggingface venv __pycache__x thumbs.db
    poetry.lock uv.lock Cargo.lock x.lock x.tmpl tmp part x.parts macro.swp .hidden .swf .x.swz #1.txt a~b x.pycx
    .gitignore .gitattributes .gitkeep .env .nfs .nfsroot .nfs123
"""


@pytest.mark.parametrize("name", _DROPPINGS.split())
def test_a_dropping_is_left_out_anywhere(name: str) -> None:
    rules = _rules()
    assert rules.verdict(b"", name.encode(), False)
    assert rules.verdict(b"checkpoint-500/deep", name.encode(), False)


@pytest.mark.parametrize("name", _DIRECTORIES_OF_DROPPINGS.split())
def test_a_directory_of_droppings_is_left_out_but_no_file_of_that_name(name: str) -> None:
    rules = _rules()
    assert rules.verdict(b"a", name.encode(), True)
    assert not rules.verdict(b"a", name.encode(), False)


@pytest.mark.parametrize("name", _KEPT.split())
def test_what_may_be_meant_is_kept(name: str) -> None:
    rules = _rules()
    assert not rules.verdict(b"", name.encode(), False)
    assert not rules.verdict(b"a", name.encode(), False)


def test_the_hubs_bookkeeping_is_left_out_at_any_depth() -> None:
    rules = _rules()
    assert rules.verdict(b".cache", b"huggingface", True)
    assert rules.verdict(b"a/b/.cache", b"huggingface", True)
    assert not rules.verdict(b"", b"huggingface", True)


def test_the_word_of_the_mirror_beats_gitignore_which_beats_the_built_in_list() -> None:
    rules = _rules("!kept.tmp", "!kept.bin", "secret.txt", root="*.bin\n!wanted.tmp\n!secret.txt")
    assert not rules.verdict(b"", b"kept.tmp", False)
    assert not rules.verdict(b"", b"kept.bin", False)
    assert not rules.verdict(b"", b"wanted.tmp", False)
    assert rules.verdict(b"", b"other.tmp", False)
    assert rules.verdict(b"", b"other.bin", False)
    assert rules.verdict(b"", b"secret.txt", False)


def test_later_lines_beat_earlier_ones() -> None:
    assert not _rules("*.log", "!*.log").verdict(b"", b"a.log", False)
    assert _rules("!*.log", "*.log").verdict(b"", b"a.log", False)


def test_deeper_files_beat_shallower_ones_and_speak_for_their_own_directory_only() -> None:
    rules = _rules(root="*.log\n/only", a="!*.log\n/here")
    assert rules.verdict(b"", b"x.log", False)
    assert not rules.verdict(b"a", b"x.log", False)
    assert not rules.verdict(b"a/deeper", b"x.log", False)
    assert rules.verdict(b"ab", b"x.log", False)
    assert rules.verdict(b"", b"only", False)
    assert not rules.verdict(b"a", b"only", False)
    assert rules.verdict(b"a", b"here", False)
    assert not rules.verdict(b"a/deeper", b"here", False)


def test_entering_again_replaces_what_was_said_before() -> None:
    rules = _rules(a="x")
    rules.enter(b"a", None)
    assert not rules.verdict(b"a", b"x", False)
    rules.enter(b"a", b"y")
    assert rules.verdict(b"a", b"y", False)


def test_directories_below_an_entered_one_need_not_be_entered() -> None:
    rules = _rules("runs/", a="x")
    assert rules.verdict(b"a/b/c/d", b"x", False)
    assert rules.verdict(b"z/b", b"runs", True)


def test_a_pattern_of_the_mirror_matches_names_that_are_no_text() -> None:
    assert _rules("r\udce9sum?").verdict(b"", b"r\xe9sum1", False)
    assert _rules("modèle.*").verdict(b"", "modèle.txt".encode(), False)


@pytest.mark.parametrize(
    "name", [b".git", b".GIT", b".git ", b".git.", b"git~1", b".git:x", b"a\\.git", b".g\xe2\x80\x8cit"]
)
@pytest.mark.parametrize("is_dir", [True, False])
def test_git_names_never_get_through(name: bytes, is_dir: bool) -> None:
    assert is_git_name(name)
    rules = _rules("!*", "!.git", "!.git/", root="!*\n!.git\n")
    assert rules.verdict(b"", name, is_dir)
    assert rules.verdict(b"a/b", name, is_dir)


@pytest.mark.parametrize(
    "glob",
    [
        "*a" * 60 + "b",
        "*[a]?" * 40 + "b",
        "/" + "**/a/" * 40 + "b",
        "/**" + "/*a*a*a" * 20 + "/b",
        "a**" * 60 + "b",
    ],
)
def test_a_pattern_of_many_stars_answers(glob: str) -> None:
    rules = _rules(root=glob)
    assert not rules.verdict(b"/".join([b"a" * 100] * 40), b"a" * 255, False)
