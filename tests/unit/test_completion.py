"""What a shell is offered, word by word; the shells themselves run in `tests/integration/test_completion.py`."""

from __future__ import annotations

import pytest

from lfssync.commandline.completion import answer, named_configuration
from lfssync.commandline.grammar import COMMANDS
from lfssync.commandline.syntax import Command, Values


def offered(*words: str) -> list[str]:
    return [word for word, _ in answer(words, lambda: ["my-model", "my-other", "third"]).candidates]


def no_names() -> list[str]:
    raise AssertionError("the configuration is read only where a mirror's name may stand")


@pytest.mark.parametrize(
    ("words", "candidates"),
    [
        (("st",), ["status"]),
        (("-v", "st"), ["status"]),
        (("--config", "x", "st"), ["status"]),
        (("sync", ""), ["my-model", "my-other", "third"]),
        (("sync", "my-"), ["my-model", "my-other"]),
        (("sync", "my-model", ""), ["my-other", "third"]),
        (("sync", "--accept-deletions", "t"), ["third"]),
        (("wait", "--timeout", "5m", "t"), ["third"]),
        (("wait", "--timeout", ""), []),
        (("wait", "third", ""), []),
        (("tag", "v1", ""), ["my-model", "my-other", "third"]),
        (("tag", "v1", "-m", "text", "t"), ["third"]),
        (("diff", "t"), ["third"]),
        (("diff", "third", ""), []),
        (("show", "t"), ["third"]),
        (("restore", ""), ["my-model", "my-other", "third"]),
        (("restore", "./"), []),
        (("list", ""), []),
        (("completion", ""), ["bash", "zsh", "fish"]),
        (("completion", "z"), ["zsh"]),
        (("sync", "--a"), ["--accept-deletions"]),
        (("sync", "--json", "--j"), []),
        (("tag", "v1", "-m", "x", "--me"), []),
        (("xyzzy", "s"), []),
    ],
)
def test_candidates(words: tuple[str, ...], candidates: list[str]) -> None:
    assert offered(*words) == candidates


@pytest.mark.parametrize("words", [(), ("",)])
def test_nothing_typed_offers_every_command_with_its_summary(words: tuple[str, ...]) -> None:
    assert answer(words, no_names).candidates == tuple((command.name, command.summary) for command in COMMANDS)


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (("add", ""), Values.FOLDERS),
        (("add", "dir", "x"), Values.FOLDERS),
        (("--config", ""), Values.FILES),
        (("status", "--config", "a"), Values.FILES),
        (("restore", "third", ""), Values.FOLDERS),
        (("status", "--"), Values.ANYTHING),
    ],
)
def test_files_and_folders_are_left_to_the_shell(words: tuple[str, ...], values: Values) -> None:
    assert answer(words, no_names).values is values


def test_a_folder_may_stand_where_a_name_is_left_out() -> None:
    assert answer(["restore", "./o"], lambda: ["third"]).values is Values.FOLDERS
    assert answer(["restore", "t"], lambda: ["third"]).values is Values.ANYTHING


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_option_is_offered(command: Command) -> None:
    words = offered(command.name, "-")
    assert [option.names[-1] for option in command.options] == words[: len(command.options)]
    assert {"--config", "--verbose", "--help", "--version"} <= set(words)


def test_the_answer_is_lines_a_script_can_read() -> None:
    assert answer(["sync", "t"], lambda: ["third"]).text() == "anything\nthird\tmirror\n"
    assert answer(["add", ""], no_names).text() == "folders\n"


@pytest.mark.parametrize(
    ("words", "config"),
    [
        (["--config", "a.toml", "sync", ""], "a.toml"),
        (["sync", "--config", "a.toml", ""], "a.toml"),
        (["sync", "--config", "a.t"], None),
        (["sync", ""], None),
    ],
)
def test_names_come_from_the_configuration_that_the_words_name(words: list[str], config: str | None) -> None:
    assert named_configuration(words) == config
