"""Whatever is wrong with what a user gives: one line that says what and what to do, and nothing has changed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lfssync.commandline.cli import main
from tests.helpers import git, make_bare, write

ROOT = Path(__file__).parents[2]
ONE_LINE = re.compile(r"error: [^\n]+; [^\n]+\n")


@dataclass(frozen=True)
class Scene:
    """A directory, a remote, and a place for the configuration."""

    directory: Path
    remote: Path
    config: Path
    state: Path

    def configure(self, text: str = "", **keys: str) -> None:
        """Write a configuration: the mirror with these keys (TOML values), and whatever text follows."""
        table = {"path": f'"{self.directory}"', "remote": f'"{self.remote}"'} | keys
        lines = ["[[mirror]]", *(f"{key} = {value}" for key, value in table.items() if value)]
        write(self.config, ("\n".join(lines) + "\n" + text).encode())

    def everything(self) -> dict[str, tuple[int, int, bytes]]:
        """Every file and folder that must stay as it is: its mode, and of files the last change and the content."""
        found = {}
        for top in (self.directory, self.remote, self.config.parent, self.state):
            for path in [top, *top.rglob("*")] if top.exists() else []:
                status = path.lstat()
                file = path.is_file()
                found[str(path)] = (status.st_mode, status.st_mtime_ns * file, path.read_bytes() if file else b"")
        return found


@pytest.fixture
def scene(tmp_path: Path, private_environment: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    write(tmp_path / "model/config.json", b"{}\n")
    monkeypatch.chdir(tmp_path)
    return Scene(
        tmp_path / "model",
        make_bare(tmp_path / "remote.git"),
        Path(os.environ["XDG_CONFIG_HOME"]) / "lfssync/config.toml",
        Path(os.environ["XDG_STATE_HOME"]) / "lfssync",
    )


def refused(scene: Scene, capfd: pytest.CaptureFixture[str], *words: str | Path, code: int = 2) -> str:
    """Run a command that must fail with this exit code, in one line and without changing anything; gives the line."""
    before = scene.everything()
    capfd.readouterr()
    assert main([str(word) for word in words]) == code
    said = capfd.readouterr()
    assert ONE_LINE.fullmatch(said.err), said.err
    assert said.out == ""
    assert scene.everything() == before
    return said.err


CONFIGURATIONS = [
    ({"remot": '"x"'}, "", 4, ['"remot"', 'did you mean "remote"']),
    ({"quiet": "5"}, "", 4, ["quiet", "put it in quotes"]),
    ({"quiet": '"5 parsecs"'}, "", 4, ["'5 parsecs'", '"5s"']),
    ({"quiet": '"-5s"'}, "", 4, ["'-5s'"]),
    ({"max_wait": '"1s"'}, "", 4, ["quiet (5 s)", "max_wait (1 s)"]),
    ({"lfs_threshold": '"huge"'}, "", 4, ["'huge'", '"1MiB"']),
    ({"branch": '"a..b"'}, "", 4, ["'a..b'"]),
    ({"branch": '"-x"'}, "", 4, ["'-x'"]),
    ({"branch": '"x.lock"'}, "", 4, ["'x.lock'"]),
    ({"branch": '"HEAD"'}, "", 4, ["'HEAD'"]),
    ({"branch": '"a\\nb"'}, "", 4, ["a\\nb"]),
    ({"delete": '"yes"'}, "", 4, ["'yes'", "mirror", "keep"]),
    ({"incomplete": "true"}, "", 4, ["incomplete"]),
    ({"transfer": '"ftp"'}, "", 4, ["'ftp'", "git-lfs"]),
    ({"ignore": '"*.tmp"'}, "", 4, ["ignore", '["*.tmp"']),
    ({"into": '"../x"'}, "", 4, ["'../x'"]),
    ({"name": '"../x"'}, "", 4, ["'../x'"]),
    ({"name": "5"}, "", 4, ["name", "put it in quotes"]),
    ({"path": ""}, "", 1, ["path"]),
    ({"path": '"relative"'}, "", 2, ["'relative'"]),
    ({}, "[defaults]\nquite = '5s'\n", 5, ['"quite"', '"quiet"']),
    ({}, "[mirrors]\n", 4, ['"mirrors"', '"mirror"']),
    ({}, "key = \n", 4, ["TOML"]),
    ({"remote": '"ext::sh -c id"'}, "", 3, ["ext::sh -c id", "program"]),
    ({"remote": '"-oProxyCommand=id"'}, "", 3, ["-oProxyCommand=id", "option"]),
    ({"remote": '"--upload-pack=id"'}, "", 3, ["--upload-pack=id", "option"]),
    ({"remote": '"ssh://-oProxyCommand=id/x"'}, "", 3, ["ssh://-oProxyCommand=id/x"]),
    ({"remote": '"git@-oProxyCommand=id:x"'}, "", 3, ["git@-oProxyCommand=id:x"]),
    ({"remote": '"https://me:s3cret@host/x"'}, "", 3, ["password", "credential helper"]),
    ({"remote": '"http://example.org/x"'}, "", 3, ["http://example.org/x", "https://"]),
    ({"remote": '"ftp://example.org/x"'}, "", 3, ["'ftp'"]),
    ({"remote": '"nothing"'}, "", 3, ["'nothing'"]),
    ({"remote": '""'}, "", 3, ["remote is empty"]),
    ({"remote": '"hf:me"'}, "", 3, ["'hf:me'", "hf:owner/name"]),
    ({"remote": '"https://host/x\\ninjected"'}, "", 3, ["https://host/x"]),
]  # fmt: skip


@pytest.mark.parametrize("command", ["sync", "status"])
@pytest.mark.parametrize(("keys", "text", "line", "parts"), CONFIGURATIONS)
def test_a_bad_configuration(
    command: str,
    keys: dict[str, str],
    text: str,
    line: int,
    parts: list[str],
    scene: Scene,
    capfd: pytest.CaptureFixture[str],
) -> None:
    scene.configure(text, **keys)
    said = refused(scene, capfd, command)
    assert said.startswith(f"error: {scene.config}:{line}: ")
    assert [part for part in parts if part not in said] == []
    assert "s3cret" not in said


def test_two_mirrors_of_one_name(scene: Scene, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "other/model").mkdir(parents=True)
    scene.configure(f'[[mirror]]\npath = "{tmp_path}/other/model"\nremote = "{scene.remote}"\n')
    said = refused(scene, capfd, "sync")
    assert f"{scene.config}:4: " in said
    assert "'model'" in said


@pytest.mark.parametrize("inner", ["inner", "."])
def test_one_directory_inside_another(inner: str, scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    (scene.directory / "inner").mkdir()
    path = os.path.normpath(scene.directory / inner)
    scene.configure(f'[[mirror]]\nname = "second"\npath = "{path}"\nremote = "{scene.remote}"\n')
    said = refused(scene, capfd, "sync")
    assert f"{scene.config}:4: " in said
    assert "'second'" in said
    assert "'model'" in said


def test_a_configuration_that_is_no_text(scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    write(scene.config, b"[defaults]\nquiet = '\xff'\n")
    assert f"{scene.config}:2: " in refused(scene, capfd, "sync")
    scene.config.unlink()
    scene.config.mkdir()
    assert f"cannot read {scene.config}" in refused(scene, capfd, "sync")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["nowhere"], "/nowhere does not exist"),
        (["model/config.json"], "is not a directory"),
        (["model", "/nowhere.git"], "/nowhere.git is no git repository"),
        (["model", "model"], "/model"),
        (["model", "ext::sh -c id"], "ext::sh -c id"),
        (["model", "--", "-oProxyCommand=id"], "-oProxyCommand=id"),
        (["model", "remote.git", "--branch", "a..b"], "'a..b'"),
        (["model", "remote.git", "--name", "../x"], "'../x'"),
        (["model", "remote.git", "--quiet", "5 parsecs"], "'5 parsecs'"),
        (["model", "remote.git", "--quiet", "10m"], "quiet (600 s)"),
        (["model", "remote.git", "--into", "../x"], "'../x'"),
        (["model", "remote.git", "--bogus"], "--bogus"),
        (["."], "lfssync itself writes"),
        ([], "DIR"),
    ],
)
def test_add_refuses(words: list[str], part: str, scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    if words == ["."]:  # a folder with the remote in it would mirror its own mirror
        words = [".", "remote.git"]
        part = "remote.git"
    assert part in refused(scene, capfd, "add", *words)
    assert not scene.config.exists()


def test_add_refuses_what_is_mirrored_already(scene: Scene, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (scene.directory / "inner").mkdir()
    (tmp_path / "second").mkdir()
    assert main(["add", "model", "remote.git"]) == 0
    assert "'model'" in refused(scene, capfd, "add", "model", "remote.git")
    assert "is inside that of mirror 'model'" in refused(scene, capfd, "add", "model/inner", "remote.git")
    assert "'model'" in refused(scene, capfd, "add", "second", "remote.git", "--name", "model")


def test_add_to_a_host_that_does_not_answer(scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    assert "https://127.0.0.1:1/x" in refused(scene, capfd, "add", "model", "https://127.0.0.1:1/x", code=1)
    assert "ssh://127.0.0.1:1/x" in refused(scene, capfd, "add", "model", "ssh://127.0.0.1:1/x", code=1)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["sync", "modle"], "did you mean model"),
        (["sync", "--bogus"], "--bogus"),
        (["snyc"], "did you mean lfssync sync"),
        ([], "no command given"),
        (["tag", "v..1"], "'v..1'"),
        (["tag", "a b"], "'a b'"),
        (["tag", "v1", "--at", "nowhere"], "nowhere"),
        (["wait", "--timeout", "5 parsecs"], "'5 parsecs'"),
        (["log", "-n", "0"], "-n 0"),
        (["diff", "model", "nowhere"], "nowhere"),
        (["restore", "model", "model"], "is not an empty folder"),
        (["restore", "model", "back", "--revision", "nowhere"], "nowhere"),
        (["remove", "nobody"], "nobody"),
        (["push", "nowhere", "remote.git"], "/nowhere does not exist"),
        (["push", "model", "nowhere"], "nowhere"),
        (["push", "model", "ext::sh -c id"], "ext::sh -c id"),
        (["push", "model", "remote.git", "--branch", "a..b"], "'a..b'"),
        (["push", "model", "remote.git", "--tag", "a..b"], "'a..b'"),
        (["push", "empty", "fresh.git"], "holds no files"),
    ],
)
def test_commands_refuse(
    words: list[str], part: str, scene: Scene, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    make_bare(tmp_path / "fresh.git")
    scene.configure()
    assert main(["sync"]) == 0
    before = sorted(tmp_path.iterdir())
    said = refused_but_for_locks(scene, capfd, *words)
    assert part in said
    assert sorted(tmp_path.iterdir()) == before
    assert git("for-each-ref", cwd=tmp_path / "fresh.git") == b""


def refused_but_for_locks(scene: Scene, capfd: pytest.CaptureFixture[str], *words: str) -> str:
    """As `refused`, for commands that look into a mirror's own state: that may be opened, the rest may not move."""
    before = {path: seen for path, seen in scene.everything().items() if not path.startswith(str(scene.state))}
    capfd.readouterr()
    assert main(list(words)) == 2
    said = capfd.readouterr()
    assert ONE_LINE.fullmatch(said.err), said.err
    assert said.out == ""
    assert {path: seen for path, seen in scene.everything().items() if not path.startswith(str(scene.state))} == before
    return said.err


def test_a_directory_that_is_gone(scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    scene.configure()
    assert main(["sync"]) == 0
    away = scene.directory.rename(scene.directory.with_name("away"))
    before = git("for-each-ref", cwd=scene.remote)
    capfd.readouterr()
    assert main(["sync"]) == 4
    said = capfd.readouterr()
    assert ONE_LINE.fullmatch(said.err), said.err
    assert f"model: {scene.directory} is gone" in said.err
    assert git("for-each-ref", cwd=scene.remote) == before
    away.rename(scene.directory)
    assert main(["sync"]) == 0


def test_a_remote_that_is_no_repository(scene: Scene, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write(tmp_path / "folder/file", b"somebody's\n")
    scene.configure(remote=f'"{tmp_path}/folder"')
    capfd.readouterr()
    assert main(["sync"]) == 4
    said = capfd.readouterr()
    assert ONE_LINE.fullmatch(said.err), said.err
    assert f"{tmp_path}/folder is no git repository" in said.err
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["file"]


def run_apart(*words: str, privileged: bool = True, path: str | None = None) -> tuple[int, str]:
    """A command in a process of its own, if so wanted without root's right to everything; exit code and complaints."""
    command = [sys.executable, "-m", "lfssync", *words]
    if not privileged and os.geteuid() == 0:
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--", *command]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | ({"PATH": path} if path is not None else {})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.fixture
def locked() -> Iterator[list[Path]]:
    """Paths that a test takes permissions from; they get them back, so that they can be removed."""
    paths: list[Path] = []
    yield paths
    for path in paths:
        path.chmod(0o755)


@pytest.mark.parametrize(
    ("which", "mode", "words", "code", "part"),
    [
        ("directory", 0o000, ["add", "{directory}", "{remote}"], 2, "{directory} cannot be read"),
        ("directory", 0o000, ["push", "{directory}", "{remote}"], 2, "{directory} cannot be read"),
        ("directory", 0o000, ["sync"], 1, "{directory} cannot be read"),
        ("remote", 0o000, ["add", "{directory}", "{remote}"], 2, "{remote} may not be read"),
        ("remote", 0o000, ["sync"], 4, "{remote} may not be read"),
        ("objects", 0o555, ["sync"], 1, "{remote}"),
        ("state", 0o555, ["sync"], 2, "{state}"),
        ("state", 0o000, ["sync"], 2, "{state}"),
        ("config", 0o000, ["sync"], 2, "cannot read {config}"),
        ("config", 0o444, ["remove", "model"], 2, "cannot write {config}"),
    ],
)
def test_what_may_not_be_read_or_written(
    which: str, mode: int, words: list[str], code: int, part: str, scene: Scene, locked: list[Path]
) -> None:
    if words[0] != "add":
        scene.configure()
    names = {"directory": scene.directory, "remote": scene.remote, "state": scene.state, "config": scene.config}
    names["objects"] = scene.remote / "objects"
    scene.state.mkdir(parents=True)
    locked += [names[which], scene.config.parent] if which == "config" else [names[which]]
    before = scene.everything()
    for path in locked:
        path.chmod(mode if path == names[which] else 0o555)
    answer, said = run_apart(*(word.format(**names) for word in words), privileged=False)
    for path in locked:
        path.chmod(before[str(path)][0] & 0o777)
    assert answer == code, said
    assert ONE_LINE.fullmatch(said), said
    assert part.format(**names) in said
    kept = scene.everything()
    if code != 2:  # the mirror's own state tells about the failure
        before, kept = ({p: v for p, v in one.items() if not p.startswith(str(scene.state))} for one in (before, kept))
    assert kept == before


PROGRAMS = {
    "git 1.9": ("git version 1.9.1", "git-lfs/3.3.0 (GitHub)", "git 1.9 is too old", "2.38"),
    "git-lfs 2.13": ("git version 2.45.0", "git-lfs/2.13.3 (GitHub)", "git-lfs 2.13 is too old", "3.0"),
    "no git-lfs": ("git version 2.45.0", None, "git-lfs is not installed", "apt-get install git-lfs"),
    "git that says nothing": ("", "git-lfs/3.3.0 (GitHub)", "git is not installed", "apt-get install git"),
    "no git": (None, None, "git is not installed", "apt-get install git"),
}


@pytest.mark.parametrize("words", [["add", "{directory}"], ["sync"], ["push", "{directory}", "{remote}"]])
@pytest.mark.parametrize("case", PROGRAMS)
def test_programs_that_are_missing_or_too_old(case: str, words: list[str], scene: Scene, tmp_path: Path) -> None:
    git_version, lfs_version, what, remedy = PROGRAMS[case]
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    if git_version is not None:
        lfs = f"echo '{lfs_version}'" if lfs_version else "echo \"git: 'lfs' is not a git command.\" >&2; exit 1"
        script = f'#!/bin/sh\nif [ "$1" = lfs ]; then {lfs}; else echo "{git_version}"; fi\n'
        write(bin_dir / "git", script.encode()).chmod(0o755)
    if words[0] != "add":
        scene.configure()
    before = scene.everything()
    answer, said = run_apart(
        *(word.format(directory=scene.directory, remote=scene.remote) for word in words), path=str(bin_dir)
    )
    assert answer == 2
    assert ONE_LINE.fullmatch(said), said
    assert what in said
    assert remedy in said
    after = {p: v for p, v in scene.everything().items() if not p.startswith(str(scene.state))}
    assert after == {p: v for p, v in before.items() if not p.startswith(str(scene.state))}
