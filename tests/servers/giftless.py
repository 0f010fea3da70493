"""giftless, a real LFS server, under gunicorn on a free port of the loopback.

The one thing to know: it is as it is. It decides by name and size and never looks at a content, ignores `Range`,
answers 404 when all objects of a download batch are missing, and answers 500 to one of two first uploads that arrive
together, because both make the repository's folder; so `url` makes it before. What it stores lies in plain files that a
test can look at and damage.

Source: the documentation of giftless 0.6.2.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers import children

ROOT = Path(__file__).parents[2]

_ACTION_KEY = "what giftless signs its own action tokens with"
_LOGIN_KEY = "what the issuer of logins signs its tokens with"
_LOGIN_KEY_ID = "issuer-of-logins"
_LFS_JSON = "application/vnd.git-lfs+json"
_PROBE_S = 5.0


@dataclass(frozen=True)
class Giftless:
    """A running giftless.

    Args:
        address: Where it listens: `http://127.0.0.1:4711`.
        storage: The folder with its objects.
        log: What it said.
    """

    address: str
    storage: Path
    log: Path

    def url(self, repository: str) -> str:
        """The LFS server of a repository, which is named like `me/model`: giftless wants an owner before the name."""
        self.have(repository)
        return f"{self.address}/{repository.removesuffix('.git')}.git/info/lfs"

    def have(self, repository: str) -> None:
        """Make the folder of a repository, which giftless itself makes for the first upload alone."""
        (self.storage / repository.removesuffix(".git")).mkdir(parents=True, exist_ok=True)

    def file(self, repository: str, oid: str) -> Path:
        """Where an object of a repository lies."""
        return self.storage / repository.removesuffix(".git") / oid


def login_token(repository: str, actions: str = "read,write,verify", lifetime_s: float = 3600.0) -> str:
    """A token for a giftless that wants a login: as a Bearer token, or as the password of the user `_jwt`."""
    import jwt

    now = int(time.time())
    claims = {"sub": "me", "iat": now, "exp": now + lifetime_s, "scopes": [f"obj:{repository}/*:{actions}"]}
    return jwt.encode(claims, _LOGIN_KEY, algorithm="HS256", headers={"kid": _LOGIN_KEY_ID})


@contextmanager
def giftless(
    folder: Path,
    *,
    needs_login: bool = False,
    lifetime_s: int = 3600,
    part_bytes: int | None = None,
    threads: int = 8,
    tls: tuple[Path, Path] | None = None,
) -> Iterator[Giftless]:
    """Run giftless in a new folder until the block ends.

    Args:
        folder: Its private folder, which is made.
        needs_login: Whether it wants tokens of `login_token`; else everybody may read and write.
        lifetime_s: How long the tokens of its actions live, in seconds; giftless allows for 10 more.
        part_bytes: Size of the parts of `multipart-basic`, which is only offered with one.
        threads: How many requests it answers at a time.
        tls: Files with its certificate chain and key, for https.
    """
    folder.mkdir(parents=True)
    storage = folder / "storage"
    config = folder / "giftless.json"  # JSON is YAML
    config.write_text(json.dumps(_configuration(storage, needs_login, lifetime_s, part_bytes)))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        listener.listen(128)
        options = ["--certfile", str(tls[0]), "--keyfile", str(tls[1])] if tls else []
        command = [
            *(sys.executable, "-m", "gunicorn", "--bind", f"fd://{listener.fileno()}", "--worker-class", "gthread"),
            *("--workers", "1", "--threads", str(threads), "--timeout", "300", "--graceful-timeout", "1"),
            *("--worker-tmp-dir", str(folder), "--pythonpath", str(ROOT), "--log-level", "warning", *options),
            "giftless.wsgi_entrypoint:app",
        ]
        server = Giftless(f"{'https' if tls else 'http'}://127.0.0.1:{port}", storage, folder / "log")
        variables = {"GIFTLESS_CONFIG_FILE": str(config), "PYTHONWARNINGS": "ignore", "PYTHONDONTWRITEBYTECODE": "1"}
        pass_fds = (listener.fileno(),)
        with children.running(command, server.log, lambda: _answers(port, tls is not None), variables, pass_fds):
            listener.close()
            yield server


def _configuration(storage: Path, needs_login: bool, lifetime_s: int, part_bytes: int | None) -> Mapping[str, Any]:
    login = {
        "factory": "giftless.auth.jwt:factory",
        "options": {"algorithm": "HS256", "private_key": _LOGIN_KEY, "key_id": _LOGIN_KEY_ID},
    }
    adapters = {
        "basic": {
            "factory": "giftless.transfer.basic_streaming:factory",
            "options": {
                "storage_class": "giftless.storage.local_storage:LocalStorage",
                "storage_options": {"path": str(storage)},
                "action_lifetime": lifetime_s,
            },
        }
    }
    if part_bytes is not None:
        adapters["multipart-basic"] = {
            "factory": "giftless.transfer.multipart:factory",
            "options": {
                "storage_class": "tests.servers.parts:PartsOnDisk",
                "storage_options": {"path": str(storage), "key": os.urandom(16).hex()},
                "action_lifetime": lifetime_s,
                "max_part_size": part_bytes,
            },
        }
    return {
        "LEGACY_ENDPOINTS": False,
        "AUTH_PROVIDERS": [login if needs_login else "giftless.auth.allow_anon:read_write"],
        "PRE_AUTHORIZED_ACTION_PROVIDER": {"options": {"private_key": _ACTION_KEY, "default_lifetime": lifetime_s}},
        "TRANSFER_ADAPTERS": adapters,
    }


def _answers(port: int, is_tls: bool) -> bool:
    """Whether a batch gets an answer; it also makes giftless set up its authenticators, which it does at the first."""
    import ssl

    connection: http.client.HTTPConnection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PROBE_S)
    if is_tls:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=_PROBE_S, context=ssl._create_unverified_context()
        )
    asked = {"operation": "download", "transfers": ["basic"], "objects": [{"oid": "0" * 64, "size": 1}]}
    try:
        connection.request(
            "POST", "/are/you.git/info/lfs/objects/batch", json.dumps(asked), {"Content-Type": _LFS_JSON}
        )
        return connection.getresponse().status < 500
    except OSError:
        return False
    finally:
        connection.close()
