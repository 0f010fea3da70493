"""What `doctor` says about facts: when something would fail, and what merely is worth knowing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lfssync.commandline.terminal import exit_code_of
from lfssync.credentials.keyrings import SOURCE
from lfssync.credentials.variables import hub_variable, own_variable
from lfssync.errors import AuthError, BlockedError
from lfssync.line.findings import (
    HEADROOM_BYTES,
    KEYRING,
    SHELL,
    Finding,
    Service,
    Tree,
    failure,
    of_certificates,
    of_clock,
    of_directory,
    of_file_system,
    of_room,
    of_service,
    of_watches,
    of_writers,
)
from lfssync.line.settle import Writer

TREE = Tree(3, 25_200_000, 25_000_000, 2, (), Writer.ABSENT)
SERVICE = Service(True, "/run/user/1000/bus", True, True)


def test_an_error_becomes_a_finding_with_its_own_words_and_kind() -> None:
    finding = failure("login", AuthError("no", "log in"), "model")
    assert finding == Finding("login", False, "no", "log in", "model", "unauthorized")
    assert exit_code_of(finding.kind) == 5
    assert exit_code_of(BlockedError.kind) == 4
    assert exit_code_of("failed") == 1
    assert exit_code_of("offline") == 1
    assert exit_code_of("") == 0


def test_a_directory_is_told_by_what_is_in_it() -> None:
    assert of_directory(TREE, "m") == Finding(
        "directory", True, "3 files in 2 folders, 25.2 MB, all can be read", mirror="m"
    )


@pytest.mark.parametrize(
    ("unreadable", "expected"),
    [(("a",), "a may not be read"), (("a", "b", "c", "d", "e"), "a, b, c and 2 more may not be read")],
)
def test_what_cannot_be_read_is_named(unreadable: tuple[str, ...], expected: str) -> None:
    finding = of_directory(replace(TREE, unreadable=unreadable), "m")
    assert (finding.ok, finding.message) == (False, expected)


@pytest.mark.parametrize(
    ("writers", "has_remedy"), [(Writer.ABSENT, False), (Writer.PRESENT, False), (Writer.UNKNOWN, True)]
)
def test_it_is_worth_knowing_when_writers_cannot_be_told(writers: Writer, has_remedy: bool) -> None:
    finding = of_writers(replace(TREE, writers=writers), "5 s", "m")
    assert finding is not None
    assert (finding.ok, bool(finding.remedy)) == (True, has_remedy)


def test_without_a_file_nothing_is_said_about_writers() -> None:
    assert of_writers(replace(TREE, writers=None), "5 s", "m") is None


def test_it_is_worth_knowing_when_changes_are_not_noticed_at_once() -> None:
    finding = of_file_system("nfs4 does not report changes made elsewhere", "600 s", "m")
    assert finding.ok
    assert finding.message == "nfs4 does not report changes made elsewhere: the whole tree is looked at every 600 s"
    assert finding.remedy
    assert not of_file_system(None, "600 s", "m").remedy


def test_too_few_watches_are_raised_by_the_command_that_is_named() -> None:
    finding = of_watches("the directory has 9 folders, the system allows 8 watches; raise it with: sysctl x=16", 9)
    assert finding.message == "the directory has 9 folders, the system allows 8 watches"
    assert (finding.ok, finding.remedy) == (False, "raise it with: sysctl x=16")
    assert of_watches(None, 9).ok


@pytest.mark.parametrize(
    ("free_bytes", "free_inodes", "ok"),
    [
        (HEADROOM_BYTES + 10, None, True),
        (HEADROOM_BYTES + 9, None, False),
        (HEADROOM_BYTES + 10, 1000, True),
        (HEADROOM_BYTES + 10, 999, False),
    ],
)
def test_a_disk_needs_room_for_what_comes_and_some_more(free_bytes: int, free_inodes: int | None, ok: bool) -> None:
    finding = of_room("the remote /r", free_bytes, free_inodes, 10, "m")
    assert (finding.ok, bool(finding.remedy)) == (ok, not ok)
    assert finding.message.startswith("the remote /r has ")


@pytest.mark.parametrize(("ahead_s", "ok"), [(0, True), (299, True), (-299, True), (301, False), (-301, False)])
def test_clocks_may_differ_by_some_minutes(ahead_s: float, ok: bool) -> None:
    finding = of_clock(ahead_s, "h", "m")
    assert finding.ok is ok
    if not ok:
        assert ("ahead of" if ahead_s > 0 else "behind") in finding.message


def test_a_switch_that_lfssync_does_not_follow_is_told() -> None:
    assert not of_certificates(True, "h", "m").remedy
    finding = of_certificates(False, "h", "m")
    assert finding.ok
    assert "http.sslVerify" in finding.message
    assert finding.remedy


@pytest.mark.parametrize(
    ("service", "sources", "ok", "remedy"),
    [
        (SERVICE, {"keyring"}, True, ""),
        (replace(SERVICE, has_bus=False), {"keyring"}, False, "dbus-user-session"),
        (replace(SERVICE, has_bus=False), {"git's credential helper"}, True, ""),
        (replace(SERVICE, lingers=False), {"keyring"}, True, "loginctl enable-linger me"),
        (SERVICE, {"LFSSYNC_TOKEN", "keyring"}, True, "lfssync login"),
    ],
)
def test_a_service_must_reach_the_keyring_that_has_the_login(
    service: Service, sources: set[str], ok: bool, remedy: str
) -> None:
    finding = of_service(service, sources, "me")
    assert finding is not None
    assert finding.ok is ok
    assert remedy in finding.remedy
    assert bool(remedy) == bool(finding.remedy)


def test_where_there_are_no_services_nothing_is_said_about_them() -> None:
    assert of_service(replace(SERVICE, has_manager=False, has_bus=False), {"keyring"}, "me") is None


def test_the_sources_of_logins_are_called_as_they_call_themselves() -> None:
    own, hub = own_variable({"LFSSYNC_TOKEN": "t"}), hub_variable({"HF_TOKEN": "t"})
    assert own is not None
    assert hub is not None
    assert {own.source, hub.source} <= SHELL
    assert SOURCE == KEYRING
