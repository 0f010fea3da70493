"""How a notification reaches people: a webhook, a command, the desktop; each in its own time.

Run by `herald`. The one thing to know: each target has a thread and a short queue of its own. A target that does not
answer makes nobody else wait, and what it cannot take is dropped with a word in the log.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lfssync.configuration.telling import Target, webhook
from lfssync.errors import LfssyncError, StoppedError, TransientError, UserError
from lfssync.places import without_waiting
from lfssync.telling.letters import Letter

QUEUE = 32
COMMAND_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_S = 15.0
PAUSES_S = (5.0, 30.0, 120.0, 600.0)
"""After a try that failed in passing; most failures are of the network that a webhook needs as well."""

ADDRESS_BYTES = 4096
_ENVIRONMENT = frozenset(
    {
        *("DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TZ", "USER"),
        *("WAYLAND_DISPLAY", "XDG_RUNTIME_DIR"),
    }
)
"""What a command sees of our environment, besides `LC_*`: no tokens."""

_END = None
_log = logging.getLogger("lfssync")

Send = Callable[[Letter, threading.Event], None]
"""Brings a letter to a target; ends early when the event is set. What raises `TransientError` is tried again."""


class Sender:
    """Brings letters to one target.

    Args:
        words: What to call the target.
        send: How; see `send_to`.
        pauses_s: How long to wait after each try that failed in passing.
    """

    def __init__(self, words: str, send: Send, pauses_s: Sequence[float] = PAUSES_S) -> None:
        self._words = words
        self._send = send
        self._pauses_s = pauses_s
        self._letters: queue.Queue[Letter | None] = queue.Queue(QUEUE)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"notify {words}"[:40], daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def put(self, letter: Letter) -> None:
        """Have a letter sent; returns at once."""
        try:
            self._letters.put_nowait(letter)
        except queue.Full:
            _log.warning("%s: too many notifications wait; left out: %s", self._words, letter.title)

    def finish(self) -> None:
        """Send what there is, and end; what fails from now on is not tried again."""
        with contextlib.suppress(queue.Full):
            self._letters.put_nowait(_END)

    def stop(self, deadline: float) -> None:
        """End, at the latest at that moment in monotonic seconds; what is not sent then is given up."""
        self.finish()
        if self._thread.ident is None:
            return
        self._thread.join(max(deadline - time.monotonic() - 0.5, 0.0))
        self._stop.set()
        self._thread.join(max(deadline - time.monotonic(), 0.0))

    def _work(self) -> None:
        while not self._stop.is_set():
            letter = self._letters.get()
            if letter is _END:
                return
            try:
                self._deliver(letter)
            except LfssyncError as error:
                if not self._stop.is_set():
                    _log.warning("%s: not notified of %s: %s", self._words, letter.title, error)
            except Exception:  # noqa: BLE001  a bug must not end the thread
                _log.exception("%s: not notified of %s", self._words, letter.title)

    def _deliver(self, letter: Letter) -> None:
        for pause_s in self._pauses_s:
            try:
                return self._send(letter, self._stop)
            except StoppedError:
                raise
            except TransientError as error:
                _log.info("%s: %s; tried again in %.0f s", self._words, error.message, pause_s)
                if self._stop.wait(pause_s):
                    raise StoppedError("a notification was sent") from error
        return self._send(letter, self._stop)


def send_to(target: Target, environment: Mapping[str, str]) -> Send:
    """How a target is reached.

    Args:
        target: Who.
        environment: Usually `os.environ`.
    """
    if target.webhook or target.webhook_file:
        return lambda letter, stop: _post(address_of(target), letter, environment, stop)
    if target.command:
        return lambda letter, stop: _run(target.command, _document(letter), environment, stop)
    return lambda letter, stop: _show(letter, environment, stop)


def address_of(target: Target) -> str:
    """The address of a webhook, read anew each time, so that it can be changed.

    Raises:
        UserError: Its file cannot be read, or holds no address; does not repeat what it holds.
    """
    if target.webhook_file is None:
        return target.webhook
    try:
        with open(target.webhook_file, encoding="utf-8", opener=without_waiting) as file:
            text = file.read(ADDRESS_BYTES).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UserError(f"{target.webhook_file}: {reason}", "put the address of the webhook into it") from error
    try:
        return webhook(text)
    except UserError as error:
        raise UserError(f"{target.webhook_file}: {error.message}", error.remedy) from None


def program_of(target: Target, environment: Mapping[str, str]) -> str:
    """The program that a target needs; empty for a webhook.

    Raises:
        UserError: It is not there, or may not be run.
    """
    if target.command:
        program = target.command[0]
        if not (os.path.isfile(program) and os.access(program, os.X_OK)):
            raise UserError(f"{program} is no program that may be run", f"check the path, or: chmod +x {program}")
        return program
    if not target.desktop:
        return ""
    found = shutil.which("notify-send", path=environment.get("PATH"))
    if found is None:
        raise UserError("notify-send is not installed", "install it: sudo apt-get install libnotify-bin")
    return found


def _document(letter: Letter) -> bytes:
    return json.dumps(letter.document).encode() + b"\n"


def _post(url: str, letter: Letter, environment: Mapping[str, str], stop: threading.Event) -> None:
    from lfssync.git.gitcommand import Git
    from lfssync.web.client import Client, Request, host_of
    from lfssync.web.trust import Trust, git_settings

    content, headers = _document(letter), {"Content-Type": "application/json"}
    request = Request("POST", url, headers, content, ANSWER_TIMEOUT_S, stays=True)
    with Client(Trust(environment, git_settings(Git(Path(os.devnull)))), stop) as client:
        answer = client.send(request)
    if answer.is_success:
        return
    what = f"{host_of(url)} answers {answer.status}"
    if answer.status in (408, 425, 429) or answer.status >= 500:
        raise TransientError(what, "it is tried again")
    raise UserError(what, "check the address of the webhook")


def _run(command: Sequence[str], content: bytes, environment: Mapping[str, str], stop: threading.Event) -> None:
    """Run a program to its end, within `COMMAND_TIMEOUT_S`; then it and all that it started in its group are killed."""
    kept = {key: value for key, value in environment.items() if key in _ENVIRONMENT or key.startswith("LC_")}
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            cwd="/", env=kept, start_new_session=True, close_fds=True,
        )  # fmt: skip
    except OSError as error:
        raise UserError(f"{command[0]}: {error.strerror}", "check the path and its permissions") from error
    writer = threading.Thread(target=_feed, args=(process, content), name="notify input", daemon=True)
    writer.start()
    deadline = time.monotonic() + COMMAND_TIMEOUT_S
    try:
        while process.poll() is None and time.monotonic() < deadline and not stop.wait(0.05):
            pass
        status = process.poll()
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        writer.join(1)
    if status is None:
        raise UserError(f"{command[0]} did not end within {COMMAND_TIMEOUT_S:g} s", "have it do less")
    if status:
        raise UserError(f"{command[0]} failed with {status}", "run it by hand, with a notification on standard input")


def _feed(process: subprocess.Popen[bytes], content: bytes) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # it does not want to know
        process.stdin.write(content)
    with contextlib.suppress(OSError):
        process.stdin.close()


def _show(letter: Letter, environment: Mapping[str, str], stop: threading.Event) -> None:
    program = program_of(Target(desktop=True), environment)
    _run([program, "--app-name=lfssync", "--", letter.title, letter.text.replace("&", "+")], b"", environment, stop)
