"""Nothing of a secret leaves this process, and nothing foreign runs or leads elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from lfssync.commandline.cli import main
from tests.contract.lfsserver import serving
from tests.helpers import assert_whole, clone, git, make_bare, random_bytes, tree, write

ROOT = Path(__file__).parents[2]
CANARY = "canary-7f3a9c51"
TOKENS = (
    "LFSSYNC_TOKEN", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN", "GITHUB_TOKEN", "GH_TOKEN",
    "GITLAB_TOKEN",
    "GIT_PASSWORD", "AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY", "OPENAI_API_KEY", "SSH_PASSPHRASE",
)  # fmt: skip
HOOKS = (
    "applypatch-msg", "commit-msg", "fsmonitor-watchman", "post-checkout", "post-commit", "post-index-change",
    "post-merge", "post-rewrite", "pre-auto-gc", "pre-commit", "pre-merge-commit", "pre-push", "pre-rebase",
    "prepare-commit-msg", "push-to-checkout", "reference-transaction",
)  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """A mirrored directory with a plain file and one for LFS."""

    base: Path
    directory: Path
    remote: Path
    state: Path

    def configure(self, **keys: str) -> None:
        table = {"path": str(self.directory), "remote": str(self.remote), "quiet": "50ms"} | keys
        lines = ["[[mirror]]", *(f'{key} = "{value}"' for key, value in table.items())]
        write(Path(os.environ["XDG_CONFIG_HOME"]) / "lfssync/config.toml", "\n".join(lines).encode())

    def change(self, seed: int) -> None:
        write(self.directory / "model.bin", random_bytes(seed, 2_000_000))
        write(self.directory / "notes.txt", b"%d\n" % seed)

    def assert_mirrored(self) -> None:
        there = tree(clone(self.remote, self.base / f"clone-{len(list(self.base.glob('clone-*')))}", "main"))
        here = tree(self.directory)
        there.pop(b".gitattributes")
        here.pop(b".gitattributes", None)
        assert there == here
        assert_whole(self.remote)

    def trap(self, name: str) -> Path:
        """A program that leaves its name, and the repository it ran for, where `sprung` finds them."""
        script = f'#!/bin/sh\necho "{name} ${{GIT_DIR:-$PWD}}" >> {self.base}/sprung\n'
        program = write(self.base / "traps" / name, script.encode())
        program.chmod(0o755)
        return program

    def sprung(self) -> str:
        """Which traps ran, besides those that the remote's own side of a push ran."""
        file = self.base / "sprung"
        lines = file.read_text().splitlines() if file.exists() else []
        return "\n".join(line for line in lines if not line.endswith(f" {self.remote}") and not line.endswith(" ."))


@pytest.fixture
def scene(tmp_path: Path, private_environment: Path) -> Scene:
    made = Scene(
        tmp_path, tmp_path / "model", make_bare(tmp_path / "remote.git"), Path(os.environ["XDG_STATE_HOME"]) / "lfssync"
    )
    made.configure()
    made.change(1)
    return made


def run_all_commands(scene: Scene) -> None:
    """Everything that starts git, in this process."""
    for words in (
        ["sync"],
        ["tag", "v1"],
        ["log"],
        ["diff", "model", "v1"],
        ["restore", "model", str(scene.base / "restored")],
        ["wait"],
        ["push", str(scene.directory), str(scene.remote), "--branch", "other"],
    ):
        assert main(words) == 0, words
    assert tree(scene.base / "restored").keys() >= tree(scene.directory).keys()


@pytest.mark.parametrize("transfer", ["auto", "git-lfs"])
def test_no_token_reaches_a_child_or_the_disk(transfer: str, scene: Scene) -> None:
    scene.configure(transfer=transfer)
    environment = os.environ | dict.fromkeys(TOKENS, CANARY) | {"PYTHONPATH": str(ROOT)}
    said = ""
    for words in (["sync"], ["tag", "v1"], ["restore", "model", str(scene.base / "back")], ["log"], ["status"]):
        traced = scene.base / "strace"
        strace = ["strace", "-f", "-qq", "-v", "-s", "100000", "-e", "trace=execve", "-o", str(traced)]
        done = subprocess.run(
            [*strace, sys.executable, "-m", "lfssync", *words],
            env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        ourselves, *children = traced.read_text().splitlines()
        assert CANARY in ourselves, "the trace shows no environments"
        assert [line[:200] for line in children if CANARY in line] == []
        said += done.stdout + done.stderr
        if words[0] in ("sync", "tag", "restore"):
            assert any("ls-remote" in line or "fetch" in line for line in children)
    assert CANARY not in said
    folders = [
        scene.state,
        scene.remote,
        scene.base / "back",
        *map(Path, (os.environ["HOME"], os.environ["XDG_CONFIG_HOME"])),
    ]
    for folder in folders:
        for file in folder.rglob("*"):
            assert not file.is_file() or CANARY.encode() not in file.read_bytes(), file


def test_the_callers_git_variables_lead_nowhere(scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As set in a hook, in a `git rebase --exec`, or by a shell that somebody forgot."""
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    git("init", "--quiet", cwd=foreign)
    write(foreign / "file", b"foreign\n")
    git("add", "file", cwd=foreign)
    git("commit", "--quiet", "-m", "foreign", cwd=foreign)
    before = {path: path.read_bytes() for path in foreign.rglob("*") if path.is_file()}
    variables = {
        "GIT_DIR": foreign / ".git",
        "GIT_WORK_TREE": foreign,
        "GIT_INDEX_FILE": foreign / ".git/index",
        "GIT_OBJECT_DIRECTORY": foreign / ".git/objects",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": foreign / ".git/objects",
        "GIT_COMMON_DIR": foreign / ".git",
        "GIT_NAMESPACE": "elsewhere",
        "GIT_CEILING_DIRECTORIES": "/",
        "GIT_CONFIG": foreign / ".git/config",
        "GIT_CONFIG_PARAMETERS": f"'core.hooksPath={tmp_path}/traps' 'core.bare=false'",
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "url.ext::sh -c id .insteadOf",
        "GIT_CONFIG_VALUE_0": str(scene.remote),
        "GIT_CONFIG_KEY_1": "lfs.url",
        "GIT_CONFIG_VALUE_1": "http://127.0.0.1:1/",
        "GIT_TEMPLATE_DIR": scene.trap("pre-push").parent,
        "GIT_EXTERNAL_DIFF": scene.trap("diff"),
        "GIT_TRACE": tmp_path / "trace",
        "GIT_TRACE_CURL": tmp_path / "trace",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_QUARANTINE_PATH": tmp_path,
        "GIT_DEFAULT_HASH": "sha256",
        "GIT_REPLACE_REF_BASE": "refs/heads/",
        "GIT_ATTR_SOURCE": "HEAD",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    run_all_commands(scene)
    for name in variables:
        monkeypatch.delenv(name)
    scene.assert_mirrored()
    assert {path: path.read_bytes() for path in foreign.rglob("*") if path.is_file()} == before
    assert not (tmp_path / "trace").exists()
    assert scene.sprung() == ""


def test_a_directory_dressed_up_as_a_git_dir(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git looks for a repository where it stands; whoever writes the directory would choose what git runs."""
    directory = scene.directory
    shutil.copytree(make_bare(scene.base / "dress"), directory, dirs_exist_ok=True)
    for hook in HOOKS:
        shutil.copy(scene.trap(hook), directory / "hooks" / hook)
    settings = f"[core]\n\tbare = true\n\tfsmonitor = {scene.trap('fsmonitor')}\n\thooksPath = {scene.base}/traps\n"
    settings += (
        f"\tsshCommand = {scene.trap('ssh')}\n\tpager = {scene.trap('pager')}\n[alias]\n\tlfs = !{scene.trap('lfs')}\n"
    )
    write(directory / "config", settings.encode())
    write(directory / ".gitattributes", b"* filter=evil diff=evil merge=evil\n")
    write(directory / ".gitmodules", f'[submodule "x"]\n\tpath = x\n\turl = ext::{scene.trap("module")}\n'.encode())
    monkeypatch.chdir(directory)
    run_all_commands(scene)
    assert scene.sprung() == ""
    scene.assert_mirrored()


def test_hooks_in_the_mirrors_own_git_dir_and_in_the_users_settings(scene: Scene) -> None:
    """A template with hooks, `git lfs install`, or a company's core.hooksPath: none of them is made for us."""
    assert main(["sync"]) == 0
    repository = scene.state / "mirrors/model/repo.git"
    (repository / "hooks").mkdir(exist_ok=True)
    for hook in HOOKS:
        shutil.copy(scene.trap(hook), repository / "hooks" / hook)
    with open(os.environ["GIT_CONFIG_GLOBAL"], "a") as file:
        file.write(f"[core]\n\thooksPath = {scene.base}/traps\n\tfsmonitor = {scene.trap('fsmonitor')}\n")
        file.write(f"[init]\n\ttemplateDir = {scene.base}/traps\n[commit]\n\tgpgSign = true\n[tag]\n\tgpgSign = true\n")
        file.write(f"[push]\n\tgpgSign = if-asked\n[gpg]\n\tprogram = {scene.trap('gpg')}\n")
    scene.change(2)
    run_all_commands(scene)
    assert scene.sprung() == ""
    os.environ["GIT_CONFIG_GLOBAL"] = os.devnull
    assert_whole(scene.remote)


def test_the_users_own_shortcut_for_a_host_works(scene: Scene) -> None:
    with open(os.environ["GIT_CONFIG_GLOBAL"], "a") as file:
        file.write(f'[url "{scene.remote}"]\n\tinsteadOf = https://host.invalid/me/model\n')
    scene.configure(remote="https://host.invalid/me/model")
    assert main(["sync"]) == 0
    scene.assert_mirrored()
    scene.change(2)
    assert main(["sync"]) == 0
    scene.assert_mirrored()
    assert main(["restore", "model", str(scene.base / "back")]) == 0


def test_a_shortcut_never_becomes_a_program(scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    with open(os.environ["GIT_CONFIG_GLOBAL"], "a") as file:
        file.write(f'[url "ext::{scene.trap("transport")} "]\n\tinsteadOf = https://host.invalid/\n')
        file.write("[protocol]\n\tallow = always\n")
    scene.configure(remote="https://host.invalid/me/model")
    assert main(["sync"]) != 0
    assert "transport 'ext' not allowed" in capfd.readouterr().err
    assert scene.sprung() == ""


@pytest.mark.parametrize("transfer", ["auto", "git-lfs"])
def test_an_lfsconfig_leads_nowhere(transfer: str, scene: Scene) -> None:
    """In the directory, and on the branch where others put it."""
    scene.configure(transfer=transfer)
    with serving(scene.base / "foreign") as foreign:
        lines = [f"\t{key} = {foreign.address}/lfs" for key in ("url", "pushurl")]
        text = "\n".join(
            ["[lfs]", *lines, "\tallowincompletepush = true", '[remote "origin"]', f"\tlfsurl = {foreign.address}"]
        )
        write(scene.directory / ".lfsconfig", text.encode())
        assert main(["sync"]) == 0
        scene.change(2)
        run_all_commands(scene)
        assert foreign.requests == []
    (scene.directory / ".lfsconfig").unlink()
    assert main(["sync"]) == 0
    scene.assert_mirrored()
