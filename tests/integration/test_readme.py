"""The README, word for word: its commands are run in a home of their own, its tables are held against the program.

Console blocks must show exactly what the commands say (names of commits, times and the home's path are made alike), the
commands of other shell blocks must succeed. What cannot run here, because it installs packages or talks to systemd,
stands in blocks that are marked, and every line of those must be one that is known and checked (`test_service` runs
those about the service). A host on the loopback
stands in for the one that the README names, through git's own `insteadOf`. A command, a language or a mark that is not
known is an error.
"""

from __future__ import annotations

import ast
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import pytest

from lfssync.commandline.grammar import COMMANDS, GLOBAL_OPTIONS, HELP_OPTION, command_named
from lfssync.commandline.syntax import Argument, Command, Count
from lfssync.configuration import config
from lfssync.model import Mirror
from lfssync.places import Places
from lfssync.rules.remotes import parse_remote
from tests import helpers, host
from tests.readme_session import COMMANDS as SESSION
from tests.readme_session import PICTURE, ROOT, SHOWN_HOME, TIMEOUT_S, move_in, session, user_environment, words

TEXT = (ROOT / "README.md").read_text()
ELSEWHERE = "<!-- for another machine -->"
WITH_LIBRARY = "<!-- with the library installed -->"
WITH_SYSTEMD = "<!-- for a machine with systemd -->"
LANGUAGES = frozenset({"console", "python", "sh", "text", "toml"})
STOP_TIMEOUT_S = 30.0
POLL_S = 0.05


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, its line in the README, and what marks it as not for here."""

    language: str
    text: str
    line: int
    mark: str | None

    @property
    def is_elsewhere(self) -> bool:
        """Whether it is for another machine than this one."""
        return self.mark is not None

    def __str__(self) -> str:
        """The name of the block in a report."""
        return f"{self.language}-line{self.line}"


def blocks(*languages: str) -> list[Block]:
    """The blocks in these languages, in their order."""
    found = []
    for match in re.finditer(r"^(?:(<!--[^\n]*-->)\n)?```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL):
        mark, language, text = match.groups()
        assert mark in (None, ELSEWHERE, WITH_SYSTEMD, WITH_LIBRARY), mark
        found.append(Block(language, text, TEXT.count("\n", 0, match.start(2)) + 1, mark))
    assert len(found) == len(re.findall(r"^```", TEXT, re.MULTILINE)) / 2
    return [block for block in found if block.language in languages]


def table(first: str) -> list[list[str]]:
    """The rows of the table whose first column has this heading."""
    match = re.search(rf"^\| {first} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    assert match, first
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in match[1].splitlines()]


class Alike:
    """Makes two runs comparable: objects are named in the order in which they turn up, times and homes are all one."""

    def __init__(self, home: str) -> None:
        self._home = home
        self._objects: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        """The text as any other run would have it."""
        text = text.replace(self._home, SHOWN_HOME)
        text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "<time>", text)
        text = re.sub(r"\b(in|verified at \w+) [\d.]+ (s|min)( \d+ s)?", r"\1 <while>", text)
        text = re.sub(r"pid \d+", "pid <pid>", text)
        return re.sub(r"\b(?:[0-9a-f]{7}|[0-9a-f]{10}|[0-9a-f]{40})\b", self._name, text)

    def _name(self, found: re.Match[str]) -> str:
        return self._objects.setdefault(found[0], f"<{len(self._objects) + 1}>")


@dataclass(frozen=True)
class Step:
    """A command of a console block and what it shows."""

    command: str
    shown: str


def steps(block: Block) -> list[Step]:
    """The commands of a console block; each begins with a dollar."""
    assert block.text.startswith("$ "), block
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]
    return [Step(command, shown) for command, _, shown in (part.partition("\n") for part in parts)]


@pytest.fixture
def home(private_environment: Path) -> Iterator[Path]:
    """A user's home: a model in it, the checkout, and a login at the README's host, which is one on the loopback."""
    home = private_environment
    move_in(home)
    shutil.copytree(ROOT / "systemd", home / "lfssync" / "systemd")
    hub = home / ".hub"
    helpers.make_bare(hub / "me" / "my-model")
    with host.serve(hub) as address:
        (home / ".gitconfig").write_text(
            f'[url "{address}/"]\n\tinsteadOf = https://huggingface.co/\n[credential]\n\thelper = store\n'
        )
        (home / ".git-credentials").write_text(address.replace("//", f"//{host.USER}:{host.PASSWORD}@"))
        yield home


def run(script: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Runs a script as the user who lives there; all that it says comes in one text."""
    return subprocess.run(
        ["bash", "-c", script],
        cwd=home,
        env=user_environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@contextmanager
def in_the_foreground(command: str, home: Path) -> Iterator[None]:
    """A command that runs until Ctrl-C, which comes at the end; it must end well then."""
    log = home / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"], cwd=home, env=user_environment(home), stderr=stream
        )
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while "mirroring 1 directory" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(POLL_S)
        yield
        process.send_signal(signal.SIGINT)
        assert process.wait(STOP_TIMEOUT_S) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def check_console(block: Block, home: Path, as_written: Alike, as_run: Alike) -> None:
    """Runs a console block in one shell; every command must show what the README shows."""
    wanted = steps(block)
    end = "said=$?; printf '\\036%s\\037' $said; (exit $said)"
    done = run("\n".join(f"{step.command}\n{end}" for step in wanted), home)
    answers = [answer.partition("\036") for answer in done.stdout.split("\037")[:-1]]
    assert len(answers) == len(wanted), done.stdout
    for step, (shown, _, status) in zip(wanted, answers, strict=True):
        assert as_run(shown) == as_written(step.shown), f"line {block.line}: {step.command}: {shown}"
        assert (status != "0") is ("error: " in step.shown), f"line {block.line}: {step.command}: exit code {status}"


def check_shell(block: Block, home: Path) -> None:
    """Runs the commands of a shell block; each must succeed. The targets of make only have to be there."""
    for command in block.text.splitlines():
        if command.startswith("make "):
            assert dry_run(command.split()[1], home)
        else:
            done = run(command, home)
            assert done.returncode == 0, f"line {block.line}: {command}: {done.stdout}"


def dry_run(target: str, home: Path) -> list[str]:
    """The lines that make would run for a target."""
    done = run(f"make --dry-run --no-print-directory --directory {ROOT} {target}", home)
    assert done.returncode == 0, done.stdout
    return done.stdout.splitlines()


def test_the_commands_do_what_the_readme_says(home: Path) -> None:
    as_written, as_run = Alike(SHOWN_HOME), Alike(str(home))
    waiting = [block for block in blocks("console", "sh", "python") if not block.is_elsewhere]
    before, [daemon, *after] = _cut(waiting, "lfssync run\n")

    def check(block: Block) -> None:
        if block.language == "console":
            check_console(block, home, as_written, as_run)
        elif block.language == "python":
            done = subprocess.run(
                [sys.executable, "-c", block.text], cwd=home, env=user_environment(home), timeout=TIMEOUT_S, check=False
            )
            assert done.returncode == 0
        else:
            check_shell(block, home)

    for block in before:
        check(block)
    with in_the_foreground(daemon.text.strip(), home):
        for block in after:
            check(block)
    _, release = helpers.git("ls-remote", home / "backup.git", "v2.1.0", cwd=home).split()
    assert release == b"refs/tags/v2.1.0"
    model = helpers.tree(home / "outputs" / "my-model")
    for copy in (home / "my-model", home / "my-model-v2.0.1", helpers.clone(home / "backup.git", home / "copy")):
        assert {path: entry for path, entry in helpers.tree(copy).items() if path != b".gitattributes"} == model
    helpers.assert_whole(home / ".hub" / "me" / "my-model")
    assert helpers.git("ls-remote", home / ".hub" / "me" / "my-model", "refs/heads/main", cwd=home)


def _cut(waiting: list[Block], text: str) -> tuple[list[Block], list[Block]]:
    at = next(number for number, block in enumerate(waiting) if block.text == text)
    return waiting[:at], waiting[at:]


def test_commands_for_another_machine_are_known() -> None:
    makefile = (ROOT / "Makefile").read_text()
    programs = re.search(r"^system-for-demo:\n\t@\$\(call system,(.*)\)$", makefile, re.MULTILINE)
    assert programs
    known = (
        rf"sudo apt-get install {programs[1]} pipx",
        "pipx install ~/lfssync",
        "lfssync login hf",
        "pass show git-token | lfssync login git.example.org --username me",
        "lfssync whoami hf",
        "lfssync logout hf",
    )
    lines = [line for block in blocks("sh") if block.mark == ELSEWHERE for line in block.text.splitlines()]
    assert sorted(line.partition("#")[0].strip() for line in lines) == sorted(known)


@pytest.mark.parametrize("block", [block for block in blocks(*LANGUAGES) if block.mark == WITH_LIBRARY], ids=str)
def test_what_needs_a_library_is_python_and_imports_what_is_there(block: Block) -> None:
    tree = ast.parse(block.text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert (ROOT / f"{str(node.module).replace('.', '/')}.py").exists()
            assert [name.name for name in node.names] == ["LfsSyncCallback"]


def test_there_are_no_other_blocks() -> None:
    assert len(blocks(*LANGUAGES)) == TEXT.count("\n```") / 2
    odd = [block for block in blocks("console", "python", "text", "toml") if block.is_elsewhere]
    assert not [block for block in odd if block.mark != WITH_LIBRARY]


def places(tmp_path: Path) -> Places:
    """Places of nobody."""
    return Places(tmp_path / "config.toml", tmp_path / "state", tmp_path / "data", tmp_path / "run", tmp_path)


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_configurations_are_good_ones(block: Block, tmp_path: Path) -> None:
    read = config.parse(block.text, tmp_path / "config.toml", places(tmp_path))
    assert len(read.mirrors) + len(read.patterns) == len(tomllib.loads(block.text).get("mirror", []))


def test_the_table_of_keys_is_what_the_configuration_takes(tmp_path: Path) -> None:
    rows = {row[0].strip("`"): row[1] for row in table("key")}
    every = {re.sub("_(s|bytes)$", "", field) for field in Mirror._fields} - {"embedded"}
    assert rows.keys() == every

    def mirror(lines: str) -> Mirror:
        text = f'[[mirror]]\npath = "/data/my-model"\n{lines}'
        return config.parse(text, tmp_path / "config.toml", places(tmp_path)).mirrors[0]

    for key, default in rows.items():
        if default.startswith("`"):
            assert mirror(f"{key} = {default.strip('`')}\n") == mirror(""), key
            assert mirror(f"{key} = {OTHER_VALUES[key]}\n") != mirror(""), key
    assert mirror("").name == "my-model"
    assert mirror("").embedded


OTHER_VALUES = {
    "branch": '"other"',
    "into": '"models"',
    "ignore": '["*.log"]',
    "delete": '"keep"',
    "incomplete": '"commit"',
    "create": '"private"',
    "card": '"auto"',
    "transfer": '"git-lfs"',
    "quiet": '"250ms"',
    "max_wait": '"1h30m"',
    "min_interval": '"10m"',
    "only_between": '"22:00-07:00"',
    "commits_per_hour": "30",
    "rescan": '"1h"',
    "lfs_threshold": '"500kB"',
    "lfs_url": '"https://lfs.example.org/me/my-model/info/lfs"',
    "rate_limit": '"50MB/s"',
    "headroom": '"1GB"',
    "offline_limit": '"0"',
    "shutdown_grace": '"1m"',
    "tag": '{when = "marker"}',
    "keep": '{last = 3}\ndelete = "keep"',
}


def test_the_words_that_a_key_may_have_are_all_named() -> None:
    meanings = {row[0].strip("`"): row[2] for row in table("key")}
    for field, default in Mirror._field_defaults.items():
        if isinstance(default, StrEnum):
            for value in type(default):
                assert f'`"{value}"`' in meanings[field]


def synopsis(command: Command) -> str:
    """The command in one line, as the README's table has it."""
    return " ".join([command.name, *(_word(argument) for argument in command.arguments)])


def _word(argument: Argument) -> str:
    if argument.is_option:
        return f"[{argument.names[0]}{'' if argument.takes is Count.SWITCH else ' ' + argument.metavar}]"
    return {Count.ONE: "{}", Count.AT_MOST_ONE: "[{}]", Count.ANY: "[{}...]"}[argument.takes].format(argument.metavar)


def test_the_table_of_commands_is_what_the_program_has(home: Path) -> None:
    assert table("command") == [[f"`{synopsis(command)}`", command.summary] for command in COMMANDS]
    shown = run("lfssync --help", home).stdout
    for command in COMMANDS:
        assert re.search(rf"^  {command.name} +{re.escape(command.summary)}$", shown, re.MULTILINE)


def test_the_table_of_exit_codes_is_that_of_the_help(home: Path) -> None:
    shown = re.sub(r"\s+", " ", run("lfssync --help", home).stdout)
    assert f"exit codes: {', '.join(f'{code} {meaning}' for code, meaning in table('exit code'))}" in shown


def test_commands_in_the_text_are_the_programs() -> None:
    prose = re.sub(r"^```.*?^```", "", TEXT, flags=re.MULTILINE | re.DOTALL)
    everywhere = {name for option in (*GLOBAL_OPTIONS, HELP_OPTION) for name in option.names}
    named = re.findall(r"`lfssync (\w+)([^`]*)`", prose)
    assert named
    for name, rest in named:
        command = command_named(name)
        assert command, name
        options = {option for argument in command.options for option in argument.names}
        assert set(re.findall(r"(?<!\w)--?[a-z][a-z-]*", rest)) <= options | everywhere, rest
    all_options = everywhere | {name for command in COMMANDS for option in command.options for name in option.names}
    assert set(re.findall(r"`(--[a-z-]+)", prose)) <= all_options


def test_the_dependencies_are_those_of_the_package_and_used_where_it_says_so() -> None:
    told = {row[0]: row[1] for row in table("package")}
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert told.keys() - {"git, git-lfs"} == {re.split("[<>=]", name)[0] for name in required}
    code = "".join(path.read_text() for path in (ROOT / "lfssync").rglob("*.py"))
    for name in told.keys() - {"git, git-lfs"}:
        module = {"GitPython": "git", "PyYAML": "yaml"}.get(name, name)
        is_used = re.search(rf"^ *(from|import) {module}\b", code, re.MULTILINE) is not None
        assert is_used is not told[name].startswith("not used yet"), name


def test_the_table_of_remotes_is_what_the_program_takes() -> None:
    rows = table("you write")
    assert rows[0][0] == "nothing"
    for written, meaning in rows[1:]:
        for address in re.findall("`([^`]+)`", written):
            url = parse_remote(address.replace("HOST", "host.example").replace("PATH", "me/my-model"), Path.home()).url
            promised = re.fullmatch(r"`(https:[^`]+?)(\.\.\.)?`", meaning)
            assert promised is None or (url.startswith(promised[1]) if promised[2] else url == promised[1])


def test_what_the_readme_points_at_is_there() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT) + re.findall(r"`((?:tests|lfssync)/[\w/.]+)`", TEXT)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_the_demonstration_says_that_every_byte_arrived(home: Path) -> None:
    assert dry_run("demo", home)[-1].endswith("-m lfssync.demo")
    done = subprocess.run(
        [sys.executable, "-m", "lfssync.demo"], cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the clone of v2.0.1 equals the directory, byte for byte" in done.stdout


def test_the_picture_shows_what_a_session_shows(private_environment: Path) -> None:
    picture = PICTURE.read_text()
    committed, now = (Alike(SHOWN_HOME), Alike(SHOWN_HOME))
    again = words(session(private_environment))
    assert [committed(line) for line in words(picture)] == [now(line) for line in again], (
        "draw it anew: .venv/bin/python -m tests.readme_session"
    )
    assert [line.removeprefix("$ ") for line in again if line.startswith("$ ")] == list(SESSION)


def test_the_picture_names_no_machine_and_no_host() -> None:
    picture = PICTURE.read_text()
    paths = re.findall(r"(?<!\S)/\S*", "\n".join(words(picture)))
    assert paths
    assert [path for path in paths if not path.startswith(SHOWN_HOME)] == []
    assert re.findall(r"https?:[^\s\"]*", picture) == ["http://www.w3.org/2000/svg"]
