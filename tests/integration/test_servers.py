"""The servers of the tests are what they say: stock git and git-lfs work with them, and see what is wrong with them."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import clone, git, lfs_fsck, random_bytes, tree, write
from tests.servers.children import running
from tests.servers.giftless import Giftless, giftless, login_token
from tests.servers.githost import TOKEN, GitHost, Reply, serve
from tests.servers.githttp import Handler, Server, serving
from tests.servers.sshd import Sshd, sshd
from tests.servers.tls import Certificates, Shown
from tests.servers.wires import Direction, End, Fault, Wire, first, wire

MODEL = random_bytes(1, 300_000)
OID = hashlib.sha256(MODEL).hexdigest()
LFS_JSON = "application/vnd.git-lfs+json"


@pytest.fixture
def lfs(tmp_path: Path) -> Iterator[Giftless]:
    with giftless(tmp_path / "giftless") as server:
        yield server


@pytest.fixture
def host(tmp_path: Path, lfs: Giftless) -> Iterator[GitHost]:
    with serve(GitHost(tmp_path / "hub", lfs)) as server:
        yield server


def exchange(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    """One request, with `_` for `-` in the names of headers."""
    request = urllib.request.Request(url, body, {n.replace("_", "-"): v for n, v in headers.items()}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def batch(url: str, operation: str, *objects: tuple[str, int], transfer: str = "basic", **headers: str) -> Any:
    asked = {
        "operation": operation,
        "transfers": [transfer],
        "objects": [{"oid": oid, "size": size} for oid, size in objects],
    }
    status, answer = exchange(
        f"{url}/objects/batch", "POST", json.dumps(asked).encode(), Content_Type=LFS_JSON, **headers
    )
    return json.loads(answer) if status == 200 else status


def act(action: dict[str, Any], method: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    own = {name.replace("-", "_"): value for name, value in action.get("header", {}).items()}
    return exchange(action["href"], action.get("method", method), body, **own, **headers)


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"me:{password}".encode()).decode()


def remember(url: str, password: str, home: Path) -> None:
    """Gives stock git a login."""
    with open(home / ".git-credentials", "a") as file:
        file.write(url.replace("://", f"://me:{password}@") + "\n")
    git("config", "--global", "credential.helper", "store", cwd=home)
    git("config", "--global", "lfs.locksverify", "false", cwd=home)


def new_model(folder: Path) -> Path:
    """A working copy of stock git with one LFS file, committed."""
    folder.mkdir()
    git("init", "--quiet", cwd=folder)
    git("lfs", "install", "--local", cwd=folder)
    write(folder / "model.bin", MODEL)
    write(folder / ".gitattributes", b"*.bin filter=lfs diff=lfs merge=lfs -text\n")
    git("add", ".", cwd=folder)
    git("commit", "--quiet", "-m", "a model", cwd=folder)
    return folder


def said(failed: pytest.ExceptionInfo[subprocess.CalledProcessError]) -> str:
    return str(failed.value.stderr.decode())


# giftless


def test_giftless_takes_an_object_and_gives_it_back(lfs: Giftless) -> None:
    url = lfs.url("me/model")
    (row,) = batch(url, "upload", (OID, len(MODEL)))["objects"]
    assert act(row["actions"]["upload"], "PUT", MODEL)[0] == 200
    assert lfs.file("me/model", OID).read_bytes() == MODEL
    assert batch(url, "upload", (OID, len(MODEL)))["objects"] == [{"oid": OID, "size": len(MODEL)}]
    (row,) = batch(url, "download", (OID, len(MODEL)))["objects"]
    assert act(row["actions"]["download"], "GET", Range="bytes=5-") == (200, MODEL)
    assert batch(url, "download", ("0" * 64, 1)) == 404


def test_giftless_asks_for_a_login_when_it_shall(tmp_path: Path) -> None:
    with giftless(tmp_path / "giftless", needs_login=True) as lfs:
        url, token = lfs.url("me/model"), login_token("me/model")
        assert batch(url, "upload", (OID, 5)) == 401
        assert batch(url, "upload", (OID, 5), Authorization=f"Bearer {token}")["objects"]
        assert batch(lfs.url("me/other"), "upload", (OID, 5), Authorization=f"Bearer {token}") == 403
        reader = login_token("me/model", "read")
        assert batch(url, "upload", (OID, 5), Authorization=f"Bearer {reader}") == 403


def test_parts_are_checked_one_by_one_and_make_a_whole(tmp_path: Path) -> None:
    with giftless(tmp_path / "giftless", part_bytes=130_000) as lfs:
        url = lfs.url("me/model")

        def actions() -> dict[str, Any]:
            reply = batch(url, "upload", (OID, len(MODEL)), transfer="multipart-basic")
            assert reply["transfer"] == "multipart-basic"
            return dict(reply["objects"][0]["actions"])

        def send(part: dict[str, Any], body: bytes) -> int:
            md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
            return act(part, "PUT", body, Content_MD5=md5)[0]

        asked = actions()
        parts = asked["parts"]
        bodies = [MODEL[:130_000], MODEL[130_000:260_000], MODEL[260_000:]]
        assert [(part.get("pos", 0), part.get("size")) for part in parts] == [
            (0, 130_000),
            (130_000, 130_000),
            (260_000, None),
        ]
        assert send(parts[0], bodies[0]) == 404
        assert act(asked["init"], "POST", b"something else")[0] == 400
        assert act(asked["init"], "POST", asked["init"]["body"].encode())[0] == 200
        assert act(parts[0], "PUT", bodies[0], Content_MD5="wrong")[0] == 400
        assert send(parts[0], bodies[0][1:]) == 400
        assert send({**parts[0], "header": {}}, bodies[0]) == 403
        assert send(parts[2], bodies[2]) == 201
        assert act(asked["commit"], "POST", asked["commit"]["body"].encode())[0] == 409
        again = actions()
        assert "init" not in again
        assert [part.get("pos", 0) for part in again["parts"]] == [0, 130_000]
        assert [send(parts[0], bodies[0]), send(parts[1], bodies[1])] == [201, 201]
        assert "parts" not in actions()
        assert act(asked["commit"], "PUT", asked["commit"]["body"].encode())[0] == 200
        document = json.dumps({"oid": OID, "size": len(MODEL)}).encode()
        assert act(asked["verify"], "POST", document, Content_Type=LFS_JSON)[0] == 200
        assert lfs.file("me/model", OID).read_bytes() == MODEL
        (row,) = batch(url, "upload", (OID, len(MODEL)), transfer="multipart-basic")["objects"]
        assert "actions" not in row
        (row,) = batch(url, "download", (OID, len(MODEL)), transfer="multipart-basic")["objects"]
        assert act(row["actions"]["download"], "GET", Range="bytes=5-9") == (206, MODEL[5:10])


def test_an_aborted_upload_begins_anew(tmp_path: Path) -> None:
    with giftless(tmp_path / "giftless", part_bytes=200_000) as lfs:
        url = lfs.url("me/model")
        asked = batch(url, "upload", (OID, len(MODEL)), transfer="multipart-basic")["objects"][0]["actions"]
        assert act(asked["init"], "POST", asked["init"]["body"].encode())[0] == 200
        assert act(asked["abort"], "GET")[0] == 204
        asked = batch(url, "upload", (OID, len(MODEL)), transfer="multipart-basic")["objects"][0]["actions"]
        assert "init" in asked


def test_a_server_that_does_not_come_up_tells_why(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match=r"status 3: no such thing"),
        running(["sh", "-c", "echo no such thing; exit 3"], tmp_path / "log", lambda: False),
    ):
        pass


# git over HTTP


def test_stock_git_and_git_lfs_push_and_clone(host: GitHost, tmp_path: Path, private_environment: Path) -> None:
    host.create("me/model")
    remember(host.address, TOKEN, private_environment)
    model = new_model(tmp_path / "model")
    git("push", "--quiet", host.url("me/model"), "HEAD:main", cwd=model)
    assert host.lfs
    assert host.lfs.file("me/model", OID).read_bytes() == MODEL
    copy = clone(host.url("me/model"), tmp_path / "copy")
    assert tree(copy) == tree(model)
    lfs_fsck(copy)
    assert any(asked.headers.get("Authorization", "").startswith("Bearer ") for asked in host.asked)


def test_links_may_lead_straight_to_giftless(host: GitHost) -> None:
    host.links_lead_elsewhere = True
    reply = batch(f"{host.url('me/model')}/info/lfs", "upload", (OID, 5), Authorization=basic(TOKEN))
    assert host.lfs
    assert reply["objects"][0]["actions"]["upload"]["href"].startswith(host.lfs.address)


def test_who_may_only_read_cannot_push(host: GitHost, tmp_path: Path, private_environment: Path) -> None:
    host.create("me/model")
    host.readers.add("reader")
    remember(host.address, "reader", private_environment)
    git("ls-remote", host.url("me/model"), cwd=tmp_path)
    model = new_model(tmp_path / "model")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        git("push", "--no-verify", host.url("me/model"), "HEAD:main", cwd=model)
    assert "error: 403" in said(failed)
    url = f"{host.url('me/model')}/info/lfs"
    assert batch(url, "upload", (OID, 5), Authorization=basic("reader")) == 403
    assert batch(url, "download", (OID, 5), Authorization=basic("reader")) == 404
    assert batch(url, "download", (OID, 5), Authorization=basic("wrong")) == 401


def test_a_public_host_lets_everybody_read(host: GitHost, tmp_path: Path) -> None:
    host.create("me/model")
    host.is_public = True
    git("ls-remote", host.url("me/model"), cwd=tmp_path)
    url = f"{host.url('me/model')}/info/lfs"
    assert batch(url, "download", (OID, 5)) == 404
    assert batch(url, "upload", (OID, 5)) == 401
    assert batch(url, "download", (OID, 5), Authorization=basic("wrong")) == 401


def test_a_test_may_answer_instead(host: GitHost, tmp_path: Path) -> None:
    host.interfere = lambda asked: Reply(503, (("Retry-After", "7"),)) if "info/refs" in asked.path else None
    with pytest.raises(subprocess.CalledProcessError) as failed:
        git("ls-remote", host.url("me/model"), cwd=tmp_path)
    assert "error: 503" in said(failed)


def test_the_clock_of_the_host_may_be_wrong(host: GitHost) -> None:
    host.clock_s = 3600
    with pytest.raises(urllib.error.HTTPError) as failed:
        urllib.request.urlopen(host.address, timeout=60)
    with failed.value:
        ahead = time.mktime(time.strptime(failed.value.headers["Date"], "%a, %d %b %Y %H:%M:%S %Z"))
    assert 3500 < ahead - time.mktime(time.gmtime()) < 3700


def test_bodies_of_any_size_pass_through_without_being_held(host: GitHost, tmp_path: Path) -> None:
    big = random_bytes(2, 1 << 20) * 16
    oid = hashlib.sha256(big).hexdigest()
    url = f"{host.url('me/model')}/info/lfs"
    (row,) = batch(url, "upload", (oid, len(big)), Authorization=basic(TOKEN))["objects"]
    assert act(row["actions"]["upload"], "PUT", big)[0] == 200
    (row,) = batch(url, "download", (oid, len(big)), Authorization=basic(TOKEN))["objects"]
    assert act(row["actions"]["download"], "GET") == (200, big)


# TLS


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (Shown.RIGHT, ""),
        (Shown.OTHER_NAME, "IP address mismatch"),
        (Shown.EXPIRED, "certificate has expired"),
        (Shown.UNKNOWN_CA, "unable to get local issuer certificate"),
    ],
)
def test_certificates_are_right_or_wrong_as_they_say(shown: Shown, words: str, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path / "tls")
    context = ssl.create_default_context(cafile=certificates.ca_file)
    with serve(GitHost(tmp_path / "hub", is_public=True), certificates.context(shown)) as host:
        host.create("me/model")
        trusting = ("-c", f"http.sslCAInfo={certificates.ca_file}")
        if shown is Shown.RIGHT:
            git(*trusting, "ls-remote", host.url("me/model"), cwd=tmp_path)
            return
        with pytest.raises(subprocess.CalledProcessError):
            git(*trusting, "ls-remote", host.url("me/model"), cwd=tmp_path)
        with pytest.raises(urllib.error.URLError, match=words):
            urllib.request.urlopen(host.address, timeout=60, context=context)


def test_giftless_speaks_tls(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path / "tls")
    with giftless(tmp_path / "giftless", tls=certificates.files()) as lfs:
        context = ssl.create_default_context(cafile=certificates.ca_file)
        with urllib.request.urlopen(
            urllib.request.Request(
                f"{lfs.url('me/model')}/objects/batch",
                b'{"operation": "upload", "transfers": ["basic"], "objects": [{"oid": "00", "size": 1}]}',
                {"Content-Type": LFS_JSON},
            ),
            timeout=60,
            context=context,
        ) as answer:
            assert json.load(answer)["objects"][0]["actions"]["upload"]["href"].startswith(lfs.address)


def test_a_server_may_want_to_know_its_clients(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path / "tls")
    known = certificates.context_for_known_clients()
    with serve(GitHost(tmp_path / "hub", is_public=True), known) as host:
        host.create("me/model")
        trusting = ("-c", f"http.sslCAInfo={certificates.ca_file}")
        with pytest.raises(subprocess.CalledProcessError):
            git(*trusting, "ls-remote", host.url("me/model"), cwd=tmp_path)
        certificate, key = certificates.client_files()
        shown = ("-c", f"http.sslCert={certificate}", "-c", f"http.sslKey={key}")
        git(*trusting, *shown, "ls-remote", host.url("me/model"), cwd=tmp_path)


# wires


class _Echo(Handler):
    def handle_request(self) -> None:
        self.answer(200, self.body())


@pytest.fixture
def echo() -> Iterator[str]:
    with serving(Server(_Echo), "echo") as server:
        yield server.address


def connected(laid: Wire) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(laid.url.rpartition(":")[2])))


def exactly(client: socket.socket, size: int) -> bytes:
    return b"".join(client.recv(1) for _ in range(size))


def test_a_wire_passes_on_and_counts(echo: str) -> None:
    with wire(echo) as laid:
        assert exchange(laid.url, "POST", MODEL) == (200, MODEL)
        assert laid.connections == 1
        assert min(laid.passed.values()) > len(MODEL)


@pytest.mark.parametrize("end", [End.CUT, End.RESET])
@pytest.mark.parametrize("direction", Direction)
def test_a_wire_breaks_after_exactly_so_many_bytes(echo: str, direction: Direction, end: End) -> None:
    with wire(echo) as laid:
        laid.plan = first(1, Fault(direction, 100_000, end))
        with pytest.raises((OSError, http.client.HTTPException)) as failed:
            exchange(laid.url, "POST", MODEL)
        assert laid.passed[direction] == 100_000
        if end is End.RESET and direction is Direction.DOWN:
            assert isinstance(failed.value, ConnectionResetError)
        assert exchange(laid.url, "POST", MODEL) == (200, MODEL)


def test_a_wire_stalls(echo: str) -> None:
    with wire(echo, first(1, Fault(Direction.DOWN, 9, End.STALL))) as laid, connected(laid) as client:
        client.settimeout(0.3)
        client.sendall(b"GET / HTTP/1.1\r\nHost: echo\r\n\r\n")
        assert exactly(client, 9) == b"HTTP/1.1 "
        with pytest.raises(TimeoutError):
            client.recv(1)


def test_a_wire_drips(echo: str) -> None:
    with wire(echo, first(1, Fault(Direction.DOWN, 9, End.DRIP, drip_s=0.02))) as laid, connected(laid) as client:
        client.settimeout(10)
        client.sendall(b"GET / HTTP/1.1\r\nHost: echo\r\n\r\n")
        assert exactly(client, 9) == b"HTTP/1.1 "
        began = time.monotonic()
        assert exactly(client, 6) == b"200 OK"
        assert time.monotonic() - began > 5 * 0.01


# ssh


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    with sshd(tmp_path / "sshd", tmp_path / "hub") as server:
        monkeypatch.setenv("GIT_SSH_COMMAND", server.command)
        yield server


def test_stock_git_pushes_over_ssh_and_finds_lfs_there(ssh: Sshd, lfs: Giftless, tmp_path: Path) -> None:
    repository = tmp_path / "hub/me/model.git"
    repository.mkdir(parents=True)
    git("init", "--quiet", "--bare", cwd=repository)
    ssh.answer({"href": lfs.url("me/model")})
    model = new_model(tmp_path / "model")
    git("push", "--quiet", ssh.url("me/model.git"), "HEAD:main", cwd=model)
    assert lfs.file("me/model", OID).read_bytes() == MODEL
    copy = clone(ssh.scp("me/model.git"), tmp_path / "copy")
    assert tree(copy) == tree(model)
    assert "git-lfs-authenticate /me/model.git upload" in ssh.asked
    assert "git-lfs-authenticate me/model.git download" in ssh.asked


def _authenticate(ssh: Sshd, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    command = f"{ssh.command} {ssh.user}@127.0.0.1 git-lfs-authenticate me/model.git upload"
    return subprocess.run(
        ["sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False
    )


def test_the_answer_of_git_lfs_authenticate_is_what_a_test_says(ssh: Sshd) -> None:
    ssh.answer("Welcome!\n{}", status=3, stderr="no such repository\n")
    done = _authenticate(ssh)
    assert (done.returncode, done.stdout, done.stderr) == (3, "Welcome!\n{}", "no such repository\n")


def test_it_may_hang_and_leaves_nothing_behind(ssh: Sshd) -> None:
    ssh.answer(hangs=True)
    with pytest.raises(subprocess.TimeoutExpired):
        _authenticate(ssh, timeout_s=2)


def test_ssh_lets_nobody_do_anything_else(ssh: Sshd) -> None:
    command = f"{ssh.command} {ssh.user}@127.0.0.1 touch {ssh.folder}/planted"
    done = subprocess.run(["sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    assert done.returncode == 127
    assert not os.path.exists(ssh.folder / "planted")
