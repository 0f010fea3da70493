"""A whole git host on the loopback: smart HTTP through git's own `http-backend`, giftless for LFS, tokens at the door.

As on a real host the LFS server is below the repository (`<repository>.git/info/lfs`), and is reached through the same
door. The one thing to know: logins are for git and for the LFS API; the links that giftless hands out carry tokens of
its own, and what a client sends along with them is passed on untouched.

Source: git-http-backend(1); git-lfs docs/api/authentication.md.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import re
import ssl
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.helpers import git
from tests.servers.giftless import Giftless
from tests.servers.githttp import BLOCK_BYTES, TIMEOUT_S, Handler, Server, serving

TOKEN = "right-token-of-me"
"""The token that may write at first."""

_LFS_JSON = "application/vnd.git-lfs+json"
_LINK = re.compile(r"/parts/.*|.*\.git/info/lfs/objects/storage/.*")
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "server", "date"})
_WRITES = re.compile(r".*/git-receive-pack|.*service=git-receive-pack")


class Asked(NamedTuple):
    """A request that came in; with its body when that is JSON."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""


class Reply(NamedTuple):
    """An answer that a test wants instead of the real one."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


_LOGIN_FOR_GIT = Reply(401, (("WWW-Authenticate", 'Basic realm="git host"'),))
_LOGIN_FOR_LFS = Reply(401, (("LFS-Authenticate", 'Basic realm="git host"'),))


def _no_reply(_: Asked) -> Reply | None:
    return None


@dataclass
class GitHost:
    """A running host; a test may change it at any time.

    Args:
        root: The folder with the bare repositories, named like `me/model.git`.
        lfs: Where the LFS objects are; None for a host without LFS.
        tokens: Passwords, of any user, that may read and write; empty with `is_public` for a host that asks nobody.
        readers: Passwords that may only read.
        is_public: Whether reading needs no login.
        links_lead_elsewhere: Whether the links of LFS lead straight to giftless, which is another host.
        interfere: Says for each request what shall be answered instead; None for the real answer.
        clock_s: How far the host's clock is ahead.
        asked: What came in, in order.
    """

    root: Path
    lfs: Giftless | None = None
    tokens: set[str] = field(default_factory=lambda: {TOKEN})
    readers: set[str] = field(default_factory=set)
    is_public: bool = False
    links_lead_elsewhere: bool = False
    interfere: Callable[[Asked], Reply | None] = _no_reply
    clock_s: float = 0.0
    asked: list[Asked] = field(default_factory=list)
    address: str = ""

    def url(self, repository: str) -> str:
        """The address of a repository, which git gets as its remote."""
        return f"{self.address}/{repository.removesuffix('.git')}.git"

    def create(self, repository: str) -> Path:
        """Make an empty bare repository, named like `me/model`; gives its folder."""
        folder = self.root / f"{repository.removesuffix('.git')}.git"
        folder.mkdir(parents=True)
        git("init", "--quiet", "--bare", cwd=folder)
        if self.lfs:
            self.lfs.have(repository)
        return folder


@contextmanager
def serve(host: GitHost, tls: ssl.SSLContext | None = None) -> Iterator[GitHost]:
    """Let a host answer until the block ends."""
    with serving(_Server(host, tls), "git host") as server:
        host.address = server.address
        yield host


class _Server(Server):
    def __init__(self, host: GitHost, tls: ssl.SSLContext | None) -> None:
        super().__init__(_Handler, tls)
        self.host = host


class _Handler(Handler):
    server: _Server
    _known: bytes | None = None

    def blocks(self) -> Iterator[bytes]:
        return super().blocks() if self._known is None else iter([self._known])

    def date_time_string(self, timestamp: float | None = None) -> str:
        import time

        return super().date_time_string((timestamp or time.time()) + self.server.host.clock_s)

    def handle_request(self) -> None:
        host = self.server.host
        self._known = None  # a connection has more than one request
        self._known = self.body() if "json" in self.headers.get("Content-Type", "") else None
        asked = Asked(self.command, self.path, dict(self.headers.items()), self._known or b"")
        host.asked.append(asked)
        path, _, query = self.path.partition("?")
        if reply := host.interfere(asked):
            self._refuse(reply)
        elif _LINK.fullmatch(path) and host.lfs:
            self._pass_on(host.lfs, *self.headers.items())
        elif not (user := self._user()):
            self._refuse(_LOGIN_FOR_GIT)
        elif ".git/info/lfs/" not in path:
            writes = bool(_WRITES.fullmatch(self.path))
            if writes and not self._may_write():
                self._refuse(Reply(403) if self._password() else _LOGIN_FOR_GIT)
            else:
                self.answer_git(host.root, path, query, user)
        elif host.lfs:
            self._lfs(host.lfs)
        else:
            self._refuse(Reply(404))

    def _lfs(self, lfs: Giftless) -> None:
        """The LFS API behind our own login. giftless has no locks: who asks for them is told so by it."""
        kept = [(name, value) for name, value in self.headers.items() if name.lower() != "authorization"]
        if self._may_write():
            self._pass_on(lfs, *kept)
            return
        body = self.body()
        if b'"upload"' in body:
            reply = Reply(403) if self._password() else _LOGIN_FOR_LFS
            self.answer(reply.status, b'{"message": "you may only read here"}', _LFS_JSON, *reply.headers)
        else:
            self._pass_on(lfs, *kept)

    def _password(self) -> str:
        kind, _, value = self.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "basic":
            return value
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""

    def _may_write(self) -> bool:
        return self._password() in self.server.host.tokens

    def _user(self) -> str:
        """Who asks; nobody is somebody on a public host, but a wrong password is never right."""
        host, password = self.server.host, self._password()
        if password in host.tokens | host.readers:
            return "me"
        return "nobody" if host.is_public and not password else ""

    def _refuse(self, reply: Reply) -> None:
        self.drain()
        kinds = dict(reply.headers)
        kind = kinds.pop("Content-Type", "text/plain")
        self.answer(reply.status, reply.body, kind, *kinds.items())

    def _pass_on(self, lfs: Giftless, *headers: tuple[str, str]) -> None:
        target = urllib.parse.urlsplit(lfs.address)
        assert target.hostname
        with closing(http.client.HTTPConnection(target.hostname, target.port, timeout=TIMEOUT_S)) as connection:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers:
                if name.lower() not in _HOP | {"host", "expect"}:
                    connection.putheader(name, value)
            connection.putheader("Host", target.netloc if self._leads_elsewhere() else self.headers["Host"])
            connection.putheader("X-Forwarded-Proto", "https" if self.server.tls else "http")
            is_chunked = "Transfer-Encoding" in self.headers
            if is_chunked:
                connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders()
            for block in self.blocks():
                connection.send(b"%x\r\n%b\r\n" % (len(block), block) if is_chunked else block)
            if is_chunked:
                connection.send(b"0\r\n\r\n")
            self._pass_back(connection.getresponse())

    def _leads_elsewhere(self) -> bool:
        return self.server.host.links_lead_elsewhere

    def _pass_back(self, response: http.client.HTTPResponse) -> None:
        headers = [(name, value) for name, value in response.getheaders() if name.lower() not in _HOP]
        blocks = iter(lambda: response.read1(BLOCK_BYTES), b"")
        if response.headers.get("Content-Length") is None and response.status not in (204, 304):
            self.answer_blocks(response.status, blocks, *headers)
            return
        self.send_response(response.status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        for block in blocks:
            self.wfile.write(block)
