"""Notifications that really arrive: at a webhook, in a program, on a desktop; and senders that hold nobody up."""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lfssync.configuration.telling import Occasion, Target
from lfssync.errors import BlockedError, TransientError, UserError
from lfssync.telling import senders
from lfssync.telling.letters import Letter, letter
from lfssync.telling.notices import Notice
from lfssync.telling.senders import Sender, send_to
from tests.helpers import write
from tests.integration.daemons import Daemon, Pair, lfssync, places, soon, write_configuration

SECRET = "s3cr3t-of-the-hook"
LETTER = letter(Notice(Occasion.FAILURE, "m", "it is gone", "put it back", "blocked", 1.0), "", "here", 2.0)


@dataclass
class Hook:
    """A server that takes what is posted; `answers` are the statuses, and where a redirect leads."""

    server: ThreadingHTTPServer
    got: queue.Queue[tuple[str, Any]] = field(default_factory=queue.Queue)
    answers: list[tuple[int, str]] = field(default_factory=list)
    stall: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/hooks/{SECRET}"

    def next(self) -> Any:
        """The next document."""
        path, document = self.got.get(timeout=60)
        assert path == f"/hooks/{SECRET}"
        return document


@pytest.fixture
def hook() -> Iterator[Hook]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            there.got.put((self.path, json.loads(content)))
            while there.stall.is_set():
                time.sleep(0.02)
            status, location = there.answers.pop(0) if there.answers else (204, "")
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    there = Hook(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
    there.server.block_on_close = True
    thread = threading.Thread(target=there.server.serve_forever, args=(0.05,))
    thread.start()
    yield there
    there.stall.clear()
    there.server.shutdown()
    thread.join()
    there.server.server_close()


def script(path: Path, text: str) -> Path:
    """A program."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def send(target: Target, environment: dict[str, str] | None = None) -> None:
    send_to(target, environment or dict(os.environ))(LETTER, threading.Event())


def test_a_daemon_notifies_of_a_failure_its_end_and_a_release(hook: Hook, tmp_path: Path) -> None:
    pair = Pair.make(tmp_path)
    write(pair.directory / "a", b"1")
    told = tmp_path / "told"
    tell = script(tmp_path / "tell", f"cat >> {told}; env > {tmp_path}/env")
    places().config_file.parent.mkdir(parents=True)
    (places().config_file.parent / "hook").write_text(f"{hook.url}\n")
    write_configuration(f"""
        [[notify]]
        webhook_file = "{places().config_file.parent}/hook"
        [[notify]]
        command = ["{tell}"]
        on = ["release"]
        [[mirror]]
        path = "{pair.directory}"
        remote = "{pair.remote}"
        quiet = "200ms"
    """)
    with Daemon(tmp_path / "log", environment={"LFSSYNC_TOKEN": "t0ken"}).start() as daemon:
        pair.arrives()
        pair.directory.rename(tmp_path / "aside")
        failure = hook.next()
        assert (failure["event"], failure["mirror"], failure["kind"]) == ("failure", "model", "blocked")
        assert "is gone" in failure["text"]
        (tmp_path / "aside").rename(pair.directory)
        recovery = hook.next()
        assert (recovery["event"], recovery["kind"]) == ("recovery", "blocked")
        assert lfssync("tag", "v1.0.0").returncode == 0
        release = hook.next()
        assert (release["event"], release["version"], release["remote"]) == ("release", "v1.0.0", str(pair.remote))
        soon(lambda: (tmp_path / "env").exists() and (tmp_path / "env").read_text(), daemon.said)
        assert [json.loads(line)["event"] for line in told.read_text().splitlines()] == ["release"]
        assert "t0ken" not in (tmp_path / "env").read_text()
    assert hook.got.empty()
    log = (tmp_path / "log").read_text()
    assert SECRET not in log
    with Daemon(tmp_path / "log").start():  # what was told is not told again
        pair.arrives()
    assert hook.got.empty()


def test_a_hook_that_hangs_delays_neither_passes_nor_the_end(hook: Hook, tmp_path: Path) -> None:
    pair = Pair.make(tmp_path)
    write(pair.directory / "a", b"1")
    hook.stall.set()
    write_configuration(f"""
        [[notify]]
        webhook = "{hook.url}"
        [[mirror]]
        path = "{pair.directory}"
        remote = "{pair.remote}"
        quiet = "200ms"
    """)
    with Daemon(tmp_path / "log").start() as daemon:
        pair.arrives()
        assert lfssync("tag", "v1").returncode == 0
        hook.next()
        write(pair.directory / "b", b"2")
        pair.arrives()
        daemon.stop(30)
    assert SECRET not in (tmp_path / "log").read_text()


def test_trying_it_out_says_what_came_of_each(hook: Hook, tmp_path: Path) -> None:
    tell = script(tmp_path / "tell", f"cat > {tmp_path}/told")
    write_configuration(f"""
        [[notify]]
        webhook = "{hook.url}"
        [[notify]]
        command = ["{tell}"]
        [[notify]]
        command = ["{tmp_path}/nowhere"]
    """)
    done = lfssync("notify")
    address = f"127.0.0.1:{hook.server.server_address[1]}"
    assert done.stdout == f"✓ webhook at {address}: notified\n✓ command {tell}: notified\n"
    assert done.stderr == (
        f"error: command {tmp_path}/nowhere: {tmp_path}/nowhere: No such file or directory; "
        "check the path and its permissions\n"
    )
    assert done.returncode == 2
    assert "nothing is wrong" in hook.next()["text"]
    assert "nothing is wrong" in json.loads((tmp_path / "told").read_text())["text"]
    write_configuration("")
    nobody = lfssync("notify")
    assert (nobody.returncode, nobody.stderr.count("\n")) == (2, 1)
    assert "no [[notify]] in" in nobody.stderr


def test_doctor_finds_what_would_not_arrive(tmp_path: Path) -> None:
    pair = Pair.make(tmp_path)
    (tmp_path / "plain").write_text("no program")
    (tmp_path / "hook").write_text("not an address s3cr3t")
    write_configuration(f"""
        [daemon]
        metrics = "0.0.0.0:9465"
        metrics_file = "{tmp_path}/nowhere/x.prom"
        [[notify]]
        command = ["{tmp_path}/plain"]
        [[notify]]
        webhook_file = "{tmp_path}/hook"
        [[notify]]
        webhook = "https://hooks.example.org/{SECRET}"
        [[mirror]]
        path = "{pair.directory}"
        remote = "{pair.remote}"
    """)
    shown = lfssync("doctor").stdout
    assert f"✗ metrics: {tmp_path}/nowhere cannot be written\n" in shown
    assert "• metrics: to be had at http://0.0.0.0:9465/metrics by everybody who reaches this machine\n" in shown
    assert f"✗ notify: {tmp_path}/plain is no program that may be run\n" in shown
    assert f"✗ notify: {tmp_path}/hook: it is not an https:// address\n" in shown
    assert "✓ notify: webhook at hooks.example.org: failure, recovery, release; lfssync notify tries it out\n" in shown
    assert "s3cr3t" not in shown
    assert f"→ close it: chmod 600 {tmp_path}/hook\n" in shown


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, UserError), (410, UserError), (429, TransientError), (503, TransientError)],
)
def test_what_a_hook_refuses_is_said_without_its_address(hook: Hook, status: int, error: type[Exception]) -> None:
    hook.answers.append((status, ""))
    with pytest.raises(error) as caught:
        send(Target(webhook=hook.url))
    assert f"answers {status}" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_redirect_to_another_server_is_not_followed(hook: Hook) -> None:
    hook.answers.append((307, "http://127.0.0.2:9/elsewhere"))
    with pytest.raises(BlockedError, match=r"redirects to 127\.0\.0\.2"):
        send(Target(webhook=hook.url))
    hook.answers.append((308, f"/hooks/{SECRET}"))
    send(Target(webhook=hook.url))
    assert hook.got.qsize() == 3


def test_a_program_that_does_not_end_is_killed_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(senders, "COMMAND_TIMEOUT_S", 0.5)
    tell = script(tmp_path / "tell", f"sleep 1000 & echo $! > {tmp_path}/child; wait")
    with pytest.raises(UserError, match="did not end within"):
        send(Target(command=(str(tell),)))
    child = int((tmp_path / "child").read_text())
    soon(lambda: not _runs(child))


def _runs(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize(
    ("text", "message"), [("exit 3", "failed with 3"), ("exec <&-; exit 1", "failed with 1"), ("kill -9 $$", "with -9")]
)
def test_a_program_that_fails_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        send(Target(command=(str(script(tmp_path / "tell", text)),)))


def test_a_program_sees_no_tokens_and_no_shell(tmp_path: Path) -> None:
    tell = script(tmp_path / "tell", f'env > {tmp_path}/env; printf "%s\\n" "$@" > {tmp_path}/words')
    send(
        Target(command=(str(tell), "$(id)", "two words")), {"PATH": os.environ["PATH"], "HF_TOKEN": "t", "LC_ALL": "C"}
    )
    seen = (tmp_path / "env").read_text()
    assert "LC_ALL=C" in seen
    assert "HF_TOKEN" not in seen
    assert (tmp_path / "words").read_text() == "$(id)\ntwo words\n"


def test_a_desktop_gets_words_and_no_markup(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="notify-send is not installed"):
        send(Target(desktop=True), {"PATH": str(tmp_path)})
    script(tmp_path / "notify-send", f'printf "%s\\n" "$@" > {tmp_path}/words')
    evil = letter(Notice(Occasion.FAILURE, "m", "<b>&amp;", "r", "blocked"), "", "h", 2.0)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    send_to(Target(desktop=True), environment)(evil, threading.Event())
    words = (tmp_path / "words").read_text().splitlines()
    assert words[:3] == ["--app-name=lfssync", "--", "m: blocked"]
    assert not set("<&>") & set(words[3])


class Counting:
    """A way to send that fails as often as it is told."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.sent: queue.Queue[Letter] = queue.Queue()

    def __call__(self, sheet: Letter, stop: threading.Event) -> None:
        if self.failures:
            self.failures -= 1
            raise TransientError("not now")
        self.sent.put(sheet)


def test_what_fails_in_passing_is_tried_again() -> None:
    way = Counting(2)
    sender = Sender("x", way, (0.01, 0.01, 0.01))
    sender.start()
    sender.put(LETTER)
    assert way.sent.get(timeout=60) is LETTER
    sender.stop(time.monotonic() + 10)


def test_what_never_works_is_given_up_and_the_end_waits_for_no_pause(caplog: pytest.LogCaptureFixture) -> None:
    sender = Sender("x", Counting(100), (0.01,))
    sender.start()
    sender.put(LETTER)
    soon(lambda: "not notified of m: blocked: not now" in caplog.text)
    slow = Sender("y", Counting(100), (1000.0,))
    slow.start()
    slow.put(LETTER)
    began = time.monotonic()
    for one in (sender, slow):
        one.stop(time.monotonic() + 1)
    assert time.monotonic() - began < 30


def test_a_queue_that_is_full_takes_no_more(caplog: pytest.LogCaptureFixture) -> None:
    sender = Sender("x", Counting(0), ())
    for _ in range(senders.QUEUE + 1):
        sender.put(LETTER)
    assert "too many notifications wait; left out: m: blocked" in caplog.text
