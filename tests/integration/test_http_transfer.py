"""The transfer over HTTP against a server that refuses, lies, loses answers and is cut off: what it makes of each."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lfssync.credentials import Credential
from lfssync.errors import AuthError, BlockedError, LfssyncError, RefusedError, TransientError
from lfssync.git.gitcommand import Git
from lfssync.hosts.api import basic
from lfssync.model import LfsObject, Mirror, Progress, silent
from lfssync.model import Plan as Planned
from lfssync.rules.remotes import parse_remote
from lfssync.transfer import Source
from lfssync.transfer.api import Api
from lfssync.transfer.body import Throttle
from lfssync.transfer.endpoint import Endpoint
from lfssync.transfer.http import FRESH_S, TRUSTED_S, HttpTransfer, open_http
from lfssync.transfer.logins import WANTED_FILE, Login
from lfssync.transfer.uploaders import Basic, answer_timeout_s
from lfssync.web.client import Client
from tests.contract.lfsserver import Asked, LfsServer, Reply, serving
from tests.helpers import make_bare, random_bytes, write
from tests.servers.wires import Direction, End, Fault, Plan, Wire, all_well, first, wire

TRIES = 6
BATCH, PUT, VERIFY, GET = ("POST", "/batch"), ("PUT", "/objects/"), ("POST", "/verify/"), ("GET", "/objects/")


class Impatient(threading.Event):
    """Pauses without pausing, and knows how long they would have been."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.pauses.append(timeout or 0.0)
        return self.is_set()


class Keys:
    """Knows some logins, and gives the next when one is refused."""

    def __init__(self, *secrets: str) -> None:
        self.left = [Credential("me", secret) for secret in secrets]
        self.asked: list[str] = []
        self.refusals: list[str] = []

    def find(self, url: str) -> Credential | None:
        self.asked.append(url)
        return self.left[0] if self.left else None

    def refused(self, url: str, credential: Credential) -> None:
        self.refusals.append(credential.secret)
        self.left.remove(credential)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LfsServer]:
    with serving(tmp_path / "served", is_verifying=True) as there:
        yield there


@pytest.fixture
def stop() -> Impatient:
    return Impatient()


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def opened(tmp_path: Path, stop: threading.Event, keys: Keys) -> Iterator[Callable[..., HttpTransfer]]:
    """Opens a transfer, as each pass does."""
    git_dir = make_bare(tmp_path / "mirror.git")

    with ExitStack() as transfers:

        def open_one(server: LfsServer, stop: threading.Event = stop, **settings: Any) -> HttpTransfer:
            url = f"{server.address}/me/model.git"
            mirror = Mirror("model", tmp_path, url, **settings)
            made = open_http(mirror, parse_remote(url, tmp_path), Git(git_dir, None, stop, keys))
            transfers.callback(made.close)
            return made

        yield open_one


@pytest.fixture
def transfer(server: LfsServer, opened: Callable[..., HttpTransfer]) -> HttpTransfer:
    return opened(server)


Lay = Callable[..., Source]


@pytest.fixture
def lay(tmp_path: Path) -> Iterator[Lay]:
    """Lays content into a file and opens it, as staging does."""
    with ExitStack() as files:

        def one(content: bytes, name: str = "model.bin") -> Source:
            fd = os.open(write(tmp_path / "files" / name, content), os.O_RDONLY | os.O_CLOEXEC)
            files.callback(os.close, fd)
            return Source(LfsObject(hashlib.sha256(content).hexdigest(), len(content)), fd, name.encode())

        yield one


@pytest.fixture
def source(lay: Lay) -> Source:
    return lay(b"weights" * 1000)


def held(server: LfsServer) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in server.objects.rglob("*") if file.is_file()}


def whole(*sources: Source) -> dict[str, bytes]:
    return {one.lfs.oid: os.pread(one.fd, one.lfs.size_bytes, 0) for one in sources}


def answers(place: tuple[str, str], *replies: Reply | None, for_ever: bool = False) -> Callable[[Asked], Reply | None]:
    """Answers the next requests to a place with these, one after the other; then, or for ever, with the last."""
    left = list(replies)

    def interfere(asked: Asked) -> Reply | None:
        if asked.method != place[0] or place[1] not in asked.path or not left:
            return None
        return left[0] if for_ever and len(left) == 1 else left.pop(0)

    return interfere


def rows(asked: Asked, **fields: Any) -> Reply:
    """A reply that says the same about each object that was asked about."""
    objects = [{"oid": one["oid"], "size": one["size"], **fields} for one in asked.document["objects"]]
    return Reply(200, {"transfer": "basic", "objects": objects})


# ---- every status (fault 31)

NO, LATER, LOGIN, STRANGE = RefusedError, TransientError, AuthError, LfssyncError


class Meaning(NamedTuple):
    """What a status means: the kind of error, how often it is tried, and words of the remedy."""

    status: int
    kind: type[LfssyncError]
    tries: int
    remedy: str


MEANINGS = [
    Meaning(400, STRANGE, 1, "ask who runs the server"),
    Meaning(401, LOGIN, 1, "lfssync login"),
    Meaning(403, LOGIN, 1, "may write there"),
    Meaning(404, NO, 1, "LFS switched on"),
    Meaning(406, STRANGE, 1, "ask who runs the server"),
    Meaning(407, LOGIN, 1, "http.proxy"),
    Meaning(408, LATER, TRIES, "tried again"),
    Meaning(409, NO, 1, "what the server says"),
    Meaning(410, NO, 1, "took it away"),
    Meaning(413, NO, 1, "leave it out"),
    Meaning(415, STRANGE, 1, "ask who runs the server"),
    Meaning(422, NO, 1, "what the server says"),
    Meaning(423, NO, 1, "locked"),
    Meaning(429, LATER, TRIES, "tried again"),
    Meaning(500, LATER, TRIES, "tried again"),
    Meaning(501, STRANGE, 1, "ask who runs the server"),
    Meaning(502, LATER, TRIES, "tried again"),
    Meaning(503, LATER, TRIES, "tried again"),
    Meaning(504, LATER, TRIES, "tried again"),
    Meaning(507, NO, 1, "quota"),
    Meaning(509, NO, 1, "quota"),
]
by_status = pytest.mark.parametrize("means", MEANINGS, ids=lambda means: str(means.status))

# a link that says 401 or 403 is mostly too old: it is asked for a new one twice
LINK_TRIES = {401: 3, 403: 3, 407: 3}


@by_status
def test_a_status_of_a_batch(
    means: Meaning, server: LfsServer, transfer: HttpTransfer, source: Source, stop: Impatient
) -> None:
    server.interfere = answers(BATCH, Reply(means.status, {"message": "so\x1b it is"}), for_ever=True)
    with pytest.raises(means.kind) as raised:
        transfer.missing([source.lfs])
    assert raised.type is means.kind
    assert server.count(*BATCH) == means.tries
    assert len(stop.pauses) == means.tries - 1
    assert f"HTTP {means.status} (so\\x1b it is)" in raised.value.message
    assert server.address in raised.value.message
    assert means.remedy in raised.value.remedy


@by_status
def test_a_status_of_an_upload(means: Meaning, server: LfsServer, transfer: HttpTransfer, source: Source) -> None:
    server.interfere = answers(PUT, Reply(means.status, {"message": "no"}), for_ever=True)
    with pytest.raises(means.kind) as raised:
        transfer.upload([source], silent)
    assert issubclass(raised.type, means.kind)
    assert server.count(*PUT) == server.count(*BATCH) == LINK_TRIES.get(means.status, means.tries)
    assert f"HTTP {means.status} (no)" in raised.value.message
    assert f"does not take the LFS object {source.lfs.oid} (model.bin)" in raised.value.message
    assert means.remedy in raised.value.remedy
    assert held(server) == {}


@by_status
def test_a_status_of_a_download(
    means: Meaning, server: LfsServer, transfer: HttpTransfer, source: Source, tmp_path: Path
) -> None:
    transfer.upload([source], silent)
    server.interfere = answers(GET, Reply(means.status, {"message": "no"}), for_ever=True)
    with pytest.raises(means.kind) as raised:
        transfer.download(source.lfs, tmp_path / "back", silent)
    assert server.count(*GET) == LINK_TRIES.get(means.status, means.tries)
    assert f"does not give the LFS object {source.lfs.oid} (back): HTTP {means.status} (no)" in raised.value.message
    assert means.remedy in raised.value.remedy
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("status", [404, 409, 422])
def test_an_object_that_the_server_then_does_not_have_is_sent_once_more(
    status: int, server: LfsServer, transfer: HttpTransfer, source: Source
) -> None:
    server.forgets = True
    server.interfere = answers(VERIFY, Reply(status, {"message": "what object?"}), for_ever=True)
    with pytest.raises(RefusedError, match=rf"took the LFS object {source.lfs.oid} .*HTTP {status} \(what object\?\)"):
        transfer.upload([source], silent)
    assert (server.count(*PUT), server.count(*VERIFY), server.count(*BATCH)) == (2, 2, 2)


def test_an_object_that_is_there_after_it_was_sent_once_more(
    server: LfsServer, transfer: HttpTransfer, source: Source
) -> None:
    def loses_the_first(asked: Asked) -> Reply | None:
        if asked.method == "POST" and "/verify/" in asked.path and server.count(*VERIFY) == 1:
            server.file(source.lfs.oid).unlink()
        return None

    server.interfere = loses_the_first
    transfer.upload([source], silent)
    assert (server.count(*PUT), server.count(*VERIFY)) == (2, 2)
    assert held(server) == whole(source)


def test_a_server_that_says_no_and_then_that_it_has_the_object_has_to_give_it(
    server: LfsServer, transfer: HttpTransfer, source: Source
) -> None:
    server.interfere = answers(VERIFY, Reply(422))
    transfer.upload([source], silent)
    asked = [one.document["operation"] for one in server.asked if "operation" in one.document]
    assert asked == ["upload", "upload", "download"]
    assert server.count(*PUT) == 1


def test_a_verification_is_asked_for_again_without_sending_again(
    server: LfsServer, transfer: HttpTransfer, source: Source
) -> None:
    server.interfere = answers(VERIFY, Reply(500), Reply(500))
    transfer.upload([source], silent)
    assert (server.count(*PUT), server.count(*VERIFY)) == (1, 3)


def test_what_is_sent_to_verify(server: LfsServer, transfer: HttpTransfer, source: Source) -> None:
    server.link = {"header": {"X-Signed": "yes", "accept": "text/plain"}}
    transfer.upload([source], silent)
    asked = next(one for one in server.asked if "/verify/" in one.path)
    assert asked.document == {"oid": source.lfs.oid, "size": source.lfs.size_bytes}
    assert (asked.headers["X-Signed"], asked.headers["accept"]) == ("yes", "text/plain")
    assert asked.headers["Content-Type"] == "application/vnd.git-lfs+json"
    put = next(one for one in server.asked if one.method == "PUT")
    assert put.headers["Content-Type"] == "application/octet-stream"
    assert put.headers["Content-Length"] == str(source.lfs.size_bytes)
    assert "Transfer-Encoding" not in put.headers


# ---- how long to wait


@pytest.mark.parametrize(
    "wish",
    [
        (lambda: {"Retry-After": "7"}, 7.0),
        (lambda: {"Retry-After": formatdate(time.time() + 30, usegmt=True)}, 30.0),
        (lambda: {"RateLimit": '"api";r=0;t=2'}, 3.0),
    ],
)
@pytest.mark.parametrize("place", [BATCH, PUT, VERIFY])
def test_the_servers_wish_is_respected(
    wish: tuple[Callable[[], dict[str, str]], float], place: tuple[str, str],
    server: LfsServer, transfer: HttpTransfer, source: Source, stop: Impatient,
) -> None:  # fmt: skip
    headers, expected = wish
    server.interfere = answers(place, Reply(429, {}, headers()))
    transfer.upload([source], silent)
    (pause,) = stop.pauses
    assert expected - 1.5 <= pause <= expected + 0.6
    assert held(server) == whole(source)


def test_who_asks_for_more_than_a_minute_is_left_for_later(
    server: LfsServer, transfer: HttpTransfer, source: Source, stop: Impatient
) -> None:
    server.interfere = answers(BATCH, Reply(429, {}, {"Retry-After": "3600"}), for_ever=True)
    with pytest.raises(TransientError) as raised:
        transfer.missing([source.lfs])
    assert raised.value.retry_after_s == 3600.0
    assert (server.count(*BATCH), stop.pauses) == (1, [])


def test_without_a_wish_the_pauses_grow_and_are_random(
    server: LfsServer, transfer: HttpTransfer, source: Source, stop: Impatient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.random", lambda: 1.0)
    server.interfere = answers(PUT, Reply(503), for_ever=True)
    with pytest.raises(TransientError):
        transfer.upload([source], silent)
    assert stop.pauses == [0.5, 1.0, 2.0, 4.0, 8.0]


# ---- replies that are none, and servers that lie (faults 31, 32)


@pytest.mark.parametrize("content", [b"<html>sign in</html>", b"", b'{"objects": [{"oid": "'])
def test_what_is_no_json_is_asked_for_again(
    content: bytes, server: LfsServer, transfer: HttpTransfer, source: Source
) -> None:
    server.interfere = answers(BATCH, Reply(200, content, {"Content-Type": "text/html"}), None)
    assert transfer.missing([source.lfs]) == [source.lfs]
    server.interfere = answers(BATCH, Reply(200, content), for_ever=True)
    with pytest.raises(TransientError, match="no JSON"):
        transfer.missing([source.lfs])


def test_a_reply_about_something_else(server: LfsServer, transfer: HttpTransfer, source: Source) -> None:
    server.interfere = answers(BATCH, Reply(200, {"objects": []}), for_ever=True)
    with pytest.raises(LfssyncError, match="does not answer about the object"):
        transfer.missing([source.lfs])
    assert server.count(*BATCH) == 1


def test_a_server_that_claims_to_have_everything_is_found_out(
    server: LfsServer, transfer: HttpTransfer, source: Source
) -> None:
    """There is no way to know before the confirmation, which asks for a link to the object."""
    server.interfere = lambda asked: rows(asked) if asked.document.get("operation") == "upload" else None
    assert transfer.missing([source.lfs]) == []
    assert transfer.upload([source], silent).sent_bytes == 0
    with pytest.raises(TransientError, match=f"does not hold the LFS object {source.lfs.oid}"):
        transfer.confirm([source.lfs])
    server.interfere = lambda asked: rows(asked) if asked.method == "POST" else None
    with pytest.raises(TransientError, match="does not hold"):
        transfer.confirm([source.lfs])


def test_a_server_that_forgets_what_it_took_is_found_out(
    server: LfsServer, transfer: HttpTransfer, source: Source
) -> None:
    server.is_verifying, server.forgets = False, True
    transfer.upload([source], silent)
    with pytest.raises(TransientError, match="does not hold"):
        transfer.confirm([source.lfs])


def test_an_object_of_another_size_is_not_the_object(server: LfsServer, transfer: HttpTransfer, source: Source) -> None:
    transfer.upload([source], silent)
    link = {"download": {"href": f"{server.address}/objects/1"}}
    server.interfere = lambda asked: rows(asked, size=1, actions=link) if asked.document else None
    with pytest.raises(TransientError, match="does not hold"):
        transfer.confirm([source.lfs])
    with pytest.raises(LfssyncError, match="another size"):
        transfer.upload([source], silent)


@pytest.mark.parametrize("status", [404, 422])
def test_giftless_refuses_the_whole_batch_when_it_has_none(
    status: int, server: LfsServer, transfer: HttpTransfer, source: Source, tmp_path: Path
) -> None:
    server.interfere = answers(BATCH, Reply(status), for_ever=True)
    with pytest.raises(TransientError, match=source.lfs.oid):
        transfer.confirm([source.lfs])
    with pytest.raises(LfssyncError, match=source.lfs.oid) as raised:
        transfer.download(source.lfs, tmp_path / "back", silent)
    assert "still has the file" in raised.value.remedy


def test_a_kind_of_upload_that_nobody_knows(server: LfsServer, transfer: HttpTransfer, source: Source) -> None:
    server.interfere = answers(BATCH, Reply(200, {"transfer": "tus", "objects": []}), for_ever=True)
    with pytest.raises(LfssyncError, match="which was not offered"):
        transfer.upload([source], silent)


# ---- one object's trouble is not the others'


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        *((code, RefusedError) for code in (404, 410, 413, 422, 507)),
        *((code, LfssyncError) for code in (0, 400)),
        (403, AuthError),
    ],
)
def test_an_object_that_is_refused_does_not_stop_the_others(
    code: int, kind: type[LfssyncError], server: LfsServer, transfer: HttpTransfer, lay: Lay
) -> None:
    sources = [lay(b"object %d" % number * 100, f"{number}.bin") for number in range(9)]
    bad = sources[4].lfs.oid

    def refuses_one(asked: Asked) -> Reply | None:
        if asked.document.get("operation") != "upload":
            return None
        found = []
        for one in asked.document["objects"]:
            link = {"upload": {"href": f"{server.address}/objects/{one['oid']}"}}
            error = {"error": {"code": code, "message": "not this one"}}
            found.append({**one, **(error if one["oid"] == bad else {"actions": link})})
        return Reply(200, {"objects": found})

    server.interfere = refuses_one
    with pytest.raises(kind, match=rf"{bad} \(4.bin\).*not this one"):
        transfer.upload(sources, silent)
    if code != 403:
        assert held(server) == whole(*sources[:4], *sources[5:])


def test_an_object_that_only_this_minute_does_not_go_does_not_stop_the_others(
    server: LfsServer, transfer: HttpTransfer, lay: Lay
) -> None:
    sources = [lay(b"object %d" % number, f"{number}.bin") for number in range(9)]
    server.interfere = lambda asked: (
        Reply(500) if asked.method == "PUT" and asked.path.endswith(sources[0].lfs.oid) else None
    )
    with pytest.raises(TransientError, match=r"\(0.bin\)"):
        transfer.upload(sources, silent)
    assert held(server) == whole(*sources[1:])


def test_a_server_that_takes_nothing_is_not_asked_for_each_object(
    server: LfsServer, transfer: HttpTransfer, lay: Lay
) -> None:
    sources = [lay(b"object %d" % number, f"{number}.bin") for number in range(40)]
    server.interfere = answers(PUT, Reply(500), for_ever=True)
    with pytest.raises(TransientError):
        transfer.upload(sources, silent)
    assert server.count(*PUT) <= 6 * TRIES, "four at first, and two more when two of them are given up"


def test_what_a_person_has_to_know_first_is_said(server: LfsServer, transfer: HttpTransfer, lay: Lay) -> None:
    sources = [lay(b"object %d" % number * (number + 1), f"{number}.bin") for number in range(3)]
    replies = {sources[0].lfs.oid: 500, sources[1].lfs.oid: 413, sources[2].lfs.oid: 418}
    server.interfere = lambda asked: Reply(replies[asked.path.rpartition("/")[2]]) if asked.method == "PUT" else None
    with pytest.raises(RefusedError, match=r"1.bin.*HTTP 413.* \(and 2 more\)"):
        transfer.upload(sources, silent)


# ---- logins (faults 38, 39)


def _wants(secret: str) -> Callable[[Asked], Reply | None]:
    """A door at the API, as a host has it; the links are open."""
    right = "Basic " + base64.b64encode(f"me:{secret}".encode()).decode()
    return lambda asked: (
        Reply(401, {"message": "who are you?"})
        if asked.path.endswith("/batch") and asked.headers.get("Authorization") != right
        else None
    )


def _logins(server: LfsServer) -> list[tuple[bool, str]]:
    """Which requests came with a login, in order."""
    return [("Authorization" in one.headers, one.path.rpartition("/")[2]) for one in server.asked]


def test_a_login_is_sent_to_who_wants_it_and_to_the_api_alone(
    server: LfsServer, opened: Callable[..., HttpTransfer], source: Source, keys: Keys
) -> None:
    keys.left = [Credential("me", "secret")]
    server.interfere = _wants("secret")
    transfer, oid = opened(server), source.lfs.oid
    transfer.missing([source.lfs])
    transfer.upload([source], silent)
    transfer.confirm([source.lfs])
    assert _logins(server) == [(False, "batch"), (True, "batch"), (False, oid), (False, oid), (True, "batch")]
    assert keys.asked == [f"{server.address}/me/model.git/info/lfs"]
    server.asked.clear()
    opened(server).confirm([source.lfs])
    assert _logins(server) == [(True, "batch")], "the next pass knows"


def test_a_server_that_wants_no_login_is_shown_none(
    server: LfsServer, opened: Callable[..., HttpTransfer], source: Source, keys: Keys
) -> None:
    """A keyring takes its time, and may have a question."""
    keys.left = [Credential("me", "secret")]
    for _ in range(2):
        transfer = opened(server)
        transfer.upload([source], silent)
        transfer.confirm([source.lfs])
    assert held(server) == whole(source)
    assert not any(there for there, _ in _logins(server))
    assert keys.asked == []


@pytest.mark.parametrize("status", [401, 403, 404, 429])
@pytest.mark.parametrize("is_of_one", [False, True])
def test_what_is_hidden_from_strangers_is_asked_for_with_a_login(
    status: int, is_of_one: bool, server: LfsServer, opened: Callable[..., HttpTransfer], source: Source, keys: Keys
) -> None:
    """The host says it of the repository, or of each object."""
    keys.left = [Credential("me", "secret")]

    def hide(asked: Asked) -> Reply | None:
        if "Authorization" in asked.headers or not asked.path.endswith("/batch"):
            return None
        row = {"oid": source.lfs.oid, "size": source.lfs.size_bytes, "error": {"code": status, "message": "no"}}
        return Reply(200, {"objects": [row]}) if is_of_one else Reply(status)

    server.interfere = hide
    opened(server).upload([source], silent)
    assert held(server) == whole(source)
    assert keys.refusals == []
    server.asked.clear()
    opened(server).confirm([source.lfs])
    assert _logins(server) == [(True, "batch")]


@pytest.mark.parametrize("status", [403, 404])
def test_a_login_that_makes_no_difference_is_not_taken_for_wanted(
    status: int, server: LfsServer, opened: Callable[..., HttpTransfer], source: Source, keys: Keys
) -> None:
    keys.left = [Credential("me", "secret")]
    server.interfere = answers(BATCH, Reply(status), for_ever=True)
    with pytest.raises(LfssyncError, match=str(status)):
        opened(server).missing([source.lfs])
    assert [there for there, _ in _logins(server)] == [False, True]
    server.interfere = answers(BATCH)
    server.asked.clear()
    opened(server).missing([source.lfs])
    assert [there for there, _ in _logins(server)] == [False]


def test_where_it_cannot_be_noted_the_next_pass_asks_again(
    server: LfsServer, opened: Callable[..., HttpTransfer], source: Source, keys: Keys, tmp_path: Path
) -> None:
    keys.left = [Credential("me", "secret")]
    server.interfere = _wants("secret")
    (tmp_path / "mirror.git" / WANTED_FILE).mkdir(parents=True)
    for _ in range(2):
        assert opened(server).missing([source.lfs]) == [source.lfs]
    assert [there for there, _ in _logins(server)] == [False, True] * 2


def test_a_refused_login_is_noted_and_the_next_one_tried(
    server: LfsServer, transfer: HttpTransfer, source: Source, keys: Keys
) -> None:
    keys.left = [Credential("me", "old"), Credential("me", "right")]
    server.interfere = _wants("right")
    assert transfer.missing([source.lfs]) == [source.lfs]
    assert keys.refusals == ["old"]
    assert server.count(*BATCH) == 1 + 2


def test_no_more_than_two_logins_are_tried(
    server: LfsServer, transfer: HttpTransfer, source: Source, keys: Keys
) -> None:
    keys.left = [Credential("me", "1"), Credential("me", "2"), Credential("me", "3")]
    server.interfere = _wants("4")
    with pytest.raises(AuthError, match=r"who are you\?"):
        transfer.missing([source.lfs])
    assert keys.refusals == ["1", "2"]
    assert server.count(*BATCH) == 1 + 2


def test_a_login_that_is_revoked_meanwhile_is_one_error_and_no_storm(
    server: LfsServer, transfer: HttpTransfer, lay: Lay, keys: Keys
) -> None:
    keys.left = [Credential("me", "secret")]
    server.interfere = _wants("secret")
    sources = [lay(b"object %d" % number, f"{number}.bin") for number in range(40)]
    transfer.missing([one.lfs for one in sources])
    server.asked.clear()
    server.interfere = lambda asked: Reply(403) if asked.method == "PUT" else _wants("another")(asked)
    with pytest.raises(AuthError, match="who are you"):
        transfer.upload(sources, silent)
    assert keys.refusals == ["secret"]
    assert server.count(*BATCH) <= 8
    assert server.count(*PUT) <= 8


def test_a_link_to_the_same_host_gets_the_login_where_it_needs_one(
    server: LfsServer, transfer: HttpTransfer, lay: Lay, keys: Keys
) -> None:
    """As the Hub's `verify`: it is said that nothing more is needed, and then it is."""
    keys.left = [Credential("me", "secret")]
    sources = [lay(b"object %d" % number, f"{number}.bin") for number in range(3)]
    server.interfere = lambda asked: (
        Reply(401) if "/verify/" in asked.path and "Authorization" not in asked.headers else None
    )
    for one in sources:
        transfer.upload([one], silent)
    assert held(server) == whole(*sources)
    assert server.count(*VERIFY) == 4, "once it was needed, it is sent at once"


def test_an_upload_that_needs_the_login_after_all_is_sent_from_its_start(
    server: LfsServer, transfer: HttpTransfer, lay: Lay, keys: Keys
) -> None:
    keys.left = [Credential("me", "secret")]
    one = lay(random_bytes(1, 3_000_000))
    server.interfere = lambda asked: (
        Reply(401) if asked.method == "PUT" and "Authorization" not in asked.headers else None
    )
    transfer.upload([one], silent)
    assert (server.count(*PUT), server.count(*BATCH)) == (2, 1)
    assert held(server) == whole(one)


def test_a_login_that_two_found_refused_is_noted_once(server: LfsServer, transfer: HttpTransfer, keys: Keys) -> None:
    keys.left = [Credential("me", "old"), Credential("me", "right"), Credential("me", "another")]
    door, both = _wants("right"), threading.Barrier(2)

    def refuse(asked: Asked) -> Reply | None:
        if reply := door(asked):
            both.wait(10)
        return reply

    server.interfere = refuse
    transfer.missing([LfsObject(f"{number:064x}", 1) for number in range(200)])
    assert keys.refusals == ["old"]
    assert server.count(*BATCH) == 2 + 4


def test_a_link_with_a_login_of_its_own_gets_no_other(
    server: LfsServer, transfer: HttpTransfer, source: Source, keys: Keys
) -> None:
    keys.left = [Credential("me", "secret")]
    server.link = {"header": {"authorization": "Bearer of-the-link"}}
    server.interfere = answers(PUT, Reply(401))
    transfer.upload([source], silent)
    puts = [one.headers["authorization"] for one in server.asked if one.method == "PUT"]
    assert puts == ["Bearer of-the-link"] * 2
    assert keys.refusals == []


def test_a_link_to_another_host_never_gets_the_login(
    server: LfsServer, transfer: HttpTransfer, source: Source, keys: Keys, tmp_path: Path
) -> None:
    keys.left = [Credential("me", "secret")]
    with serving(tmp_path / "storage") as storage:
        link = {"upload": {"href": f"{storage.address}/objects/{source.lfs.oid}"}}
        server.interfere = lambda asked: rows(asked, actions=link) if asked.document else None
        storage.interfere = answers(PUT, Reply(401), Reply(403))
        transfer.upload([source], silent)
        assert held(storage) == whole(source)
        assert [one for one in storage.asked if "Authorization" in one.headers] == []
    assert keys.refusals == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirected_upload_keeps_its_body_and_not_its_login(
    status: int, server: LfsServer, transfer: HttpTransfer, source: Source, tmp_path: Path
) -> None:
    server.link = {"header": {"Authorization": "Bearer of-the-link", "X-Signed": "yes"}}
    with serving(tmp_path / "storage") as storage:
        target = f"{storage.address}/objects/{source.lfs.oid}"
        server.interfere = answers(PUT, Reply(status, {}, {"Location": target}))
        server.is_verifying = False
        transfer.upload([source], silent)
        assert held(storage) == whole(source)
        (put,) = storage.asked
    assert "Authorization" not in put.headers
    assert put.headers["X-Signed"] == "yes"


def test_a_redirect_that_makes_a_get_of_an_upload_is_no_upload(
    server: LfsServer, transfer: HttpTransfer, source: Source
) -> None:
    """303 in a PUT's answer says that the result is elsewhere; so the server is asked whether it has the object."""
    server.is_verifying = False
    server.interfere = answers(PUT, Reply(303, {}, {"Location": f"{server.address}/objects/{source.lfs.oid}"}))
    with pytest.raises(RefusedError, match="HTTP 404"):
        transfer.upload([source], silent)
    assert held(server) == {}


def test_links_in_clear_to_elsewhere_are_refused(server: LfsServer, transfer: HttpTransfer, source: Source) -> None:
    link = {"upload": {"href": "http://storage.example.org/1"}}
    server.interfere = lambda asked: rows(asked, actions=link) if asked.document else None
    with pytest.raises(BlockedError, match=r"storage\.example\.org may not be talked to in clear"):
        transfer.upload([source], silent)


# ---- links that end


@pytest.mark.parametrize("link", [{"expires_in": 5}, {"expires_at": "2020-01-01T00:00:00Z"}, {"expires_in": -5}])
def test_a_link_that_is_too_old_is_not_used(
    link: dict[str, Any], server: LfsServer, transfer: HttpTransfer, source: Source
) -> None:
    """One that comes from a batch of a moment ago is, whatever the clocks say about it."""
    server.link = link
    assert transfer.missing([source.lfs]) == [source.lfs]
    transfer.upload([source], silent)
    assert held(server) == whole(source)
    assert 2 <= server.count(*BATCH) <= 3


@pytest.mark.parametrize("link", [{}, {"expires_in": 900}, {"expires_at": "0001-01-01T00:00:00Z"}])
def test_a_good_link_is_used(link: dict[str, Any], server: LfsServer, transfer: HttpTransfer, source: Source) -> None:
    server.link = link
    transfer.missing([source.lfs])
    transfer.upload([source], silent)
    assert server.count(*BATCH) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_link_that_has_ended_is_replaced(
    status: int, server: LfsServer, transfer: HttpTransfer, source: Source
) -> None:
    server.interfere = answers(PUT, Reply(status), Reply(status))
    transfer.upload([source], silent)
    assert held(server) == whole(source)
    assert (server.count(*PUT), server.count(*BATCH)) == (3, 3)


# ---- few requests, and large questions


def test_few_requests(server: LfsServer, transfer: HttpTransfer, lay: Lay) -> None:
    server.is_verifying = False
    sources = [lay(b"object %d" % number, f"{number}.bin") for number in range(60)]
    objects = [one.lfs for one in sources]
    assert transfer.missing(objects) == objects
    transfer.upload(sources, silent)
    transfer.confirm(objects)
    assert (server.count(*BATCH), server.count(*PUT)) == (2, 60)
    assert held(server) == whole(*sources)


def test_a_question_that_is_too_large_is_asked_in_halves(server: LfsServer, transfer: HttpTransfer) -> None:
    objects = [LfsObject(f"{number:064x}", number + 1) for number in range(90)]
    server.interfere = lambda asked: Reply(413) if len(asked.document.get("objects", ())) > 10 else None
    assert transfer.missing(objects) == objects
    asked = [one.document["objects"] for one in server.asked]
    assert [one["size"] for one in asked[0]] == sorted(range(1, 91), reverse=True)
    assert sum(len(one) for one in asked if len(one) <= 10) == 90


def test_the_branch_and_the_transfers_are_named(server: LfsServer, opened: Callable[..., HttpTransfer]) -> None:
    opened(server, branch="run/1").missing([LfsObject("1" * 64, 1)])
    assert server.refs == ["refs/heads/run/1"]
    asked = server.asked[0]
    assert "basic" in asked.document["transfers"]
    assert "xet" not in asked.document["transfers"]
    assert asked.headers["Accept"] == "application/vnd.git-lfs+json"
    assert asked.headers["Content-Type"].startswith("application/vnd.git-lfs+json")


def test_no_objects_are_no_requests(server: LfsServer, transfer: HttpTransfer) -> None:
    assert transfer.missing([]) == []
    transfer.confirm([])
    assert transfer.upload([], silent).sent_bytes == 0
    assert server.asked == []


def test_evidence_is_about_the_address(server: LfsServer, opened: Callable[..., HttpTransfer]) -> None:
    one, other = opened(server), opened(server, lfs_url="https://lfs.example.org/me/model")
    assert one.endpoint == f"lfs {server.address}/me/model.git"
    assert other.endpoint == "lfs https://lfs.example.org/me/model"


# ---- files that change meanwhile (fault 21)


@pytest.mark.parametrize("at", [0, 5_000_000, -1])
def test_an_overwrite_in_place_never_completes_a_wrong_object(
    at: int, server: LfsServer, opened: Callable[..., HttpTransfer], lay: Lay, tmp_path: Path
) -> None:
    server.is_checking = server.is_verifying = False
    content = bytearray(random_bytes(1, 10_000_000))
    one = lay(bytes(content))

    def overwrite(event: Planned | Progress) -> None:
        assert isinstance(event, Progress)
        if event.done_bytes > 3_000_000:
            with (tmp_path / "files" / "model.bin").open("r+b") as file:
                file.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
                file.write(b"\0\1\2"[: 1 if at < 0 else 3])

    done = opened(server).upload([one], overwrite)
    if at == 0:  # what was sent before is still the object
        assert (done.changed, held(server)) == ((), {one.lfs.oid: bytes(content)})
    else:
        assert (done.changed, held(server)) == ((one.lfs,), {})


def test_a_file_that_is_overwritten_all_the_time(
    server: LfsServer, opened: Callable[..., HttpTransfer], lay: Lay, tmp_path: Path
) -> None:
    server.is_checking = server.is_verifying = False
    content = random_bytes(2, 4_000_000)
    one = lay(content)
    ended = threading.Event()

    def overwrite() -> None:
        with (tmp_path / "files" / "model.bin").open("r+b", buffering=0) as file:
            for at in range(0, 10**9, 777_777):
                if ended.is_set():
                    return
                file.seek(at % 4_000_000)
                file.write(b"x")
                file.seek(at % 4_000_000)
                file.write(content[at % 4_000_000 :][:1])

    writer = threading.Thread(target=overwrite)
    writer.start()
    try:
        for _ in range(10):
            opened(server).upload([one], silent)
            assert held(server) in ({}, {one.lfs.oid: content})
    finally:
        ended.set()
        writer.join()


# ---- connections that break (faults 30, 33)


@contextmanager
def breaking(server: LfsServer, plan: Plan) -> Iterator[Wire]:
    """Has the server's links, and nothing else, lead over a wire that breaks."""
    with wire(server.address) as laid:
        laid.plan, server.links_at = plan, laid.url
        yield laid
    server.links_at = ""


@pytest.mark.parametrize("direction", Direction)
def test_an_upload_that_is_cut_anywhere_arrives_whole(
    direction: Direction, server: LfsServer, opened: Callable[..., HttpTransfer], lay: Lay
) -> None:
    server.is_checking = server.is_verifying = False
    one = lay(b"weights of a model" * 5)
    transfer = opened(server)
    with breaking(server, all_well) as laid:
        transfer.upload([one], silent)
        for after in range(laid.passed[direction] + 1):
            server.file(one.lfs.oid).unlink()
            laid.plan, laid.connections = first(1, Fault(direction, after, End.CUT if after % 2 else End.RESET)), 0
            transfer.close()
            assert transfer.upload([one], silent).changed == ()
            assert held(server) == whole(one)
        transfer.close()


@pytest.mark.parametrize("after", [0, 100, 300, 1000, 1_000_000])
def test_an_upload_that_always_breaks_leaves_nothing_wrong(
    after: int, server: LfsServer, opened: Callable[..., HttpTransfer], lay: Lay, stop: Impatient
) -> None:
    server.is_checking = server.is_verifying = False
    one = lay(random_bytes(1, 3_000_000))
    transfer = opened(server)
    with breaking(server, lambda _: Fault(Direction.UP, after, End.RESET)), pytest.raises(TransientError):
        transfer.upload([one], silent)
    assert held(server) == {}
    assert len(stop.pauses) == TRIES - 1


def test_an_answer_that_is_lost_is_asked_for_before_anything_is_sent_again(
    server: LfsServer, opened: Callable[..., HttpTransfer], source: Source
) -> None:
    server.is_verifying = False
    with breaking(server, first(1, Fault(Direction.DOWN, 1, End.CUT))):
        assert opened(server).upload([source], silent).sent_bytes == source.lfs.size_bytes
    assert (server.count(*PUT), server.count(*BATCH)) == (1, 3)
    assert held(server) == whole(source)


def test_progress_never_goes_back(server: LfsServer, opened: Callable[..., HttpTransfer], lay: Lay) -> None:
    one = lay(random_bytes(1, 10_000_000))
    told: list[int] = []

    def monitor(event: Planned | Progress) -> None:
        assert isinstance(event, Progress)
        told.append(event.done_bytes)

    with breaking(server, first(2, Fault(Direction.UP, 6_000_000, End.CUT))):
        opened(server).upload([one], monitor)
    assert told == sorted(set(told))
    assert told[-1] == one.lfs.size_bytes
    assert [done for done in told[:-1] if done >= one.lfs.size_bytes] == []


def test_an_object_is_whole_in_the_progress_only_when_it_is_there(
    server: LfsServer, transfer: HttpTransfer, source: Source
) -> None:
    told: list[int] = []

    def monitor(event: Planned | Progress) -> None:
        assert isinstance(event, Progress)
        told.append(event.done_bytes)

    server.interfere = answers(PUT, Reply(507))
    with pytest.raises(RefusedError):
        transfer.upload([source], monitor)
    assert max(told) == source.lfs.size_bytes - 1


def test_a_monitor_that_stops_is_not_tried_again(
    server: LfsServer, transfer: HttpTransfer, source: Source, stop: Impatient, tmp_path: Path
) -> None:
    def monitor(_: Planned | Progress) -> None:
        raise TransientError("stopped")

    with pytest.raises(TransientError, match="stopped"):
        transfer.upload([source], monitor)
    assert held(server) == {}
    transfer.upload([source], silent)
    with pytest.raises(TransientError, match="stopped"):
        transfer.download(source.lfs, tmp_path / "back", monitor)
    assert stop.pauses == []
    assert not (tmp_path / "back").exists()


# ---- downloads


@pytest.mark.parametrize("knows_ranges", [True, False])
@pytest.mark.parametrize("step", [500_000, 4_000_000])
def test_a_download_goes_on_where_it_broke(
    knows_ranges: bool, step: int, server: LfsServer, opened: Callable[..., HttpTransfer], lay: Lay, tmp_path: Path
) -> None:
    content = random_bytes(1, 10_000_000)
    one = lay(content)
    opened(server).upload([one], silent)
    server.knows_ranges = knows_ranges
    with breaking(server, first(30 if knows_ranges else 3, Fault(Direction.DOWN, step, End.CUT))) as laid:
        opened(server).download(one.lfs, tmp_path / "back", silent)
        assert (tmp_path / "back").read_bytes() == content
        if knows_ranges:
            assert laid.passed[Direction.DOWN] < 1.4 * len(content)


def test_a_download_that_always_breaks_at_the_same_place_ends(
    server: LfsServer, opened: Callable[..., HttpTransfer], lay: Lay, tmp_path: Path
) -> None:
    one = lay(random_bytes(1, 10_000_000))
    opened(server).upload([one], silent)
    server.knows_ranges = False
    with breaking(server, lambda _: Fault(Direction.DOWN, 5_000_000, End.CUT)), pytest.raises(TransientError):
        opened(server).download(one.lfs, tmp_path / "back", silent)
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize(
    "reply",
    [
        Reply(416),
        Reply(206, b"something", {"Content-Range": "bytes 0-8/9"}),
        Reply(206, b"something", {"Content-Range": "nonsense"}),
        Reply(206, b"something"),
    ],
)
def test_a_download_that_cannot_go_on_is_begun_anew(
    reply: Reply, server: LfsServer, opened: Callable[..., HttpTransfer], lay: Lay, tmp_path: Path
) -> None:
    content = random_bytes(1, 5_000_000)
    one = lay(content)
    opened(server).upload([one], silent)
    server.interfere = lambda asked: reply if "Range" in asked.headers and server.count("GET") == 2 else None
    with breaking(server, first(1, Fault(Direction.DOWN, 3_000_000, End.CUT))):
        opened(server).download(one.lfs, tmp_path / "back", silent)
    assert (tmp_path / "back").read_bytes() == content


@pytest.mark.parametrize("there", [b"", b"weight", b"weights" * 1000 + b"!", b"Weights" + b"weights" * 999])
def test_what_is_not_the_object_is_not_kept(
    there: bytes, server: LfsServer, transfer: HttpTransfer, source: Source, tmp_path: Path
) -> None:
    transfer.upload([source], silent)
    server.interfere = lambda asked: Reply(200, there) if asked.method == "GET" and there else None
    if not there:
        server.interfere = answers(GET, Reply(200, b""), for_ever=True)
    with pytest.raises(LfssyncError, match=source.lfs.oid):
        transfer.download(source.lfs, tmp_path / "back", silent)
    assert not (tmp_path / "back").exists()


def test_more_than_the_object_is_not_waited_for(
    server: LfsServer, opened: Callable[..., HttpTransfer], source: Source, tmp_path: Path
) -> None:
    opened(server).upload([source], silent)
    server.interfere = answers(GET, Reply(200, bytes(100 << 20)))
    with breaking(server, all_well) as laid:
        transfer = opened(server)
        with pytest.raises(LfssyncError, match="is damaged"):
            transfer.download(source.lfs, tmp_path / "back", silent)
        transfer.close()
    assert laid.passed[Direction.DOWN] < 50 << 20


# ---- speed, stop, memory


def test_the_speed_is_limited_both_ways(
    server: LfsServer, opened: Callable[..., HttpTransfer], lay: Lay, tmp_path: Path
) -> None:
    sources = [lay(random_bytes(number, 100_000), f"{number}.bin") for number in range(5)]
    transfer = opened(server, stop=threading.Event(), rate_limit_bytes=1_000_000)
    began = time.monotonic()
    transfer.upload(sources, silent)
    assert 0.35 < time.monotonic() - began < 5
    began = time.monotonic()
    transfer.download(sources[0].lfs, tmp_path / "back", silent)
    transfer.download(sources[1].lfs, tmp_path / "more", silent)
    assert 0.1 < time.monotonic() - began < 5


@contextmanager
def stopping(stop: threading.Event, after_s: float = 0.4) -> Iterator[None]:
    """Tells it to stop in a moment, and sees to it that it ends within a second then."""
    timer = threading.Timer(after_s, stop.set)
    timer.start()
    began = time.monotonic()
    try:
        with pytest.raises(TransientError, match="stopped"):
            yield
        assert after_s - 0.1 < time.monotonic() - began < after_s + 1.0
    finally:
        timer.join()


@pytest.mark.parametrize("how", ["limited", "stalled"])
def test_a_stop_ends_an_upload_within_a_second(
    how: str, server: LfsServer, opened: Callable[..., HttpTransfer], lay: Lay
) -> None:
    one, stop = lay(random_bytes(1, 40_000_000)), threading.Event()
    transfer = opened(server, stop=stop, rate_limit_bytes=100_000 if how == "limited" else 0)
    stalls = Fault(Direction.UP, 2_000_000, End.STALL)
    with breaking(server, (lambda _: stalls) if how == "stalled" else all_well), stopping(stop):
        transfer.upload([one], silent)
    assert held(server) == {}


@pytest.mark.parametrize("what", ["missing", "confirm", "upload", "download"])
def test_a_stop_does_not_wait_for_an_answer(
    what: str, server: LfsServer, opened: Callable[..., HttpTransfer], lay: Lay, tmp_path: Path
) -> None:
    one, stop, ended = lay(b"weights"), threading.Event(), threading.Event()
    transfer = opened(server, stop=stop)
    jobs: dict[str, Callable[[], object]] = {
        "missing": lambda: transfer.missing([one.lfs]),
        "confirm": lambda: transfer.confirm([one.lfs]),
        "upload": lambda: transfer.upload([one], silent),
        "download": lambda: transfer.download(one.lfs, tmp_path / "back", silent),
    }

    def think(_: Asked) -> None:
        ended.wait(10)

    server.interfere = think
    try:
        with stopping(stop):
            jobs[what]()
    finally:
        ended.set()
    assert not (tmp_path / "back").exists()


def test_memory_does_not_grow_with_the_object(server: LfsServer, tmp_path: Path) -> None:
    """In a process of its own: what this one has used before would hide it."""
    server.is_checking = server.is_verifying = False
    server.forgets = True
    with (tmp_path / "big.bin").open("wb") as file:
        file.truncate(1 << 30)
    script = """
import hashlib, os, resource, sys
from pathlib import Path
from lfssync.git.gitcommand import Git
from lfssync.hosts.api import basic
from lfssync.model import LfsObject, Mirror, silent
from lfssync.rules.remotes import parse_remote
from lfssync.transfer import Source
from lfssync.transfer.http import open_http

url, folder = sys.argv[1], Path(sys.argv[2])
transfer = open_http(Mirror("model", folder, url), parse_remote(url, folder), Git(folder / "mirror.git"))
fd = os.open(folder / "big.bin", os.O_RDONLY)
with open(fd, "rb", closefd=False) as file:
    oid = hashlib.file_digest(file, "sha256").hexdigest()
transfer.missing([LfsObject("1" * 64, 1)])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
transfer.upload([Source(LfsObject(oid, 1 << 30), fd, b"big.bin")], silent)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    make_bare(tmp_path / "mirror.git")
    command = [sys.executable, "-c", script, f"{server.address}/me/model.git", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 16 << 10, "KiB"
    assert server.count(*PUT) == 1


# ---- a server that somebody else found


@dataclass
class Found:
    """Knows the server, and what it was told last: a token of its own, as ssh gives it."""

    url: str
    tokens: list[str] = field(default_factory=list)
    asks_ssh: bool = False

    def endpoint(self, operation: str) -> Endpoint:
        return Endpoint(self.url, {"Authorization": f"RemoteAuth {self.tokens[0]}"} if self.tokens else {})

    def forget(self, operation: str) -> None:
        self.tokens.pop(0)


@contextmanager
def made(
    server: LfsServer, found: Found, keys: Keys, tmp_path: Path, clock: Callable[[], float]
) -> Iterator[HttpTransfer]:
    with Client() as client:
        login = Login(keys, lambda url, credential: basic(credential))
        api = Api(client, found, login, "main", stop=Impatient(), clock=clock)
        yield HttpTransfer("lfs test", api, Throttle(), tmp_path / "keep", [Basic()])


@pytest.mark.parametrize(
    ("link", "age_s", "batches"),
    [
        ({}, TRUSTED_S - 1, 1),
        ({}, TRUSTED_S + 1, 2),
        ({"expires_in": 900}, 900 - FRESH_S - 1, 1),
        ({"expires_in": 900}, 900 - FRESH_S + 1, 2),
    ],
)
def test_links_age(
    link: dict[str, Any], age_s: float, batches: int, server: LfsServer, source: Source, keys: Keys, tmp_path: Path
) -> None:
    now = [1000.0]
    server.link = link
    with made(server, Found(f"{server.address}/me/info/lfs"), keys, tmp_path, lambda: now[0]) as transfer:
        transfer.missing([source.lfs])
        now[0] += age_s
        transfer.upload([source], silent)
    assert server.count(*BATCH) == batches


def test_the_servers_own_clock_tells_how_long_a_link_is_good(
    server: LfsServer, source: Source, keys: Keys, tmp_path: Path
) -> None:
    """Ours is years behind the server's: the links are good for ten minutes all the same."""
    now = [1000.0]
    years_s = 10 * 365 * 86400.0
    server.ahead_s = years_s
    server.link = {"expires_at": datetime.fromtimestamp(time.time() + years_s + 600, UTC).isoformat()}
    for age_s, batches in ((500, 1), (700, 2)):
        server.asked.clear()
        with made(server, Found(f"{server.address}/me/info/lfs"), keys, tmp_path, lambda: now[0]) as transfer:
            transfer.missing([source.lfs])
            now[0] += age_s
            transfer.upload([source], silent)
        assert server.count(*BATCH) == batches
        server.file(source.lfs.oid).unlink()


def test_links_that_age_while_others_are_sent(server: LfsServer, lay: Lay, keys: Keys, tmp_path: Path) -> None:
    """An object whose turn comes late is asked about again, and only that one."""
    now = [1000.0]
    sources = [lay(b"object %d" % number * (9 - number), f"{number}.bin") for number in range(6)]

    def slow(asked: Asked) -> None:
        if asked.method == "PUT":
            now[0] += 100.0

    server.interfere = slow
    with made(server, Found(f"{server.address}/me/info/lfs"), keys, tmp_path, lambda: now[0]) as transfer:
        transfer.upload(sources, silent)
    assert held(server) == whole(*sources)
    asked = [len(one.document["objects"]) for one in server.asked if "objects" in one.document]
    assert asked[0] == 6
    assert set(asked[1:]) == {1}


def test_a_token_that_ssh_gave_goes_to_the_api_alone_and_is_replaced_once(
    server: LfsServer, source: Source, keys: Keys, tmp_path: Path
) -> None:
    keys.left = [Credential("me", "never used")]
    server.interfere = lambda asked: (
        Reply(401) if "/batch" in asked.path and asked.headers["Authorization"] != "RemoteAuth new" else None
    )
    found = Found(f"{server.address}/me/info/lfs", ["old", "new", "newer"])
    with made(server, found, keys, tmp_path, time.monotonic) as transfer:
        transfer.upload([source], silent)
    assert found.tokens == ["new", "newer"]
    assert [one.path for one in server.asked if "Authorization" in one.headers] == ["/me/info/lfs/objects/batch"] * 2
    assert keys.asked == []
    server.interfere = answers(BATCH, Reply(401), for_ever=True)
    server.asked.clear()
    with (
        made(server, Found(found.url, ["1", "2", "3"]), keys, tmp_path, time.monotonic) as transfer,
        pytest.raises(AuthError),
    ):
        transfer.missing([source.lfs])
    assert server.count(*BATCH) == 2


def test_one_thread_finds_the_login_for_all(server: LfsServer, keys: Keys, tmp_path: Path) -> None:
    """A keyring may take its time, and a person who is asked to unlock it is asked once."""
    found = Found(f"{server.address}/me/info/lfs")
    objects = [LfsObject(f"{number:064x}", 1) for number in range(900)]
    keys.left = [Credential("me", "secret")]
    server.interfere = _wants("secret")
    with made(server, found, keys, tmp_path, time.monotonic) as transfer:
        transfer.missing(objects)
    assert len(keys.asked) == 1
    assert 9 + 1 <= server.count(*BATCH) <= 9 + 2, "only those two that were the first came without"


def test_a_large_object_may_be_thought_about_for_longer() -> None:
    assert answer_timeout_s(1) == pytest.approx(120.0, abs=0.1)
    assert answer_timeout_s(20_000_000_000) > 1000


def test_connections_end_with_the_transfer(
    server: LfsServer, opened: Callable[..., HttpTransfer], tmp_path: Path
) -> None:
    url = f"{server.address}/me/model.git"
    transfer = open_http(Mirror("m", tmp_path, url), parse_remote(url, tmp_path), Git(make_bare(tmp_path / "own.git")))
    transfer.missing([LfsObject("1" * 64, 1)])
    port = int(server.address.rpartition(":")[2])
    assert connected(port)
    del transfer
    assert not connected(port)


def connected(port: int) -> bool:
    """Whether this process has a connection to a port of this machine."""
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                with socket.socket(fileno=os.dup(int(name))) as one:
                    if one.family == socket.AF_INET and one.getpeername()[1] == port:
                        return True
    return False
