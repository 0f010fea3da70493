"""Statuses, pauses, trust and addresses: the decisions about HTTP, without any."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfssync.errors import AuthError, BlockedError, LfssyncError, RefusedError, StoppedError, TransientError
from lfssync.web.messages import Answer, Request, host_of, origin, require_safe
from lfssync.web.retrying import Patience, persist
from lfssync.web.statuses import RETRY_AFTER_LIMIT_S, refusal, retry_after_s, told
from lfssync.web.trust import Settings, Trust, Trusted, decide

ORIGIN = "https://host.example.org"


def answer(status: int, content: bytes = b"", **headers: str) -> Answer:
    found = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(f"{ORIGIN}/path?signature=secret", status, found, content)


# ---- statuses


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, AuthError) for status in (401, 403, 407)),
        *((status, TransientError) for status in (408, 425, 429, 500, 502, 503, 504, 520, 524, 529)),
        *((status, RefusedError) for status in (402, 404, 409, 410, 413, 422, 423, 451, 507, 509)),
        *((status, LfssyncError) for status in (300, 304, 400, 405, 406, 411, 415, 416, 418, 501, 505, 999)),
    ],
)
def test_what_a_status_means(status: int, kind: type[LfssyncError]) -> None:
    error = refusal(answer(status), "it does not do it")
    assert type(error) is kind
    assert error.message == f"it does not do it: HTTP {status}"
    assert error.remedy


@given(st.integers(300, 999), st.binary(max_size=60))
def test_every_status_is_an_error_and_says_nothing_unsafe(status: int, content: bytes) -> None:
    error = refusal(answer(status, content), "no")
    assert error.message.isprintable()
    assert "secret" not in str(error)


def test_a_403_with_a_wish_is_a_limit_on_requests() -> None:
    error = refusal(answer(403, Retry_After="30"), "no")
    assert isinstance(error, TransientError)
    assert error.retry_after_s == 30.0


@pytest.mark.parametrize(
    ("content", "headers", "expected"),
    [
        (b'{"message": "too  large\\n"}', {}, " (too large)"),
        (b'{"error": "no such repository"}', {}, " (no such repository)"),
        (b'{"error": {"message": "inner"}}', {}, " (inner)"),
        (b'{"message": ["a", "b"]}', {}, ' (["a", "b"])'),
        (b'{"error": "body"}', {"X_Error_Message": "header"}, " (header)"),
        (b'{"message": "\\u001b[31mred"}', {}, " (\\x1b[31mred)"),
        (b'{"message": ' + json.dumps("x" * 1000).encode() + b"}", {}, f" ({'x' * 300})"),
        (b"<html><body>Sign in</body></html>", {}, ""),
        (b'{"message": ', {}, ""),
        (b"{}", {}, ""),
        (b'"text"', {}, ""),
    ],
)
def test_what_a_server_says(content: bytes, headers: dict[str, str], expected: str) -> None:
    assert told(answer(500, content, **headers)) == f"HTTP 500{expected}"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"Retry-After": "120"}, 120.0),
        ({"Retry-After": " 1.5 "}, 1.5),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "999999999"}, RETRY_AFTER_LIMIT_S),
        ({"Retry-After": "9" * 400}, None),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT", "Date": "Wed, 21 Oct 2026 07:27:00 GMT"}, 60.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT", "Date": "Wed, 21 Oct 2026 07:29:00 GMT"}, 0.0),
        (
            {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT", "Date": "Wed, 21 Oct 2020 07:29:00 GMT"},
            RETRY_AFTER_LIMIT_S,
        ),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, 1000.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT", "Date": "nonsense"}, 1000.0),
        ({"Retry-After": "Wed, 32 Oct 2026 07:28:00 GMT"}, None),
        ({"RateLimit": '"api";r=0;t=55'}, 56.0),
        ({"RateLimit": '"api";r=3;t=55'}, None),
        ({"RateLimit": '"api";t=55'}, None),
        ({"RateLimit": "r=0, t=55"}, 56.0),
        ({"RateLimit": '"api";r=0;t=999999'}, RETRY_AFTER_LIMIT_S),
        ({"Retry-After": "7", "RateLimit": '"api";r=0;t=55'}, 7.0),
    ],
)
def test_how_long_a_server_wants_us_to_wait(headers: dict[str, str], expected: float | None) -> None:
    now = 1792567680.0 - 1000.0  # that is 1000 s before the date above
    assert retry_after_s(headers, now) == expected


def test_a_date_says_nothing_without_a_clock() -> None:
    assert retry_after_s({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}) is None


# ---- trying again


class Pauses(threading.Event):
    def __init__(self, stops_after: int = 1000) -> None:
        super().__init__()
        self.seen: list[float] = []
        self.stops_after = stops_after

    def wait(self, timeout: float | None = None) -> bool:
        self.seen.append(timeout or 0.0)
        return len(self.seen) >= self.stops_after


class Work:
    """Fails so often, and then gives its result."""

    def __init__(self, *errors: Exception) -> None:
        self.left = list(errors)
        self.done = 0

    def __call__(self) -> str:
        self.done += 1
        if self.left:
            raise self.left.pop(0)
        return "result"


def later(retry_after_s: float | None = None) -> TransientError:
    return TransientError("later", "", retry_after_s)


def test_what_works_is_not_repeated() -> None:
    work, pauses = Work(), Pauses()
    assert persist(work, pauses) == "result"
    assert (work.done, pauses.seen) == (1, [])


def test_it_is_tried_until_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.random", lambda: 1.0)
    work, pauses = Work(*[later()] * 5), Pauses()
    assert persist(work, pauses) == "result"
    assert pauses.seen == [0.5, 1.0, 2.0, 4.0, 8.0]


def test_what_was_told_to_stop_is_not_tried_again() -> None:
    work, pauses = Work(StoppedError()), Pauses()
    with pytest.raises(StoppedError):
        persist(work, pauses)
    assert (work.done, pauses.seen) == (1, [])


def test_it_is_given_up_with_the_last_error() -> None:
    errors = [later() for _ in range(6)]
    work, pauses = Work(*errors), Pauses()
    with pytest.raises(TransientError) as raised:
        persist(work, pauses)
    assert raised.value is errors[-1]
    assert work.done == 6


@pytest.mark.parametrize("kind", [LfssyncError, AuthError, BlockedError, RefusedError, ValueError])
def test_what_will_not_work_is_not_repeated(kind: type[Exception]) -> None:
    work = Work(kind("no"))
    with pytest.raises(kind):
        persist(work, Pauses())
    assert work.done == 1


def test_a_stop_ends_it() -> None:
    work, pauses = Work(*[later()] * 5), Pauses(stops_after=2)
    with pytest.raises(TransientError):
        persist(work, pauses)
    assert work.done == 2


@given(st.integers(1, 20), st.floats(0, 1), st.none() | st.floats(0, 1e6), st.integers(1, 10))
def test_pauses_have_limits(failures: int, draw: float, asked: float | None, tries: int) -> None:
    patience = Patience(tries)
    pause = patience.pause_s(failures, later(asked), draw)
    if failures >= tries or (asked is not None and asked > patience.asked_s):
        assert pause is None
    elif asked is not None:
        assert pause is not None
        assert asked <= pause <= asked + patience.first_s
    else:
        assert pause is not None
        assert 0 <= pause <= patience.last_s


# ---- addresses and messages


@pytest.mark.parametrize(
    "url",
    [
        "https://host/a",
        "https://host:8443/",
        "http://127.0.0.1:80/",
        "http://localhost/",
        "http://[::1]:8080/",
        "HTTPS://h",
    ],
)
def test_addresses_that_may_be_talked_to(url: str) -> None:
    require_safe(url)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://host/a",
            "ftp://host",
            "file:///etc/passwd",
            "https://",
            "https:///path",
            "host/path",
            "//host/path",
            "",
        ),
        *("https://me@host", "https://a:b@c", "https://host:port/", "https://host:99999/", "https://[::1/"),
        "http://127.0.0.1.example.org/",
    ],
)
def test_addresses_that_may_not(url: str) -> None:
    with pytest.raises(BlockedError):
        require_safe(url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://host/a?b=c", "host"),
        ("https://me:secret@host:8443/", "host:8443"),
        ("/only/a/path", "the server"),
        ("https://[::1/", "the server"),
        ("", "the server"),
    ],
)
def test_messages_name_the_host_alone(url: str, expected: str) -> None:
    assert host_of(url) == expected


def test_an_origin_is_scheme_host_and_port() -> None:
    assert origin("https://Host/a") == origin("https://host:443/b")
    assert origin("http://host/") != origin("https://host/")
    assert origin("https://host:8443/") != origin("https://host/")


def test_neither_address_nor_headers_nor_content_show() -> None:
    request = Request("PUT", f"{ORIGIN}/?signature=secret", {"Authorization": "secret"}, b"secret")
    assert "secret" not in repr(request)
    assert "secret" not in repr(answer(200, b"secret", Set_Cookie="secret"))


def test_json_that_is_none_passes() -> None:
    assert answer(200, b'{"a": [1]}').document() == {"a": [1]}
    for content in (b"", b"<html>", b'{"a":', b"\xff\xfe\xfd"):
        with pytest.raises(TransientError, match=r"host\.example\.org answers with something that is no JSON"):
            answer(200, content).document()
    assert [answer(status).is_success for status in (199, 200, 299, 300)] == [False, True, True, False]


# ---- trust


def trusted(origin: str = ORIGIN, environment: dict[str, str] | None = None, **settings: Any) -> Trusted:
    found: Settings = {
        f"http.{key}": value if isinstance(value, tuple) else (value,) for key, value in settings.items()
    }
    return decide(origin, environment or {}, found)


@pytest.mark.parametrize(
    ("environment", "settings", "expected"),
    [
        ({}, {"sslcainfo": "/git"}, "/git"),
        ({}, {"sslcainfo": ("/old", "/git")}, "/git"),
        ({}, {"sslcapath": "/folder"}, "/folder"),
        ({"GIT_SSL_CAINFO": "/environment"}, {"sslcainfo": "/git"}, "/environment"),
        ({"GIT_SSL_CAPATH": "/folder"}, {"sslcainfo": "/git"}, "/git"),
        ({"SSL_CERT_FILE": "/usual"}, {}, "/usual"),
        ({"SSL_CERT_FILE": "/usual"}, {"sslcainfo": "/git"}, "/git"),
        ({"REQUESTS_CA_BUNDLE": "/bundle"}, {}, "/bundle"),
        ({"CURL_CA_BUNDLE": "/bundle"}, {}, "/bundle"),
        ({"SSL_CERT_DIR": "/folder"}, {}, "/folder"),
        ({"GIT_SSL_CAINFO": ""}, {"sslcainfo": "/git"}, "/git"),
    ],
)
def test_which_authorities_count(environment: dict[str, str], settings: dict[str, Any], expected: str) -> None:
    assert trusted(environment=environment, **settings).ca_file == expected


def test_a_home_folder_is_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert trusted(sslcainfo="~/ca.pem", sslcert="~/c.pem", sslkey="~/k.pem") == Trusted(
        "/home/me/ca.pem", ("/home/me/c.pem", "/home/me/k.pem")
    )


def test_client_certificates() -> None:
    assert trusted().certificate is None
    assert trusted(sslcert="/c").certificate == "/c"
    assert trusted(sslkey="/k").certificate is None
    environment = {"GIT_SSL_CERT": "/other", "GIT_SSL_KEY": "/key"}
    assert trusted(environment=environment, sslcert="/c").certificate == ("/other", "/key")


@pytest.mark.parametrize(
    ("origin", "environment", "settings", "expected"),
    [
        (ORIGIN, {}, {}, None),
        (ORIGIN, {"https_proxy": "http://p:1"}, {}, "http://p:1"),
        (ORIGIN, {"HTTPS_PROXY": "http://p:1"}, {}, "http://p:1"),
        (ORIGIN, {"https_proxy": "http://p:1", "HTTPS_PROXY": "http://q:2"}, {}, "http://p:1"),
        (ORIGIN, {"https_proxy": "p:1"}, {}, "http://p:1"),
        (ORIGIN, {"ALL_PROXY": "socks5h://p:1"}, {}, "socks5h://p:1"),
        (ORIGIN, {"http_proxy": "http://p:1"}, {}, None),
        ("http://127.0.0.1:80", {"http_proxy": "http://p:1"}, {}, "http://p:1"),
        ("http://127.0.0.1:80", {"HTTP_PROXY": "http://p:1"}, {}, None),
        (ORIGIN, {"https_proxy": "http://p:1"}, {"proxy": "http://git:1"}, "http://git:1"),
        (ORIGIN, {"https_proxy": "http://p:1"}, {"proxy": ("http://a", "http://b")}, "http://b"),
        (ORIGIN, {"https_proxy": "http://p:1"}, {"proxy": ""}, None),
        (ORIGIN, {"https_proxy": "http://p:1", "no_proxy": "example.org"}, {}, None),
        (ORIGIN, {"https_proxy": "http://p:1", "NO_PROXY": "host.example.org,other"}, {}, None),
        (ORIGIN, {"https_proxy": "http://p:1", "no_proxy": "example.com"}, {}, "http://p:1"),
        (ORIGIN, {"no_proxy": "example.org"}, {"proxy": "http://git:1"}, None),
    ],
)
def test_which_way_it_goes(
    origin: str, environment: dict[str, str], settings: dict[str, Any], expected: str | None
) -> None:
    assert trusted(origin, environment, **settings).proxy == expected


def test_headers_of_the_users_own() -> None:
    lines = ("Old: 1", "", "X-One: a:b", "X-Two:  c ", "no header")
    assert trusted(extraheader=lines).headers == {"X-One": "a:b", "X-Two": "c"}


def test_neither_a_proxys_login_nor_a_header_shows() -> None:
    found = trusted(proxy="http://me:secret@p", extraheader="Authorization: secret")
    assert "secret" not in repr(found)


def test_each_address_is_asked_about_once() -> None:
    asked: list[str] = []

    def ask(url: str) -> Settings:
        asked.append(url)
        return {"http.sslcainfo": (f"/{len(asked)}",)}

    trust = Trust({}, ask)
    assert [trust.of(f"{ORIGIN}/a/b?signature=secret").ca_file for _ in range(2)] == ["/1", "/1"]
    assert trust.of("https://other.example.org/").ca_file == "/2"
    assert asked == [f"{ORIGIN}/a/b", "https://other.example.org/"]
