"""Metrics of a real daemon, as a monitoring system gets them, and what does not get them."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as older

from lfssync.configuration.telling import Address
from lfssync.errors import TransientError
from lfssync.telling import endpoint
from lfssync.telling.endpoint import Endpoint
from lfssync.telling.exposition import Form
from lfssync.telling.metricsfile import take_away, write
from tests.helpers import random_bytes
from tests.helpers import write as put
from tests.integration.daemons import Daemon, Pair, lfssync, soon, write_configuration


def free_port() -> int:
    """A port of the loopback that nobody uses now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def get(port: int, path: str = "/metrics", **headers: str) -> tuple[HTTPResponse, str]:
    """What is answered there."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer, answer.read().decode()


def numbers(port: int) -> dict[tuple[str, ...], float]:
    """All samples in OpenMetrics, by name and values of labels."""
    text = get(port, Accept="application/openmetrics-text; version=1.0.0")[1]
    families: list[Metric] = list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]
    return {(one.name, *sorted(one.labels.values())): one.value for family in families for one in family.samples}


@pytest.fixture
def served() -> Iterator[int]:
    """An endpoint; gives its port."""
    port = free_port()
    there = Endpoint(Address("127.0.0.1", port), lambda form: f"{form.name}\n")
    there.start()
    yield port
    there.stop()


def test_a_daemon_tells_its_metrics_and_takes_them_away(tmp_path: Path) -> None:
    pair = Pair.make(tmp_path)
    put(pair.directory / "model.bin", random_bytes(1, 3 << 20))
    port, file = free_port(), tmp_path / "textfile" / "lfssync.prom"
    file.parent.mkdir()
    mirror = f'\n[[mirror]]\npath = "{pair.directory}"\nremote = "{pair.remote}"\nquiet = "200ms"\n'
    write_configuration(f'[daemon]\nmetrics = "127.0.0.1:{port}"\nmetrics_file = "{file}"\n{mirror}')
    with Daemon(tmp_path / "log").start() as daemon:
        pair.arrives()
        soon(lambda: numbers(port)["lfssync_state", "idle", "model"] == 1, daemon.said)
        found = numbers(port)
        assert found["lfssync_mirrors",] == 1
        assert found["lfssync_pending_files", "model"] == 0
        assert found["lfssync_passes_total", "model"] >= 1
        assert found["lfssync_read_bytes_total", "model"] == 3 << 20
        assert found["lfssync_sent_bytes_total", "model"] == 3 << 20
        assert abs(found["lfssync_verified_timestamp_seconds", "model"] - time.time()) < 60
        assert found["lfssync_lost_events_total", "model"] >= 1  # it began to watch
        answer, text = get(port)
        assert answer.headers["Content-Type"] == Form.PROMETHEUS.value
        assert str(pair.remote) not in text
        assert list(older(text))
        soon(file.exists)
        assert list(older(file.read_text()))
        assert file.stat().st_mode & 0o777 == 0o644
        assert [one.name for one in file.parent.iterdir()] == [file.name]

        pair.remote.rename(tmp_path / "aside")  # a failure is counted by its kind
        put(pair.directory / "config.json", b"{}")
        soon(lambda: numbers(port)["lfssync_pass_failures_total", "model", "offline"] >= 1, daemon.said)
        assert numbers(port)["lfssync_state", "model", "offline"] == 1
        (tmp_path / "aside").rename(pair.remote)
        assert lfssync("sync").returncode == 0

        other = free_port()  # a new address takes effect while it runs
        write_configuration(f'[daemon]\nmetrics = "127.0.0.1:{other}"\n{mirror}')
        soon(lambda: _answers(other), daemon.said)
        soon(lambda: not file.exists())
        assert not _answers(port)
        write_configuration(mirror)
        soon(lambda: not _answers(other), daemon.said)


def _answers(port: int) -> bool:
    try:
        get(port)
    except (OSError, urllib.error.URLError):
        return False
    return True


def test_an_address_that_is_taken_is_a_complaint_and_no_end(tmp_path: Path) -> None:
    pair = Pair.make(tmp_path)
    put(pair.directory / "a", b"1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        mirror = f'[[mirror]]\npath = "{pair.directory}"\nremote = "{pair.remote}"\nquiet = "200ms"\n'
        file = tmp_path / "nowhere" / "lfssync.prom"
        write_configuration(f'[daemon]\nmetrics = "127.0.0.1:{port}"\nmetrics_file = "{file}"\n{mirror}')
        with Daemon(tmp_path / "log").start() as daemon:
            pair.arrives()
            soon(lambda: "no metrics in" in lfssync("status").stdout, daemon.said)
            shown = lfssync("status").stdout
            assert f"    warning  no metrics at 127.0.0.1:{port}: address already in use; choose another" in shown
            assert f"    warning  no metrics in {file}: no such file or directory; mend" in shown


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"200"),
        (b"GET /metrics?x=1 HTTP/1.0\r\n\r\n", b"200"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"GET /metrics/../secret HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"405"),
        (b"rubbish\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/9.9\r\n\r\n", b"505"),
        (b"\xff\xfe\x00\r\n\r\n", b"400"),
    ],
)
def test_nothing_else_is_answered(served: int, words: bytes, status: bytes) -> None:
    with socket.create_connection(("127.0.0.1", served), 30) as one:
        one.sendall(words)
        answer = b"".join(iter(lambda: one.recv(65536), b""))
    assert status in answer.split(b"\r\n", 1)[0] or answer.startswith(b"<!DOCTYPE")  # as HTTP 0.9 had it
    assert (b"PROMETHEUS" in answer) is (status == b"200")
    assert _answers(served)


def test_a_head_without_end_is_cut_off(served: int) -> None:
    with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", served), 30) as one:
        one.sendall(b"GET /" + b"a" * (1 << 20) + b" HTTP/1.1\r\n\r\n")
        assert one.recv(100).startswith(b"HTTP/1.1 431 ")
    assert _answers(served)


def test_a_head_is_enough_for_who_asks_for_one(served: int) -> None:
    with socket.create_connection(("127.0.0.1", served), 30) as one:
        one.sendall(b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b"".join(iter(lambda: one.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert (b"Content-Length: 11" in head, body) == (True, b"")


def test_who_talks_slowly_or_never_keeps_nobody_else_out_for_long(served: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "HEAD_S", 0.3)
    silent = [socket.create_connection(("127.0.0.1", served), 30) for _ in range(3)]
    trickling = threading.Event()

    def trickle(one: socket.socket) -> None:
        while not trickling.wait(0.05):
            try:
                one.sendall(b"G")
            except OSError:
                return

    slow = threading.Thread(target=trickle, args=(silent[0],))
    slow.start()
    try:
        assert _answers(served)
        assert [one.recv(100) for one in silent[1:]] == [b"", b""]
        soon(lambda: not slow.is_alive())  # for it was hung up on
    finally:
        trickling.set()
        slow.join()
        for one in silent:
            one.close()


@pytest.mark.parametrize("count", [endpoint.CONNECTIONS - 1, 20, 200])
def test_others_are_answered_while_many_say_nothing(served: int, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    for name in ("HEAD_S", "EXCHANGE_S"):
        monkeypatch.setattr(endpoint, name, 3600.0)
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", served), 30)) for _ in range(count)]
        assert [_answers(served) for _ in range(3)] == [True] * 3
        silent[-1].sendall(b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n")  # whoever came last may still ask
        assert silent[-1].recv(100).startswith(b"HTTP/1.1 200 ")
        assert [one.recv(100) for one in silent[: -endpoint.CONNECTIONS]] == [b""] * max(
            count - endpoint.CONNECTIONS, 0
        )


def test_who_reads_nothing_keeps_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "EXCHANGE_S", 3600.0)
    there = Endpoint(Address("127.0.0.1", free_port()), lambda form: "x" * (32 << 20))
    there.start()
    port = there.address.port
    with socket.create_connection(("127.0.0.1", port), 30) as one:
        one.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert _answers(port)
    there.stop()


def test_the_end_comes_at_once_though_somebody_is_connected() -> None:
    there = Endpoint(Address("127.0.0.1", free_port()), lambda form: "")
    there.start()
    with socket.create_connection((there.address.host, there.address.port), 30):
        began = time.monotonic()
        there.stop()
    assert time.monotonic() - began < endpoint.STOP_TIMEOUT_S + 5


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "lfssync.prom"
    write(file, "one\n")
    with file.open() as reader:
        write(file, "two\n")
        assert reader.read() == "one\n"
    assert file.read_text() == "two\n"
    take_away(file)
    take_away(file)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TransientError, match="no metrics in"):
        write(tmp_path / "nowhere" / "lfssync.prom", "")


def test_what_lies_at_the_temporary_name_is_said_and_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / f".l.prom.{os.getpid()}").mkdir()
    with pytest.raises(TransientError, match="is in the way there"):
        write(tmp_path / "l.prom", "")
