"""The HTTP client on real connections: redirects, certificates, proxies, limits for waits, and how it is stopped."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lfssync.errors import BlockedError, LfssyncError, TransientError
from lfssync.git.gitcommand import Git
from lfssync.web.client import Client
from lfssync.web.messages import Request
from lfssync.web.trust import Trust, git_settings
from tests.helpers import make_bare
from tests.servers.githttp import Handler, Server, serving
from tests.servers.proxy import proxying
from tests.servers.tls import Certificates, Shown
from tests.servers.wires import Direction, End, Fault, wire

SECRETS = {"Authorization": "secret", "Cookie": "secret", "PRIVATE-TOKEN": "secret", "X-Kept": "yes"}


class Echo(Server):
    """Tells what it was asked, unless a path says something else."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(_Echo, tls)
        self.asked: list[dict[str, Any]] = []
        self.locations: dict[str, tuple[int, str]] = {}
        self.thinking = threading.Event()


class _Echo(Handler):
    server: Echo

    def handle_request(self) -> None:
        try:
            body = self.body()
        except ConnectionResetError:
            self.close_connection = True
            return
        asked: dict[str, Any] = {"method": self.command, "path": self.path, "headers": dict(self.headers.items())}
        asked |= {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        self.server.asked.append(asked)
        if self.path == "/endless":
            status, location = self.server.locations.get(self.path, (200, ""))
            self.answer_blocks(status, (bytes(1 << 20) for _ in range(64)), ("Location", location))
        elif self.path in self.server.locations:
            status, location = self.server.locations[self.path]
            self.answer(status, b"moved", "text/plain", ("Location", location))
        elif self.path == "/cookie":
            self.answer(200, b"{}", "application/json", ("Set-Cookie", "a=b; Path=/"))
        elif self.path == "/thinks":
            self.server.thinking.wait(10)
            self.answer(200, b"{}")
        elif self.path == "/packed":
            import gzip

            self.answer(200, gzip.compress(b'{"is": "packed"}'), "application/json", ("Content-Encoding", "gzip"))
        else:
            self.answer(200, json.dumps(asked).encode(), "application/json")


class Text:
    """A body that counts how often it was begun."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.at = 0
        self.begun = 1

    def __len__(self) -> int:
        return len(self.content)

    def read(self, size: int = -1) -> bytes:
        block = self.content[self.at :][: size if size >= 0 else None]
        self.at += len(block)
        return block

    def rewind(self) -> None:
        self.at = 0
        self.begun += 1


@pytest.fixture
def echo() -> Iterator[Echo]:
    with serving(Echo(), "echo") as server:
        yield server
        server.thinking.set()


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "certificates")


@pytest.fixture
def safe(certificates: Certificates) -> Iterator[Echo]:
    with serving(Echo(certificates.context()), "safe echo") as server:
        yield server
        server.thinking.set()


Opened = Callable[..., Client]


@pytest.fixture
def client() -> Iterator[Opened]:
    with ExitStack() as clients:

        def make(environment: dict[str, str] | None = None, **arguments: Any) -> Client:
            return clients.enter_context(Client(Trust(environment or {}), **arguments))

        yield make


@pytest.fixture
def configured(tmp_path: Path) -> Iterator[Opened]:
    """A client that does what the user's git configuration says."""
    git = Git(make_bare(tmp_path / "mirror.git"))
    with ExitStack() as clients:

        def make(*lines: str) -> Client:
            with open(os.environ["GIT_CONFIG_GLOBAL"], "a") as file:
                file.write("".join(f"{line}\n" for line in lines))
            return clients.enter_context(Client(Trust({}, git_settings(git))))

        yield make


def get(client: Client, url: str, **headers: str) -> dict[str, Any]:
    answer = client.send(Request("GET", url, headers))
    assert answer.is_success
    document = answer.document()
    assert isinstance(document, dict)
    return document


# ---- what is sent


def test_nothing_is_sent_but_what_was_asked_for(
    echo: Echo, client: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a login from ~/.netrc, nor a cookie, nor a proxy that only the environment of this process names."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    one = client()
    get(one, f"{echo.address}/cookie")
    asked = get(one, f"{echo.address}/path?a=b", **{"X-Ours": "1"})
    assert (asked["method"], asked["path"]) == ("GET", "/path?a=b")
    assert asked["headers"].keys() == {"Host", "User-Agent", "Accept-Encoding", "Accept", "X-Ours"}
    assert asked["headers"]["User-Agent"].startswith("lfssync/")
    assert asked["headers"]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("size", [1, 1 << 20, (3 << 20) + 1])
def test_a_body_has_its_length_and_all_its_bytes(size: int, echo: Echo, client: Opened) -> None:
    content = os.urandom(size)
    answer = client().send(Request("PUT", f"{echo.address}/", {}, Text(content))).document()
    assert (answer["size"], answer["sha256"]) == (size, hashlib.sha256(content).hexdigest())
    assert answer["headers"]["Content-Length"] == str(size)
    assert "Transfer-Encoding" not in answer["headers"]


def test_what_a_body_raises_comes_out_and_nothing_arrives(echo: Echo, client: Opened) -> None:
    class Surprise(Exception):
        pass

    class Bad(Text):
        def read(self, size: int = -1) -> bytes:
            if self.at >= 2 << 20:
                raise Surprise
            return super().read(size)

    one = client()
    with pytest.raises(Surprise):
        one.send(Request("PUT", f"{echo.address}/", {}, Bad(bytes(3 << 20))))
    assert get(one, echo.address)["method"] == "GET", "the broken connection is not used again"
    assert [asked["method"] for asked in echo.asked] == ["GET"]


def test_connections_are_used_again(echo: Echo, client: Opened) -> None:
    one = client()
    with wire(echo.address) as laid:
        for _ in range(5):
            get(one, laid.url)
        assert laid.connections == 1
        one.close()
        get(one, laid.url)
        assert laid.connections == 2
        one.close()


def test_a_packed_answer_is_unpacked(echo: Echo, client: Opened) -> None:
    assert get(client(), f"{echo.address}/packed") == {"is": "packed"}


# ---- redirects (fault 39)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("method", ["PUT", "POST", "GET"])
def test_a_redirect_keeps_method_body_and_headers(status: int, method: str, echo: Echo, client: Opened) -> None:
    echo.locations["/old"] = (status, "/new?a=b")
    body = Text(b"weights" * 1000) if method != "GET" else None
    asked = client().send(Request(method, f"{echo.address}/old", SECRETS, body)).document()
    assert (asked["method"], asked["path"]) == (method, "/new?a=b")
    assert asked["sha256"] == hashlib.sha256(body.content if body else b"").hexdigest()
    assert SECRETS.items() <= asked["headers"].items()
    assert body is None or body.begun == 2


def test_a_303_asks_for_the_result(echo: Echo, client: Opened) -> None:
    echo.locations["/old"] = (303, "/new")
    asked = client().send(Request("POST", f"{echo.address}/old", {}, b"question")).document()
    assert (asked["method"], asked["size"]) == ("GET", 0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_another_host_gets_no_login(status: int, echo: Echo, client: Opened) -> None:
    with serving(Echo(), "other") as other:
        echo.locations["/old"] = (status, f"{other.address}/new")
        client().send(Request("PUT", f"{echo.address}/old", SECRETS, b"x"))
        (asked,) = other.asked
    assert asked["headers"].keys() & {"Authorization", "Cookie", "PRIVATE-TOKEN"} == set()
    assert asked["headers"]["X-Kept"] == "yes"


def test_a_login_does_not_come_back_on_the_way_home(echo: Echo, client: Opened) -> None:
    with serving(Echo(), "other") as other:
        echo.locations["/old"] = (307, f"{other.address}/there")
        other.locations["/there"] = (307, f"{echo.address}/home")
        client().send(Request("GET", f"{echo.address}/old", SECRETS))
    assert "Authorization" not in echo.asked[-1]["headers"]


def test_a_redirect_to_clear_text_is_refused(
    echo: Echo, safe: Echo, certificates: Certificates, client: Opened
) -> None:
    safe.locations["/old"] = (307, f"{echo.address}/new")
    one = client({"SSL_CERT_FILE": str(certificates.ca_file)})
    with pytest.raises(BlockedError, match="without encryption"):
        one.send(Request("PUT", f"{safe.address}/old", SECRETS, b"x"))
    assert echo.asked == []


@pytest.mark.parametrize(
    "target", ["http://host.example.org/", "ftp://127.0.0.1/", "https://me:pw@127.0.0.1/", "http://["]
)
def test_a_redirect_that_may_not_be_followed(target: str, echo: Echo, client: Opened) -> None:
    echo.locations["/old"] = (307, target)
    with pytest.raises(BlockedError):
        client().send(Request("GET", f"{echo.address}/old"))


def test_what_comes_with_a_redirect_is_not_read(echo: Echo, client: Opened) -> None:
    echo.locations["/endless"] = (307, "/new")
    with wire(echo.address) as laid:
        one = client()
        assert get(one, f"{laid.url}/endless")["path"] == "/new"
        one.close()
    assert laid.passed[Direction.DOWN] < 32 << 20


def test_redirects_have_an_end(echo: Echo, client: Opened) -> None:
    echo.locations["/old"] = (302, "/old")
    with pytest.raises(TransientError, match="redirects without end"):
        client().send(Request("GET", f"{echo.address}/old"))
    assert len(echo.asked) == 6


def test_a_redirect_without_a_target_is_an_answer(echo: Echo, client: Opened) -> None:
    echo.locations["/old"] = (302, "")
    assert client().send(Request("GET", f"{echo.address}/old")).status == 302


# ---- certificates


def test_an_own_authority_by_git_or_by_the_environment(
    safe: Echo, certificates: Certificates, client: Opened, configured: Opened
) -> None:
    with pytest.raises(BlockedError, match=r"the certificate of 127\.0\.0\.1:\d+ is not trusted: .*issuer") as raised:
        get(client(), safe.address)
    assert "http.sslCAInfo" in raised.value.remedy
    assert get(client({"SSL_CERT_FILE": str(certificates.ca_file)}), safe.address)["method"] == "GET"
    one = configured(f'[http "{safe.address}/"]', f"sslCAInfo = {certificates.ca_file}")
    assert get(one, f"{safe.address}/me/model.git?a=b")["path"] == "/me/model.git?a=b"


@pytest.mark.parametrize(
    ("shown", "words"),
    [(Shown.OTHER_NAME, "127.0.0.1"), (Shown.EXPIRED, "expired"), (Shown.UNKNOWN_CA, "issuer|self-signed")],
)
def test_a_certificate_that_is_wrong(
    shown: Shown, words: str, certificates: Certificates, client: Opened, configured: Opened
) -> None:
    with serving(Echo(certificates.context(shown)), "wrong") as wrong:
        for one in (
            client({"SSL_CERT_FILE": str(certificates.ca_file)}),
            configured("[http]", f"sslCAInfo = {certificates.ca_file}", "sslVerify = false"),
        ):
            with pytest.raises(BlockedError, match=f"is not trusted: .*{words}"):
                one.send(Request("PUT", f"{wrong.address}/?signature=secret", SECRETS, b"secret"))
        assert wrong.asked == []


def test_a_client_certificate(certificates: Certificates, client: Opened, configured: Opened) -> None:
    with serving(Echo(certificates.context_for_known_clients()), "for known clients") as server:
        with pytest.raises(LfssyncError):
            get(client({"SSL_CERT_FILE": str(certificates.ca_file)}), server.address)
        chain, key = certificates.client_files()
        one = configured("[http]", f"sslCAInfo = {certificates.ca_file}", f"sslCert = {chain}", f"sslKey = {key}")
        assert get(one, server.address)["method"] == "GET"


@pytest.mark.parametrize("setting", ["sslCAInfo", "sslCert", "sslKey"])
def test_a_file_that_is_not_there_is_named_a_setting(
    setting: str, safe: Echo, certificates: Certificates, configured: Opened
) -> None:
    chain, key = certificates.client_files()
    files = {"sslCAInfo": certificates.ca_file, "sslCert": chain, "sslKey": key, setting: "/not/there.pem"}
    one = configured("[http]", *(f"{name} = {file}" for name, file in files.items()))
    with pytest.raises(BlockedError, match="a file with certificates is not there"):
        get(one, safe.address)


# ---- proxies


def test_a_tunnel_for_https(safe: Echo, certificates: Certificates, client: Opened, configured: Opened) -> None:
    host = safe.address.removeprefix("https://")
    with proxying() as proxy:
        environment = {"SSL_CERT_FILE": str(certificates.ca_file), "https_proxy": proxy.address}
        assert get(client(environment), safe.address, **SECRETS)["headers"]["Authorization"] == "secret"
        assert proxy.asked == [("CONNECT", host)]
        assert get(client({**environment, "no_proxy": "127.0.0.1"}), safe.address)["method"] == "GET"
        assert len(proxy.asked) == 1
        one = configured("[http]", f"sslCAInfo = {certificates.ca_file}", f"proxy = {proxy.address}")
        get(one, safe.address)
        assert len(proxy.asked) == 2


def test_a_tunnel_to_a_wrong_certificate(certificates: Certificates, client: Opened) -> None:
    with proxying() as proxy, serving(Echo(certificates.context(Shown.UNKNOWN_CA)), "wrong") as wrong:
        one = client({"SSL_CERT_FILE": str(certificates.ca_file), "https_proxy": proxy.address})
        with pytest.raises(BlockedError, match="is not trusted"):
            get(one, wrong.address)


def test_a_proxy_for_http(echo: Echo, client: Opened) -> None:
    with proxying() as proxy:
        assert get(client({"http_proxy": proxy.address}), f"{echo.address}/path")["path"] == "/path"
        assert proxy.asked == [("GET", f"{echo.address}/path")]


def test_a_proxy_with_a_login(echo: Echo, safe: Echo, certificates: Certificates, client: Opened) -> None:
    with proxying("Basic bWU6cHc=") as proxy:
        right = proxy.address.replace("http://", "http://me:pw@")
        trust = {"SSL_CERT_FILE": str(certificates.ca_file)}
        for server, name in ((safe, "https_proxy"), (echo, "http_proxy")):
            assert "Proxy-Authorization" not in get(client({**trust, name: right}), server.address)["headers"]
        with pytest.raises(TransientError, match="the proxy does not let us through") as raised:
            get(client({**trust, "https_proxy": proxy.address}), safe.address)
        assert "http.proxy" in raised.value.remedy
        assert client({"http_proxy": proxy.address}).send(Request("GET", echo.address)).status == 407


def test_a_proxy_that_is_not_there(safe: Echo, client: Opened) -> None:
    with pytest.raises(TransientError, match="proxy"):
        get(client({"https_proxy": "http://127.0.0.1:1"}), safe.address)
    with pytest.raises(BlockedError, match="SOCKS"):
        get(client({"https_proxy": "socks5h://127.0.0.1:1"}), safe.address)


def test_headers_of_the_users_own_go_to_their_address_alone(echo: Echo, configured: Opened) -> None:
    with serving(Echo(), "other") as other:
        git_config = f'[http "{echo.address}/"]', "extraHeader = X-Own: 1", "extraHeader = Authorization: theirs"
        echo.locations["/away"] = (307, f"{other.address}/")
        one = configured(*git_config)
        assert get(one, echo.address)["headers"]["X-Own"] == "1"
        assert get(one, echo.address, Authorization="ours")["headers"]["Authorization"] == "ours"
        assert "Authorization" not in get(one, f"{echo.address}/away")["headers"]
        assert "X-Own" not in get(one, other.address)["headers"]


# ---- what goes wrong


def test_nobody_is_there(client: Opened) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/path?signature=secret"
        with pytest.raises(TransientError, match=r"^127\.0\.0\.1:\d+ refuses the connection;") as raised:
            client().send(Request("GET", url))
    assert raised.value.remedy == "check the network; it is tried again"


@pytest.mark.parametrize("end", [End.CUT, End.RESET])
@pytest.mark.parametrize(("direction", "after"), [(Direction.UP, 10), (Direction.DOWN, 1), (Direction.DOWN, 200)])
def test_a_connection_that_breaks(direction: Direction, after: int, end: End, echo: Echo, client: Opened) -> None:
    one = client()
    with wire(echo.address) as laid:
        laid.plan = lambda _: Fault(direction, after, end)
        with pytest.raises(TransientError, match=r"broke the connection") as raised:
            one.send(Request("PUT", f"{laid.url}/?signature=secret", {}, bytes(500)))
        assert "secret" not in str(raised.value)
        one.close()


def test_no_answer_in_time(echo: Echo, client: Opened) -> None:
    began = time.monotonic()
    with pytest.raises(TransientError, match="no answer in time"):
        client().send(Request("GET", f"{echo.address}/thinks", answer_timeout_s=0.3))
    assert time.monotonic() - began < 3


def test_an_answer_without_end(echo: Echo, client: Opened) -> None:
    with pytest.raises(TransientError, match="answers without end"):
        client().send(Request("GET", f"{echo.address}/endless"))


def test_a_stream_has_no_limit(echo: Echo, client: Opened) -> None:
    with client().open(Request("GET", f"{echo.address}/endless")) as stream:
        assert stream.status == 200
        blocks = list(stream.blocks(1 << 18))
    assert sum(map(len, blocks)) == 64 << 20
    assert max(map(len, blocks)) <= 1 << 18


@pytest.mark.parametrize("value", ["b\r\nC: d", "Bearer s\N{SNOWMAN}cret"])
def test_a_header_that_is_none_is_refused(value: str, echo: Echo, client: Opened) -> None:
    with pytest.raises(BlockedError, match="a header") as raised:
        client().send(Request("GET", echo.address, {"A": value}))
    assert value not in str(raised.value)
    assert echo.asked == []


@pytest.mark.parametrize(
    "url", ["http://host.example.org/", "https://me:secret@host.example.org/", "file:///etc/passwd"]
)
def test_an_address_that_may_not_be_talked_to(url: str, client: Opened) -> None:
    with pytest.raises(BlockedError) as raised:
        client().send(Request("GET", url, SECRETS))
    assert "secret" not in str(raised.value)


# ---- several at a time, and the end


def test_results_come_in_order(client: Opened) -> None:
    def job(number: int) -> int:
        time.sleep(0.01 * (5 - number % 5))
        return number * 2

    one = client()
    assert one.each(job, range(20)) == [number * 2 for number in range(20)]
    assert one.each(job, []) == []


def test_so_many_at_a_time_and_no_more(client: Opened) -> None:
    at_work, most, lock = 0, 0, threading.Lock()

    def job(_: int) -> None:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        time.sleep(0.02)
        with lock:
            at_work -= 1

    client().each(job, range(12), width=3)
    assert most == 3


def test_after_an_error_no_other_is_begun(client: Opened) -> None:
    begun: list[int] = []

    def job(number: int) -> None:
        begun.append(number)
        if number == 2:
            raise ValueError(number)
        time.sleep(0.05)

    with pytest.raises(ValueError, match="2"):
        client().each(job, range(100), width=2)
    assert len(begun) < 12


@pytest.mark.parametrize("thinks", [True, False])
def test_a_stop_breaks_off_what_is_under_way(thinks: bool, echo: Echo, safe: Echo, certificates: Certificates) -> None:
    stop = threading.Event()
    timer = threading.Timer(0.3, stop.set)
    with Client(Trust({"SSL_CERT_FILE": str(certificates.ca_file)}), stop) as one, wire(echo.address) as laid:
        laid.plan = lambda _: Fault(Direction.UP, 3_000_000, End.STALL)
        requests = [Request("PUT", f"{laid.url}/", {}, Text(bytes(30 << 20)))] * (not thinks)
        requests += [Request("GET", f"{server.address}/thinks") for server in (echo, safe)]
        timer.start()
        began = time.monotonic()
        with pytest.raises(TransientError, match="stopped before everything was delivered"):
            one.each(one.send, requests)
        assert 0.2 < time.monotonic() - began < 1.3
        with pytest.raises(TransientError, match="stopped"):
            one.send(Request("GET", echo.address))
    timer.join()


def test_what_connects_while_it_is_broken_off_is_broken_off_too(echo: Echo, client: Opened) -> None:
    one = client()

    class AtTheLastMoment(Text):
        def __len__(self) -> int:  # asked for when it was found that nothing is to be stopped, and before it connects
            one.abort()
            return super().__len__()

    with pytest.raises(TransientError, match="stopped"):
        one.send(Request("PUT", f"{echo.address}/thinks", {}, AtTheLastMoment(b"x"), answer_timeout_s=5.0))


@pytest.mark.parametrize("is_new", [True, False])
def test_an_upload_that_stands_still_is_given_up(
    is_new: bool, echo: Echo, client: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later than a connection that does not come about, and also when the connection was used before."""
    monkeypatch.setattr("lfssync.web.connections.STALL_TIMEOUT_S", 0.5)
    one = client()
    with wire(echo.address) as laid:
        laid.plan = lambda _: Fault(Direction.UP, 1_000_000, End.STALL)
        if not is_new:
            get(one, laid.url)
        began = time.monotonic()
        with pytest.raises(TransientError):
            one.send(Request("PUT", f"{laid.url}/", {}, Text(bytes(60 << 20))))
        assert 0.4 < time.monotonic() - began < 8


def test_an_interruption_breaks_off_what_is_under_way(
    echo: Echo, client: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ctrl-C does, which reaches the thread that waits."""
    one, asked = client(), threading.Event()

    def job(url: str) -> object:
        asked.set()
        return one.send(Request("GET", url))

    import lfssync.web.client

    def interrupted(*_: object) -> object:
        asked.wait(5)
        raise KeyboardInterrupt

    monkeypatch.setattr(lfssync.web.client, "wait", interrupted)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        one.each(job, [f"{echo.address}/thinks"])
    assert time.monotonic() - began < 3
