"""The control socket against whoever comes: other users, other versions, garbage, floods, askers that do not read."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lfssync import __version__
from lfssync.errors import (
    AuthError,
    BlockedError,
    LfssyncError,
    NotDoneError,
    TransientError,
    UserError,
)
from lfssync.model import Monitor, Plan, Progress, State, silent
from lfssync.service.control import ANSWER_BYTES, CONNECTIONS, REQUEST_BYTES, Server, ask
from lfssync.service.protocol import PROTOCOL, Document
from tests.integration.daemons import PROJECT, Daemon, Pair, configure, lfssync, places, soon

NOBODY = 65534
PATIENCE_S = 30.0


class Desk:
    """A handler that a test directs: requests wait at the gate if they ask for it."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.arrived = threading.Semaphore(0)
        self.finished = threading.Semaphore(0)

    def handle(self, request: Document, monitor: Monitor) -> Document:
        self.arrived.release()
        answer = self._handle(request, monitor)
        self.finished.release()
        return answer

    def _handle(self, request: Document, monitor: Monitor) -> Document:
        match request.get("command"):
            case "echo":
                return {"said": request["text"]}
            case "wait":
                self.gate.wait(PATIENCE_S)
            case "progress":
                for number in range(int(request["steps"])):
                    monitor(Progress(State.UPLOADING, b"\xff %d" % number, number, number))
            case "haunt":  # what goes on tells of itself also when the answer is on its way
                threading.Thread(target=self._haunt, args=(monitor,)).start()
                return {"said": "x" * 4_000_000}
            case "fail":
                raise {kind.kind: kind for kind in KINDS}[request["kind"]]("what happened", "what to do")
            case "bug":
                raise ZeroDivisionError("by accident")
            case _:
                pass
        return {"done": True}

    def _haunt(self, monitor: Monitor) -> None:
        while not self.gate.wait(0.0001):
            monitor(Plan(State.UPLOADING, 1, 1))


KINDS = (LfssyncError, UserError, AuthError, TransientError, BlockedError, NotDoneError)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def path(private_environment: Path) -> Path:
    return places().control_socket


@pytest.fixture
def server(path: Path, desk: Desk) -> Iterator[Server]:
    server = Server(path, desk.handle)
    server.start()
    yield server
    desk.gate.set()
    server.stop(PATIENCE_S)
    assert not path.exists()


def connected(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(PATIENCE_S)
    connection.connect(str(path))
    return connection


def answer_to(path: Path, *pieces: bytes) -> bytes:
    """What comes back for raw bytes, sent piece by piece, until the other end closes."""
    with connected(path) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces:
                connection.sendall(piece)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while data := connection.recv(1 << 16):
                received += data
        return received


def line(**fields: object) -> bytes:
    return json.dumps({"protocol": PROTOCOL, **fields}).encode() + b"\n"


def error_kind(answer: bytes) -> str:
    return str(json.loads(answer)["error"]["kind"])


# -- what is asked is answered -------------------------------------------------------------------------------------


def test_a_request_is_answered(server: Server, path: Path) -> None:
    assert ask(path, {"command": "echo", "text": "grüß \udcff"}, silent, PATIENCE_S) == {"said": "grüß \udcff"}


def test_a_request_may_come_in_pieces(server: Server, path: Path) -> None:
    request = line(command="echo", text="x")
    answer = answer_to(path, request[:5], request[5:9], request[9:])
    assert json.loads(answer) == {"result": {"said": "x"}}


def test_without_a_daemon_there_is_no_answer(path: Path) -> None:
    assert ask(path, {"command": "echo"}, silent, PATIENCE_S) is None
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert ask(path, {"command": "echo"}, silent, PATIENCE_S) is None


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_keeps_its_kind_and_its_words(server: Server, path: Path, kind: type[LfssyncError]) -> None:
    with pytest.raises(kind) as caught:
        ask(path, {"command": "fail", "kind": kind.kind}, silent, PATIENCE_S)
    assert type(caught.value) is kind
    assert (caught.value.message, caught.value.remedy) == ("what happened", "what to do")


def test_a_bug_in_a_request_is_told_and_ends_nothing(server: Server, path: Path) -> None:
    with pytest.raises(LfssyncError, match=r"internal: ZeroDivisionError: by accident"):
        ask(path, {"command": "bug"}, silent, PATIENCE_S)
    assert ask(path, {"command": "echo", "text": ""}, silent, PATIENCE_S) == {"said": ""}


def test_an_answer_may_be_long(server: Server, path: Path) -> None:
    text = "x" * (REQUEST_BYTES - 200)
    assert len(text) * 20 < ANSWER_BYTES
    answer = ask(path, {"command": "echo", "text": "\u20ac" * (REQUEST_BYTES // 8)}, silent, PATIENCE_S)
    assert answer == {"said": "\u20ac" * (REQUEST_BYTES // 8)}


# -- progress ------------------------------------------------------------------------------------------------------


def test_nothing_comes_into_an_answer_or_after_it(server: Server, path: Path, desk: Desk) -> None:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asker:
            asker.settimeout(PATIENCE_S)
            asker.connect(str(path))
            asker.sendall(json.dumps({"protocol": PROTOCOL, "command": "haunt"}).encode() + b"\n")
            time.sleep(0.2)  # the answer is too long to be sent before somebody reads
            told = b"".join(iter(lambda: asker.recv(50_000), b""))
    finally:
        desk.gate.set()
    lines = [json.loads(one) for one in told.splitlines()]
    assert [one for one in lines if "progress" not in one] == lines[-1:]
    assert len(lines[-1]["result"]["said"]) == 4_000_000


def test_progress_arrives_with_its_paths(server: Server, path: Path) -> None:
    seen: list[Plan | Progress] = []
    assert ask(path, {"command": "progress", "steps": 3}, seen.append, PATIENCE_S) == {"done": True}
    assert seen == [Progress(State.UPLOADING, b"\xff %d" % number, number, number) for number in range(3)]


def test_work_does_not_wait_for_an_asker_that_does_not_read(server: Server, path: Path, desk: Desk) -> None:
    with connected(path) as connection:
        connection.sendall(line(command="progress", steps=20_000))
        assert desk.finished.acquire(timeout=PATIENCE_S)
        received = b""
        while data := connection.recv(1 << 20):
            received += data
    lines = received.splitlines()
    assert json.loads(lines[-1]) == {"result": {"done": True}}
    assert 10 < len(lines) < 20_000
    assert all(json.loads(one) for one in lines)


def test_work_goes_on_when_its_asker_goes_away(server: Server, path: Path, desk: Desk) -> None:
    with connected(path) as connection:
        connection.sendall(line(command="wait"))
        assert desk.arrived.acquire(timeout=PATIENCE_S)
    desk.gate.set()
    soon(lambda: request_threads() == [], request_threads)
    assert ask(path, {"command": "echo", "text": ""}, silent, PATIENCE_S)


def request_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "request"]


# -- what makes no sense -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [b"\xff\xfe\x00garbage\n", b"[1, 2]\n", b"null\n", b"{" * 60_000 + b"\n", b"[" * 60_000 + b"\n", b"{}\n", b"\n"],
)
def test_garbage_is_refused(server: Server, path: Path, garbage: bytes) -> None:
    assert error_kind(answer_to(path, garbage)) == "usage"
    assert ask(path, {"command": "echo", "text": ""}, silent, PATIENCE_S)


def test_half_a_request_is_no_request(server: Server, path: Path, desk: Desk) -> None:
    with connected(path) as connection:
        connection.sendall(line(command="echo", text="x")[:-1])
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""
    assert not desk.arrived.acquire(blocking=False)


def test_an_endless_line_is_cut_off(server: Server, path: Path) -> None:
    block = b"x" * (1 << 20)
    sent = 0
    with connected(path) as connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for _ in range(1024):
            connection.sendall(block)
            sent += len(block)
    assert sent < 64 << 20


@pytest.mark.parametrize(
    ("protocol", "message", "remedy"),
    [
        (PROTOCOL + 1, "is older than this command", "restart it"),
        (PROTOCOL - 1, "is newer than this command", "use the lfssync that the daemon was started with"),
        ("two", "is of another version than this command", "restart it"),
        (None, "is of another version than this command", "restart it"),
    ],
)
def test_a_command_of_another_version_gets_a_clear_answer(
    server: Server, path: Path, desk: Desk, protocol: object, message: str, remedy: str
) -> None:
    answer = json.loads(answer_to(path, json.dumps({"protocol": protocol, "command": "echo"}).encode() + b"\n"))
    error = {"kind": "usage", "message": f"the running daemon (lfssync {__version__}) {message}", "remedy": remedy}
    assert answer == {"error": error}
    assert not desk.arrived.acquire(blocking=False)


def test_a_request_that_drips_in_has_no_more_time_than_any_other(
    server: Server, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lfssync.service.control.REQUEST_TIMEOUT_S", 0.5)
    with connected(path) as connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.settimeout(0.05)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            connection.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                if not connection.recv(100):
                    break
    assert time.monotonic() < deadline
    soon(lambda: request_threads() == [], request_threads)


OTHER_VERSION = """
import sys
from lfssync.service import control, protocol
control.PROTOCOL = protocol.PROTOCOL + int(sys.argv.pop(1))
from lfssync.commandline.cli import main
sys.exit(main())
"""


def of_another_version(step: int, *words: str) -> subprocess.CompletedProcess[str]:
    """A command whose protocol is so many steps away from that of this code."""
    return subprocess.run(
        [sys.executable, "-c", OTHER_VERSION, str(step), *words], cwd=PROJECT, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


def test_a_daemon_and_commands_of_three_versions(tmp_path: Path) -> None:
    configure(Pair.make(tmp_path).table())
    with Daemon(tmp_path / "log").start() as daemon:
        newer, older = of_another_version(1, "sync"), of_another_version(-1, "sync")
        assert (newer.returncode, older.returncode) == (2, 2)
        running = f"error: the running daemon (lfssync {__version__})"
        assert newer.stderr == f"{running} is older than this command; restart it\n"
        assert older.stderr.startswith(f"{running} is newer than this command; use the lfssync that")
        told = json.loads(of_another_version(1, "status", "--json").stdout)["daemon"]
        assert (told["running"], told["pid"]) == (True, daemon.pid)
        assert told["complaints"] == [
            f"the running daemon (lfssync {__version__}) is older than this command; restart it"
        ]
        assert lfssync("sync").returncode == 0


@pytest.mark.parametrize(
    "nonsense",
    [
        b"",
        b"\n",
        b"{}\n",
        b"[]\n",
        b"what?\n",
        b'{"error": 3}\n',
        b'{"error": {}}\n',
        b'{"progress": {}}\n',
        b"[" * 99_999,
    ],
)
def test_nonsense_from_a_daemon_is_an_error_and_no_crash(path: Path, nonsense: bytes) -> None:
    with talking(path, nonsense), pytest.raises(TransientError, match="daemon"):
        ask(path, {"command": "echo"}, silent, PATIENCE_S)


@contextlib.contextmanager
def talking(path: Path, answer: bytes) -> Iterator[None]:
    """Somebody at the daemon's place who answers every request with these bytes."""
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(0.1)
        ends = threading.Event()

        def serve() -> None:
            while not ends.is_set():
                with contextlib.suppress(TimeoutError, ConnectionError, BrokenPipeError):
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(1 << 16)
                        connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            ends.set()
            thread.join()


def test_commands_say_clearly_that_the_daemon_is_of_another_version(tmp_path: Path, path: Path) -> None:
    pair = Pair.make(tmp_path)
    configure(pair.table())
    refusal = {
        "error": {"kind": "usage", "message": "the running daemon is of another version", "remedy": "restart it"}
    }
    with talking(path, json.dumps(refusal).encode() + b"\n"):
        done = lfssync("sync")
        assert done.returncode == 2
        assert done.stderr == "error: the running daemon is of another version; restart it\n"
        assert lfssync("status").returncode == 0


def test_a_silent_daemon_is_given_up(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        began = time.monotonic()
        with pytest.raises(TransientError, match=r"not done within 0\.3 s"):
            ask(path, {"command": "ping"}, silent, 0.3)
        assert time.monotonic() - began < 5


# -- who may ask ---------------------------------------------------------------------------------------------------

INTRUDER = """
import socket, sys
connection = socket.socket(socket.AF_UNIX)
try:
    connection.connect(sys.argv[1])
    connection.sendall(b'{"protocol": 1, "command": "echo", "text": "x"}\\n')
    print(connection.recv(1000))
except OSError as error:
    print(type(error).__name__)
"""


def as_nobody(path: Path) -> str:
    done = subprocess.run(
        ["/usr/bin/env", "python3", "-c", INTRUDER, str(path)], user=NOBODY, group=NOBODY, extra_groups=[], cwd="/",
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_another_user_does_not_even_reach_the_socket(server: Server, path: Path) -> None:
    assert as_nobody(path) == "PermissionError"
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600


def test_another_user_who_reaches_it_is_refused(server: Server, path: Path, desk: Desk) -> None:
    opened = [path, *[parent for parent in path.parents if not parent.stat().st_mode & 0o001]]
    for place in opened:
        place.chmod(0o777)
    assert as_nobody(path) in ("b''", "ConnectionResetError", "BrokenPipeError")
    assert not desk.arrived.acquire(blocking=False)


def test_a_daemon_of_another_user_is_not_asked(path: Path) -> None:
    """Somebody else waits at our socket's place: nothing is sent to him."""
    path.parent.mkdir()
    for place in (path.parent, *path.parent.parents):
        if not place.stat().st_mode & 0o001:
            place.chmod(place.stat().st_mode | 0o011)
    path.parent.chmod(0o777)
    code = (
        "import socket, sys\n"
        "listener = socket.socket(socket.AF_UNIX)\n"
        "listener.bind(sys.argv[1]); import os; os.chmod(sys.argv[1], 0o777)\n"
        "listener.listen(); print('ready', flush=True)\n"
        "connection, _ = listener.accept(); print(connection.recv(1000), flush=True)\n"
    )
    with subprocess.Popen(
        ["/usr/bin/env", "python3", "-c", code, str(path)], user=NOBODY, group=NOBODY, extra_groups=[], cwd="/",
        stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        assert ask(path, {"command": "echo", "text": "secret"}, silent, PATIENCE_S) is None
        assert other.stdout.readline() == "b''\n"


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_folder_that_others_may_enter_is_refused(path: Path, desk: Desk, mode: int) -> None:
    path.parent.mkdir()
    path.parent.chmod(mode)
    with pytest.raises(UserError, match="open to other users"):
        Server(path, desk.handle).start()


def test_a_planted_link_to_a_folder_is_refused(path: Path, desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "private").mkdir(mode=0o700)
    path.parent.symlink_to(tmp_path / "private")
    with pytest.raises(UserError, match="not a folder of your own"):
        Server(path, desk.handle).start()
    assert list((tmp_path / "private").iterdir()) == []


def test_a_planted_link_at_the_sockets_place_is_replaced_and_not_followed(
    path: Path, desk: Desk, tmp_path: Path
) -> None:
    path.parent.mkdir(mode=0o700)
    precious = tmp_path / "precious"
    precious.write_text("precious")
    path.symlink_to(precious)
    server = Server(path, desk.handle)
    server.start()
    try:
        assert path.is_socket()
        assert not path.is_symlink()
        assert precious.read_text() == "precious"
    finally:
        server.stop(PATIENCE_S)


def test_a_folder_at_the_sockets_place_is_refused(path: Path, desk: Desk) -> None:
    path.mkdir(parents=True, mode=0o700)
    path.parent.chmod(0o700)
    with pytest.raises(UserError, match=r"control\.sock: "):
        Server(path, desk.handle).start()
    assert path.is_dir()


def test_a_path_that_is_too_long_is_refused_in_words(tmp_path: Path, desk: Desk) -> None:
    with pytest.raises(UserError, match="too long"):
        Server(tmp_path / ("x" * 120) / "control.sock", desk.handle).start()


def test_a_second_server_does_not_take_the_first_ones_place(server: Server, path: Path, desk: Desk) -> None:
    with pytest.raises(BlockedError, match=f"process {os.getpid()}"):
        Server(path, desk.handle).start()
    assert ask(path, {"command": "echo", "text": ""}, silent, PATIENCE_S)


def test_the_socket_of_a_daemon_that_died_is_replaced(path: Path, desk: Desk) -> None:
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = Server(path, desk.handle)
    server.start()
    try:
        assert ask(path, {"command": "echo", "text": "new"}, silent, PATIENCE_S) == {"said": "new"}
    finally:
        server.stop(PATIENCE_S)


def test_a_socket_that_was_cleaned_away_is_made_anew(server: Server, path: Path) -> None:
    path.unlink()
    assert ask(path, {"command": "echo", "text": ""}, silent, PATIENCE_S) is None
    server.look_after()
    assert ask(path, {"command": "echo", "text": "back"}, silent, PATIENCE_S) == {"said": "back"}
    soon(lambda: sum(thread.name == "control" for thread in threading.enumerate()) == 1, "the old thread still listens")


# -- many, and slow ------------------------------------------------------------------------------------------------


def test_too_many_requests_are_told_so_and_leave_room_again(server: Server, path: Path, desk: Desk) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS):
            connection = stack.enter_context(connected(path))
            connection.sendall(line(command="wait"))
            assert desk.arrived.acquire(timeout=PATIENCE_S)
        with pytest.raises(TransientError, match="too many requests"):
            ask(path, {"command": "echo", "text": ""}, silent, PATIENCE_S)
        desk.gate.set()
    soon(lambda: request_threads() == [], request_threads)
    assert ask(path, {"command": "echo", "text": ""}, silent, PATIENCE_S)


def knocked(connection: socket.socket, path: Path) -> bool:
    """Whether the connection was made; not when the kernel's queue is full just now."""
    try:
        connection.connect(str(path))
    except BlockingIOError:
        return False
    return True


def test_ten_thousand_connections_do_no_harm(server: Server, path: Path) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(10_000):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE_S)
            soon(lambda connection=connection: knocked(connection, path), "no more connections are taken")  # type: ignore[misc]
    assert len(request_threads()) <= CONNECTIONS
    soon(lambda: request_threads() == [], request_threads)
    assert ask(path, {"command": "echo", "text": ""}, silent, PATIENCE_S)
    soon(lambda: len(os.listdir("/proc/self/fd")) == descriptors, "descriptors are left open")


def test_stop_waits_neither_for_silent_nor_for_endless_askers(path: Path, desk: Desk) -> None:
    server = Server(path, desk.handle)
    server.start()
    with connected(path), connected(path) as other:
        other.sendall(line(command="wait"))
        assert desk.arrived.acquire(timeout=PATIENCE_S)
        began = time.monotonic()
        server.stop(0.5)
        assert time.monotonic() - began < 5
        desk.gate.set()
        soon(lambda: request_threads() == [], request_threads)


OUT_OF_DESCRIPTORS = """
import os, resource, socket, sys, threading
from pathlib import Path
from lfssync.service.control import Server

gate = threading.Event()

def handle(request, monitor):
    if request.get("command") == "hold":
        gate.wait(30)
    return {}

path = Path(sys.argv[1])
server = Server(path, handle)
server.start()
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
first, second = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
filling = []
try:
    while True:
        filling.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
# While it waits for a connection, the server has a descriptor reserved; one for another is not left.
first.connect(str(path))
first.sendall(b'{"protocol": 1, "command": "hold"}\\n')
second.connect(str(path))
second.sendall(b'{"protocol": 1}\\n')
second.settimeout(0.5)
try:
    early = second.recv(100)
except TimeoutError:
    early = None
for descriptor in filling:
    os.close(descriptor)
assert early is None, early
second.settimeout(30)
assert second.recv(100) == b'{"result": {}}\\n'
gate.set()
server.stop(30)
"""


def test_running_out_of_descriptors_passes(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_DESCRIPTORS, str(path)], cwd=PROJECT, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_daemon_whose_socket_was_cleaned_away_is_reached_again(tmp_path: Path) -> None:
    configure(Pair.make(tmp_path).table())
    with Daemon(tmp_path / "log").start():
        places().control_socket.unlink()
        assert '"running": true' in lfssync("status", "--json").stdout
        soon(places().control_socket.is_socket, "the socket does not come back")
        assert lfssync("sync").returncode == 0
