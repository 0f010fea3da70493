"""The commands as people and scripts meet them: real processes, pipes and terminals, on a real mirror."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import lfssync
from lfssync.commandline.progress import STOP_WITHIN_S, Bars
from lfssync.model import Plan, Progress, State
from tests.helpers import assert_whole, clone, make_bare, random_bytes, tree, write
from tests.modelfiles import safetensors_file
from tests.terminals import running, terminal

PROGRAM = [sys.executable, "-m", "lfssync"]
# Output is buffered as it is for users, so that what is left in a buffer at the end can go wrong, too.
ENVIRONMENT = {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONUNBUFFERED": ""}
TIMEOUT_S = 120


def run(*words: str | Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """One command, its output as text."""
    return subprocess.run(
        [*PROGRAM, *words],
        cwd=folder,
        env=os.environ | ENVIRONMENT | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def start(words: Sequence[str], folder: Path) -> subprocess.Popen[str]:
    """One command that runs on; its output is read through pipes."""
    return subprocess.Popen(
        [*PROGRAM, *words],
        cwd=folder,
        env=os.environ | ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(done: subprocess.CompletedProcess[str], code: int = 0) -> str:
    """The standard output of a command that ended with this exit code and without complaints."""
    assert (done.returncode, done.stderr) == (code, ""), done.stdout
    return done.stdout


def complaint(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The one line on standard error of a command that failed with this exit code."""
    assert done.returncode == code, (done.stdout, done.stderr)
    assert re.fullmatch(r"error: [^\n]+; [^\n]+\n", done.stderr), done.stderr
    return done.stderr


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """A configured directory with two files and a remote, nothing delivered yet."""
    write(tmp_path / "my-model" / "model.bin", random_bytes(1, 3_000_000))
    write(tmp_path / "my-model" / "notes.txt", b"first\n")
    make_bare(tmp_path / "remote.git")
    said(run("add", "my-model", tmp_path / "remote.git", folder=tmp_path))
    return tmp_path / "my-model"


def test_the_life_of_a_mirror_in_the_words_of_the_commands(mirror: Path, tmp_path: Path) -> None:
    assert said(run("list", folder=tmp_path)) == f"my-model  {mirror}  {tmp_path}/remote.git  main\n"
    status = said(run("status", folder=tmp_path))
    assert "• my-model  new, never verified on the remote\n" in status
    first = said(run("sync", folder=tmp_path))
    assert re.fullmatch(r"my-model: 2 files added \(3\.0 MB\), verified at [0-9a-f]{7} in [0-9.]+ s\n", first)
    again = said(run("sync", "my-model", folder=tmp_path))
    assert re.fullmatch(r"my-model: nothing to do, verified at [0-9a-f]{7}\n", again)
    commit = again.split()[-1]
    assert re.search(rf"✓ my-model  idle, verified at {commit} \d+ s ago\n", said(run("status", folder=tmp_path)))

    tagged = said(run("tag", "v1.0.0", "-m", "First release", "my-model", folder=tmp_path))
    assert tagged == f"my-model: v1.0.0 → {commit}, verified\n"
    assert "    tags     v1.0.0\n" in said(run("status", "my-model", folder=tmp_path))

    write(mirror / "notes.txt", b"second time\n")
    waited = said(run("wait", "--timeout", "60s", folder=tmp_path))
    assert re.fullmatch(r"my-model: 1 file changed \(12 B\), verified at [0-9a-f]{7} in [0-9.]+ s\n", waited)
    log = said(run("log", folder=tmp_path)).splitlines()
    assert [row.split()[3] for row in log] == ["commit", "release", "commit"]
    assert "v1.0.0" in log[1]
    assert commit in log[2]
    assert len(said(run("log", "-n", "1", folder=tmp_path)).splitlines()) == 1

    difference = said(run("diff", "my-model", "v1.0.0", folder=tmp_path))
    assert re.fullmatch(r"M  notes\.txt  6 B → 12 B  git [0-9a-f]{7} → git [0-9a-f]{7}\n", difference)

    restored = said(run("restore", "my-model", "old", "--revision", "v1.0.0", folder=tmp_path))
    assert re.fullmatch(
        rf"my-model: \d files \(3\.0 MB\) of {commit} written to old, every LFS file checked\n", restored
    )
    assert (tmp_path / "old" / "notes.txt").read_bytes() == b"first\n"

    removed = said(run("remove", "my-model", folder=tmp_path))
    assert removed.startswith("my-model: no longer mirrored; ")
    assert said(run("list", folder=tmp_path)) == "no mirrors configured; start with: lfssync add DIR\n"
    assert_whole(tmp_path / "remote.git")


def test_documents_for_scripts(mirror: Path, tmp_path: Path) -> None:
    def document(*words: str) -> Any:
        return json.loads(said(run(*words, "--json", folder=tmp_path)))

    synced = document("sync")
    (one,) = synced["mirrors"]
    assert (one["name"], one["files"]) == ("my-model", {"added": 2, "changed": 0, "removed": 0})
    status = document("status", "my-model")
    assert status.keys() == {"version", "daemon", "mirrors"}
    (mirror_status,) = status["mirrors"]
    assert list(mirror_status) == [
        *("name", "path", "remote", "branch", "state", "pending", "deferred", "head", "pushed", "verified_at"),
        *("error", "tags", "scrubbed_at", "progress", "waits", "looked", "paused"),
    ]
    assert (mirror_status["state"], mirror_status["pushed"], mirror_status["error"]) == ("idle", one["commit"], None)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", mirror_status["verified_at"])
    assert document("list")["mirrors"][0]["remote"] == f"{tmp_path}/remote.git"
    assert document("log")["entries"][0]["commit"] == one["commit"]


def test_versions_in_the_words_of_the_commands(mirror: Path, tmp_path: Path) -> None:
    write(mirror / "model.safetensors", safetensors_file(1, 2, 8))
    assert said(run("tags", folder=tmp_path)) == "no releases yet; make one with: lfssync tag v1.0.0\n"
    first = said(run("tag", "--next", "minor", "my-model", "-m", "First\nof all", folder=tmp_path))
    assert re.fullmatch(r"my-model: v0\.1\.0 → [0-9a-f]{7}, verified\n", first)
    write(mirror / "model.safetensors", safetensors_file(1, 3, 8))
    assert "v0.1.1 → " in said(run("tag", "--next", "patch", folder=tmp_path))
    shown = said(run("tags", folder=tmp_path)).splitlines()
    assert re.fullmatch(r"v0\.1\.1  [0-9a-f]{7}  \S+ \S+  3\.0 MB", shown[0])
    assert re.fullmatch(r"v0\.1\.0  [0-9a-f]{7}  \S+ \S+  3\.0 MB +First", shown[1])
    assert said(run("tags", "-n", "1", folder=tmp_path)).endswith("… and 1 more; -n shows more of them\n")
    document = json.loads(said(run("tags", "--json", folder=tmp_path)))
    assert [one["tag"] for one in document["tags"]] == ["v0.1.1", "v0.1.0"]
    assert document["tags"][1]["message"].startswith("First\nof all\n\n4 files, 3.0 MB, 2 in LFS\n\n")

    revision = said(run("show", "my-model", "v0.1.0", folder=tmp_path))
    assert f"commit    {document['tags'][1]['commit']}\ntags      v0.1.0\n" in revision
    assert re.search(r"^notes\.txt +6 B +git [0-9a-f]{7}$", revision, re.MULTILINE)
    document = json.loads(said(run("show", "my-model", "v0.1.0", "--json", folder=tmp_path)))
    assert [one["path"] for one in document["files"]] == [
        ".gitattributes",
        "model.bin",
        "model.safetensors",
        "notes.txt",
    ]
    assert document["bytes"] == sum(one["bytes"] for one in document["files"])

    difference = said(run("diff", "my-model", "v0.1.0", "v0.1.1", folder=tmp_path))
    assert re.fullmatch(
        r"M  model\.safetensors  .* → .*  lfs \w{10} → lfs \w{10}\n     \+ \S+  F32 \[8\]\n", difference
    )
    [document] = json.loads(said(run("diff", "my-model", "v0.1.0", "v0.1.1", "--json", folder=tmp_path)))["differences"]
    assert (document["path"], document["old"]["mode"]) == ("model.safetensors", "100644")
    assert [(one["old"], one["new"]) for one in document["tensors"]] == [(None, {"dtype": "F32", "shape": [8]})]
    assert "is no revision" in complaint(run("show", "my-model", "a b", folder=tmp_path), 2)


def test_old_checkpoints_are_retired_in_the_words_of_the_commands(mirror: Path, tmp_path: Path) -> None:
    file = Path(os.environ["XDG_CONFIG_HOME"]) / "lfssync" / "config.toml"
    assert "does not say which checkpoints stay" in complaint(run("retire", "my-model", folder=tmp_path), 2)
    file.write_text(file.read_text() + 'delete = "keep"\nkeep = {last = 1}\n')
    for step in (100, 200):
        write(mirror / f"checkpoint-{step}" / "w", b"12345")
    said(run("sync", folder=tmp_path))
    assert "no checkpoint has to leave the tip" in said(run("retire", "my-model", folder=tmp_path))
    file.write_text(file.read_text().replace("keep = {", "# keep = {"))
    for step in (100, 200):
        (mirror / f"checkpoint-{step}" / "w").unlink()
    said(run("sync", folder=tmp_path))
    file.write_text(file.read_text().replace("# keep = {", "keep = {"))
    table = "  stays   checkpoint-200  1 file  5 B  one of the newest\n  leaves  checkpoint-100  1 file  5 B\n"
    planned = said(run("retire", "my-model", "--dry-run", folder=tmp_path))
    assert planned.startswith(f"my-model: 1 checkpoint (5 B) would be retired\n{table}They stay in the history: ")
    done = said(run("retire", "my-model", folder=tmp_path))
    assert re.match(rf"my-model: 1 checkpoint \(5 B\) retired by [0-9a-f]{{7}}, verified\n{re.escape(table)}", done)
    assert "quota" in done
    document = json.loads(said(run("retire", "my-model", "--json", folder=tmp_path)))
    assert (document["commit"], document["bytes"], len(document["checkpoints"])) == (None, 0, 1)
    assert not [name for name in tree(clone(tmp_path / "remote.git", tmp_path / "tip")) if b"-100" in name]


def test_a_name_is_only_needed_where_there_is_a_choice_and_a_wrong_one_is_put_right(
    mirror: Path, tmp_path: Path
) -> None:
    assert complaint(run("status", "my-modle", folder=tmp_path), 2) == (
        "error: no mirror is called my-modle; did you mean my-model?\n"
    )
    (tmp_path / "other").mkdir()
    said(run("add", "other", folder=tmp_path))
    for words in (["log"], ["tag", "v1"]):
        assert complaint(run(*words, folder=tmp_path), 2) == (
            "error: there is more than one mirror; name one of: my-model, other\n"
        )
    said(run("wait", folder=tmp_path))  # may I shut down? is a question about all of them
    assert "name one of: my-model, other" in complaint(run("diff", "qqq", folder=tmp_path), 2)


def test_a_name_may_be_left_out_before_other_words_where_there_is_one_mirror(mirror: Path, tmp_path: Path) -> None:
    said(run("tag", "v1", folder=tmp_path))
    assert "tags      v1\n" in said(run("show", "v1", folder=tmp_path))
    assert "tags      v1\n" in said(run("show", "my-model", "v1", folder=tmp_path))
    assert "A  notes.txt" in said(run("diff", folder=tmp_path))
    assert said(run("restore", "a", "--revision", "v1", folder=tmp_path)).startswith("my-model: 3 files")
    assert said(run("restore", "--revision", "v1", "my-model", "b", folder=tmp_path)).startswith("my-model: 3 files")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert "does not say which checkpoints stay" in complaint(run("retire", folder=tmp_path), 2)
    for words, needed in ((["restore", "my-model"], "DEST"), (["show", "my-model"], "REV")):
        assert complaint(run(*words, folder=tmp_path), 2) == (
            f"error: my-model is a mirror, and no {needed} is given; name both: my-model {needed}\n"
        )
    assert "no mirror is called v1; " in complaint(run("diff", "v1", folder=tmp_path), 2)


def test_a_name_may_be_left_out_in_a_mirrors_directory(mirror: Path, tmp_path: Path) -> None:
    below, link, inner = tmp_path / "other" / "sub", tmp_path / "link", mirror / "inner"
    below.mkdir(parents=True)
    inner.mkdir()
    link.symlink_to(mirror)
    said(run("add", "other", folder=tmp_path))
    said(run("sync", "my-model", folder=tmp_path))
    for folder in (mirror, link, inner):
        assert said(run("restore", tmp_path / f"from-{folder.name}", folder=folder)).startswith("my-model: 3 files")
    assert "/other.git" in complaint(run("show", "v1", folder=below), 4)  # which is made by its first sync
    choice = "error: there is more than one mirror; name one of: my-model, other\n"
    for words in (["show", "v1"], ["diff"], ["restore", "dest"], ["retire"], ["log"]):
        assert complaint(run(*words, folder=tmp_path), 2) == choice
    said(run("add", mirror, "--name", "again", folder=tmp_path))
    assert complaint(run("diff", folder=mirror), 2) == (
        "error: there is more than one mirror of this folder; name one of: my-model, again\n"
    )


def test_sync_goes_on_after_a_mirror_that_fails_and_tells_the_worst(mirror: Path, tmp_path: Path) -> None:
    write(tmp_path / "other" / "file", b"x")
    said(run("add", "other", folder=tmp_path))
    (tmp_path / "remote.git").rename(tmp_path / "moved.git")
    done = run("sync", folder=tmp_path)
    assert re.fullmatch(r"error: my-model: [^\n]+; [^\n]+\n", done.stderr)
    assert re.match(r"other: 1 file added \(1 B\), verified at ", done.stdout)
    assert done.returncode not in (0, 3)
    again = run("sync", "--json", folder=tmp_path)
    failed, good = json.loads(again.stdout)["mirrors"]
    assert (failed["name"], good["name"], good["error"]) == ("my-model", "other", None)
    assert failed["error"]["message"]
    assert again.returncode == done.returncode
    status = json.loads(run("status", "my-model", "--json", folder=tmp_path).stdout)["mirrors"][0]
    assert status["error"].keys() == {"kind", "message", "remedy", "since"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", status["error"]["since"])
    shown = said(run("status", "my-model", folder=tmp_path))
    assert f"    error    {status['error']['message']} (since " in shown
    assert f"    remedy   {status['error']['remedy']}\n" in shown


def test_files_that_are_still_written_are_named_and_make_exit_code_3(mirror: Path, tmp_path: Path) -> None:
    with open(mirror / "growing.bin", "wb") as growing:
        growing.write(b"x")
        growing.flush()
        done = run("sync", folder=tmp_path)
        assert "    waiting  growing.bin: open for writing\n" in done.stdout
        assert complaint(done, 3).startswith("error: my-model: 1 file not delivered yet; ")
        assert "growing.bin: open for writing" in said(run("status", folder=tmp_path))
        late = run("wait", "--timeout", "1s", folder=tmp_path)
        complaint(late, 3)
        assert late.stdout == ""
    said(run("sync", folder=tmp_path))


def test_hostile_names_reach_nobodys_terminal(mirror: Path, tmp_path: Path) -> None:
    said(run("sync", folder=tmp_path))
    (Path(os.fsdecode(os.fsencode(mirror) + b"/[red]\x1b[31m\xff\n.txt"))).write_bytes(b"evil")
    said(run("sync", folder=tmp_path))
    shown = said(run("diff", "my-model", folder=tmp_path)) + said(run("log", folder=tmp_path))
    assert "A  [red]\\x1b[31m\\xff\\n.txt  4 B" in shown
    assert all(row.isprintable() for row in shown.split("\n"))
    with running([*PROGRAM, "diff", "my-model"], tmp_path, ENVIRONMENT) as session:
        on_terminal = session.screen.rest()
    assert "[red]\\x1b[31m\\xff\\n.txt" in on_terminal
    assert "\x1b[31m" not in on_terminal


def test_a_reader_that_leaves_ends_nothing_but_the_words(mirror: Path, tmp_path: Path) -> None:
    process = start(["sync"], tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == ""
    assert process.wait(TIMEOUT_S) == 0
    assert json.loads(said(run("status", "--json", folder=tmp_path)))["mirrors"][0]["pushed"]


@pytest.mark.parametrize("words", [["--help"], ["list"], ["completion", "bash"], ["list", "--json"]])
def test_standard_output_that_cannot_be_written_is_an_error(words: list[str], mirror: Path, tmp_path: Path) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(
            [*PROGRAM, *words],
            cwd=tmp_path,
            env=os.environ | ENVIRONMENT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == (
        "error: cannot write to standard output: No space left on device; check where the output goes\n"
    )


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-"])
@pytest.mark.parametrize(("words", "code"), [(["list"], 0), (["sync", "nobody"], 2)])
def test_closed_streams_change_no_exit_code(
    redirection: str, words: list[str], code: int, mirror: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", *PROGRAM, *words],
        cwd=tmp_path,
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == code
    assert done.stderr == "" or code


def test_words_that_a_terminal_cannot_encode_are_shown_all_the_same(mirror: Path, tmp_path: Path) -> None:
    shown = said(run("status", folder=tmp_path, PYTHONIOENCODING="ascii"))
    assert "\\u2022 my-model" in shown


def test_verbose_tells_its_steps_on_standard_error_only(mirror: Path, tmp_path: Path) -> None:
    quiet, verbose = run("list", folder=tmp_path), run("-v", "list", folder=tmp_path)
    assert verbose.stdout == said(quiet)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_in_order(number: signal.Signals, mirror: Path, tmp_path: Path) -> None:
    with open(mirror / "growing.bin", "wb"):
        process = start(["wait", "--timeout", "5m"], tmp_path)
        deadline = time.monotonic() + TIMEOUT_S
        while not json.loads(said(run("status", "--json", folder=tmp_path)))["mirrors"][0]["deferred"]:
            assert time.monotonic() < deadline, "the command never got to work"
        process.send_signal(number)
        out, err = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, out) == (130, "")
    assert err == "error: interrupted; run it again to go on from there\n"


def test_a_terminal_gets_colours_and_a_pipe_gets_none(mirror: Path, tmp_path: Path) -> None:
    with running([*PROGRAM, "sync"], tmp_path, ENVIRONMENT) as session:
        shown = session.screen.rest()
        assert session.exit_code() == 0
    assert "\x1b[1mmy-model\x1b[0m: 2 files added (3.0 MB), verified at" in shown
    with running([*PROGRAM, "status"], tmp_path, ENVIRONMENT) as session:
        assert "\x1b[32m✓\x1b[0m" in session.screen.rest()
    with running([*PROGRAM, "status"], tmp_path, ENVIRONMENT | {"NO_COLOR": "1"}) as session:
        assert "\x1b[32m" not in session.screen.rest()
    assert "\x1b" not in said(run("status", folder=tmp_path, TERM="xterm"))


BIG = 200_000_000


def test_bars_show_the_phase_and_its_files_and_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    with terminal() as (screen, stream):
        with Bars("my-model", stream) as monitor:
            screen.shown_until("my-model: looking for changes")
            monitor(Plan(State.UPLOADING, 2, 2 * BIG))
            monitor(Progress(State.UPLOADING, b"done", BIG, BIG))
            monitor(Progress(State.UPLOADING, b"[red]\x1b[31m", BIG // 2, BIG))
            screen.shown_until("my-model: uploading 1 of 2")
            assert "300.0/400.0 MB" in screen.shown_until("  [red]\\x1b[31m")
            screen.shown_until("100.0/200.0 MB")
        stream.close()
        left = screen.rest()
    assert "\x1b[?25h" in left
    assert left.endswith("\x1b[2K")


def test_a_terminal_that_is_stopped_or_goes_away_does_not_hold_up_the_transfer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    with terminal() as (screen, stream):
        with Bars("my-model", stream) as monitor:
            screen.shown_until("my-model: looking for changes")
            termios.tcflow(stream.fileno(), termios.TCOOFF)  # Ctrl-S
            monitor(Plan(State.UPLOADING, 1, BIG))
            started = time.monotonic()
            for done_bytes in range(0, BIG, BIG // 10_000):
                monitor(Progress(State.UPLOADING, b"a", done_bytes, BIG))
        assert time.monotonic() - started < STOP_WITHIN_S + 5
        screen.close()


def test_the_python_interface_delivers_a_directory_once(tmp_path: Path) -> None:
    write(tmp_path / "model" / "weights.bin", random_bytes(2, 2_000_000))
    write(tmp_path / "model" / "card.md", b"# Card\n")
    remote = make_bare(tmp_path / "remote.git")
    result = lfssync.push(tmp_path / "model", str(remote), message="Weights", tag="v1.0.0")
    assert (result.files, result.size_bytes) == (2, 2_000_007)
    assert result.receipt.commit == result.commit
    assert result.release is not None
    assert result.release.version == "v1.0.0"
    assert_whole(remote)
    delivered = tree(clone(remote, tmp_path / "clone", "v1.0.0"))
    assert {path: delivered[path] for path in tree(tmp_path / "model")} == tree(tmp_path / "model")
    with pytest.raises(lfssync.UserError, match="does not exist"):
        lfssync.push(tmp_path / "nowhere", str(remote))


def test_push_says_what_it_delivered(tmp_path: Path) -> None:
    write(tmp_path / "model" / "card.md", b"# Card\n")
    remote = make_bare(tmp_path / "remote.git")
    done = said(run("push", "model", str(remote), "--branch", "dev", "--tag", "v1", folder=tmp_path))
    assert re.fullmatch(rf"1 file \(7 B\) → {remote}, branch dev, released as v1, verified at [0-9a-f]{{7}}\n", done)


def test_a_pattern_that_the_shell_has_filled_in_is_recognised(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path / "runs" / name / "model.bin", b"1")
    three = run("add", "runs/a", "runs/b", "runs/c", folder=tmp_path)
    assert complaint(three, 2) == (
        "error: add takes one directory; quote a pattern, so that the shell leaves it alone: lfssync add 'runs/*'\n"
    )
    two = complaint(run("add", "runs/a", tmp_path / "runs" / "b", folder=tmp_path), 2)
    assert "git init" not in two
    assert "name a repository's path" in two


def test_the_history_tells_of_trouble_and_of_its_end(mirror: Path, tmp_path: Path) -> None:
    said(run("sync", folder=tmp_path))
    mirror.rename(tmp_path / "aside")
    complaint(run("sync", folder=tmp_path), 4)
    (tmp_path / "aside").rename(mirror)
    said(run("sync", folder=tmp_path))
    said(run("sync", folder=tmp_path))
    entries = json.loads(said(run("log", "--json", folder=tmp_path)))["entries"]
    assert [one["kind"] for one in entries] == ["resumed", "refused", "commit"]
    assert entries[0]["text"] == f"after blocked: {entries[1]['text']}"
    rows = said(run("log", folder=tmp_path)).splitlines()
    assert "  resumed  after blocked: " in rows[0]


def test_a_command_that_has_ended_promises_no_other_try(tmp_path: Path) -> None:
    done = run("whoami", "127.0.0.1:9", folder=tmp_path, LFSSYNC_TOKEN="t")
    assert "it is tried again" not in complaint(done, 1)
    assert "try again later" in done.stderr
