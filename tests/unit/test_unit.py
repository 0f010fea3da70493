from __future__ import annotations

import hashlib
import shlex
from pathlib import Path

import pytest

from lfssync.errors import LfssyncError
from lfssync.service.unit import Wish, quoted, shipped, writable, written

RUN = Wish(["/opt/bin/lfssync", "run"], systemd=252)


def lines(text: str, beginning: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(beginning)]


@pytest.mark.parametrize("name", ["lfssync.service", "lfssync@.service"])
def test_nothing_but_what_was_wished_for_differs_from_what_is_shipped(name: str) -> None:
    original = shipped(name)
    mark, _, body = written(original, RUN).partition("\n")
    assert mark.endswith(hashlib.sha256(body.encode()).hexdigest())
    expected = original.replace("/usr/bin/lfssync", "/opt/bin/lfssync").splitlines()
    dropped = [line for line in expected if line.startswith(("#254 ", "#[namespaces", "#namespaces]"))]
    assert body.splitlines() == [line for line in expected if line not in dropped]
    assert dropped


def test_restarts_become_ever_more_seldom_where_systemd_can() -> None:
    assert lines(written(shipped("lfssync.service"), RUN), "RestartSteps=") == []
    newer = written(shipped("lfssync.service"), Wish(RUN.command, systemd=254))
    assert lines(newer, "Restart") == [
        "Restart=on-failure",
        "RestartSec=10",
        "RestartSteps=6",
        "RestartMaxDelaySec=10min",
        "RestartPreventExitStatus=2",
    ]


def test_without_namespaces_what_needs_none_stays() -> None:
    text = written(shipped("lfssync.service"), Wish(RUN.command, may_have_namespaces=False))
    for name in ("ProtectSystem=", "PrivateUsers=", "CapabilityBoundingSet=", "ReadWritePaths=", "InaccessiblePaths="):
        assert lines(text, name) == []
    for name in ("NoNewPrivileges=", "SystemCallFilter=", "MemoryDenyWriteExecute=", "LimitCORE=", "WantedBy="):
        assert lines(text, name)


def test_variables_and_places_are_added() -> None:
    wish = Wish(["/home/me/a b/50%/lfssync", "run", "$x"], {"LFSSYNC_CONFIG": '/a "b"'}, [Path("/opt/a b"), Path("/x")])
    text = written(shipped("lfssync.service"), wish)
    assert lines(text, "ExecStart=") == ['ExecStart="/home/me/a b/50%%/lfssync" run $$x']
    assert lines(text, "Environment=") == [r'Environment="LFSSYNC_CONFIG=/a \"b\""']
    [places] = lines(text, "ReadWritePaths=")
    assert places.endswith(' "-/opt/a b" -/x')


@pytest.mark.parametrize("word", ["plain", "/a/b-c.d", "two words", 'a"b', "a\\b", "ä", "a;b", "'"])
def test_a_quoted_word_is_one_word(word: str) -> None:
    assert shlex.split(quoted(word)) == [word]


def test_where_the_service_may_write() -> None:
    home = Path("/somewhere/me")
    assert {home, Path("/mnt"), Path("/tmp")} <= set(writable(shipped("lfssync.service"), home))
    assert Path("/home/me") in writable(shipped("lfssync@.service"), home, "me")
    assert home not in writable(shipped("lfssync@.service"), home, "me")


def test_a_unit_that_is_missing_is_an_error() -> None:
    with pytest.raises(LfssyncError, match="is not part of this installation"):
        shipped("other.service")
