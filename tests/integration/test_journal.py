"""Log lines as the journal takes them; `test_service` has a real one."""

from __future__ import annotations

import logging
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lfssync.service.journal import MESSAGE_BYTES_MAX, Journal, MirrorLog, datagram, is_there


def entry(raw: bytes) -> dict[str, str]:
    """What a datagram says, read as the protocol has it."""
    fields = {}
    while raw:
        line, _, raw = raw.partition(b"\n")
        name, is_short, value = line.partition(b"=")
        if not is_short:
            (length,) = struct.unpack("<Q", raw[:8])
            value, end, raw = raw[8 : 8 + length], raw[8 + length : 9 + length], raw[9 + length :]
            assert end == b"\n"
        fields[name.decode()] = value.decode()
    return fields


@pytest.fixture
def log(tmp_path: Path) -> Iterator[socket.socket]:
    """A journal that gets what our logger is told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "socket"))
        end.settimeout(10)
        handler = Journal(logging.Formatter("%(message)s").format, str(tmp_path / "socket"))
        logger = logging.getLogger("lfssync")
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        yield end
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


def test_a_mirror_and_more_are_fields(log: socket.socket) -> None:
    MirrorLog("my-model").warning("%s, for %d s", "it failed", 5, fields={"ERROR_KIND": "offline"})
    told = entry(log.recv(1 << 20))
    assert told["MESSAGE"] == "my-model: it failed, for 5 s"
    assert told["PRIORITY"] == "4"
    assert (told["MIRROR"], told["ERROR_KIND"], told["SYSLOG_IDENTIFIER"]) == ("my-model", "offline", "lfssync")
    assert told["CODE_FUNC"] == "test_a_mirror_and_more_are_fields"


@pytest.mark.parametrize(
    ("level", "priority"),
    [(logging.DEBUG, "7"), (logging.INFO, "6"), (logging.WARNING, "4"), (logging.ERROR, "3"), (logging.CRITICAL, "2")],
)
def test_levels_become_priorities(log: socket.socket, level: int, priority: str) -> None:
    logging.getLogger("lfssync").log(level, "words")
    assert entry(log.recv(1 << 20))["PRIORITY"] == priority


def test_no_value_can_make_up_a_field(log: socket.socket) -> None:
    words = "a\nMIRROR=other\n\nb"
    assert entry(datagram({"MESSAGE": words, "X": "=", "Y": ""})) == {"MESSAGE": words, "X": "=", "Y": ""}
    logging.getLogger("lfssync").info("%s", words)
    assert "MIRROR" not in entry(log.recv(1 << 20))


def test_very_long_words_are_cut_and_arrive(log: socket.socket) -> None:
    logging.getLogger("lfssync").info("%s", "ä" * (MESSAGE_BYTES_MAX * 4))
    assert len(log.recv(1 << 20)) < MESSAGE_BYTES_MAX + 1000


def test_a_journal_that_is_gone_keeps_nobody_from_going_on(tmp_path: Path) -> None:
    record = logging.LogRecord("lfssync", logging.INFO, "file", 1, "words", (), None)
    Journal(str, str(tmp_path / "nowhere")).emit(record)


def test_only_standard_error_itself_counts(tmp_path: Path) -> None:
    file = tmp_path / "stream"
    with file.open("w") as stream:
        status = os.fstat(stream.fileno())
        there = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        assert is_there(there, stream.fileno())
        assert not is_there({}, stream.fileno())
        assert not is_there({"JOURNAL_STREAM": "1:2"}, stream.fileno())
        words = [sys.executable, "-m", "lfssync", "sync"]
        done = subprocess.run(words, env=os.environ | there, stderr=stream, timeout=60, check=False)
        assert done.returncode == 2
    assert file.read_text().startswith("<3>error: no mirrors configured; ")
    assert not is_there(there, 12345)
