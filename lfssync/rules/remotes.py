"""Which addresses a remote may have, and what git gets for them.

Stands below the whole line: configuration and command line pass every remote through `parse_remote` once, so that no
other module ever meets an address that makes git run a program, take an option, or carry a password.
The one thing to know: this is a list of what is allowed; what it does not know is refused, even where git takes it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from lfssync.errors import UserError


class RemoteKind(StrEnum):
    """How a remote is reached."""

    LOCAL = "local"
    HTTPS = "https"
    HTTP = "http"
    SSH = "ssh"


class Remote(NamedTuple):
    """A checked remote.

    Args:
        url: What git gets: an absolute path, a URL, or `user@host:path`. Never holds a password.
        kind: How it is reached; `HTTP` only ever on this machine.
        host: Lower-case host name or address, without port and brackets; empty for `LOCAL`.
        path: The repository on that host, without the leading `/` of a URL; the absolute path for `LOCAL`.
    """

    url: str
    kind: RemoteKind
    host: str
    path: str


_CONTROL_CHARACTER = "[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"

HUB = "https://huggingface.co"
"""What `hf:` stands for, unless `HF_ENDPOINT` names another server."""

_LOGIN = "leave it out and let git's credential helper keep it"
_REMEDY = "use hf:owner/name, gh:owner/name, gl:group/name, https://..., ssh://..., user@host:path or a path"
_HOST = r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?=[A-Za-z0-9]))*|\[[0-9A-Fa-f:.]+\])"

# What only some addresses are held against is compiled when it is first met, which `re` remembers.
_URL = (
    r"[A-Za-z]+://(?:(?P<user>[A-Za-z0-9_](?:[A-Za-z0-9_.~+-]|%40)*)@)?"
    + _HOST
    + r"(?P<port>:[0-9]{1,5})?(?P<path>/[A-Za-z0-9._~!$&'()*+,;=:%/-]*)?"
)
_SCP = r"[A-Za-z0-9_][A-Za-z0-9_.+-]*@" + _HOST + r":(?P<path>[^-:].*)"
_SHORTHAND = r"(?P<hub>hf|gh|gl):(?P<path>[^:]*)"
_BAD_ESCAPE = r"%(?![0-9A-Fa-f]{2})|%[01][0-9A-Fa-f]|%7[Ff]"
_LOOPBACK = r"localhost|127(?:\.(?:25[0-5]|2[0-4]\d|1?\d?\d)){3}|::1"

_HELPER = re.compile(r"[^/@\[]*::")
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z0-9+.-]*)://")
_TOKEN = re.compile(
    r"hf_[A-Za-z0-9]{30,}|gh[oprsu]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}"
    r"|gl(?:pat|dt|rt|cbt|ptt|ft|soat)-[A-Za-z0-9_-]{20,}"
)


def hub_endpoint(environment: Mapping[str, str]) -> str:
    """What `hf:` stands for: `HF_ENDPOINT` as it is, or else the Hub. `parse_remote` checks it."""
    return environment.get("HF_ENDPOINT", "").strip().rstrip("/") or HUB


def is_on_hub(url: str, environment: Mapping[str, str]) -> bool:
    """Whether an address, as `parse_remote` gives it, is one that `hf:` stands for."""
    return url.startswith(f"{hub_endpoint(environment)}/")


def parse_remote(text: str, home: Path, hub: str = HUB) -> Remote:
    """The remote that a user's text names.

    Looks at the disk for one thing only: whether a relative path that does not end in `.git` exists.

    Args:
        text: `hf:owner/name`, `hf:datasets/owner/name`, `gh:owner/name`, `gl:group/name`, an https, ssh or file URL, an
            http URL of this machine, `user@host:path`, or a path: absolute, from `~/`, or from the current folder.
        home: What `~` stands for.
        hub: What `hf:` stands for, see `hub_endpoint`.

    Raises:
        UserError: It is none of these, or names a program, an option or a password. The message masks passwords.
    """
    _refuse_dangerous(text)
    if text.startswith("/"):
        return _local(text)
    if text.startswith("~/"):
        return _local(f"{home}/{text[2:]}")
    if is_relative_path(text) and (text.endswith(".git") or os.path.exists(text)):
        return _local(f"{os.getcwd()}/{text}")
    if scheme := _SCHEME.match(text):
        return _file_url(text) if scheme["scheme"] == "file" else _from_url(text, scheme["scheme"].lower())
    if shorthand := re.fullmatch(_SHORTHAND, text):
        return _on_hub(text, shorthand["hub"], shorthand["path"], hub)
    if scp := re.fullmatch(_SCP, text):
        return Remote(text, RemoteKind.SSH, scp["host"].strip("[]").lower(), scp["path"])
    raise _refused(text, "is not a remote that lfssync knows", _explain(text))


def is_relative_path(text: str) -> bool:
    """True for what can only be a path from the current folder: no `:` before the first `/`, as git decides it.

    Source: git-clone(1), "Git URLs".
    """
    return not text.startswith(("/", "~")) and ":" not in text.partition("/")[0]


def is_loopback(host: str) -> bool:
    """Whether a host, by name or address and with or without brackets, is this machine itself."""
    return bool(re.fullmatch(_LOOPBACK, host.strip("[]").lower()))


def has_control_character(text: str) -> bool:
    """Whether a text has what neither an address nor a mirrored directory may: it goes into git's settings and JSON.

    Besides the control characters these are the Unicode line ends, and bytes of a path that are not UTF-8.
    """
    if text.isascii() and text.isprintable():
        return False  # nearly all; no pattern has to be compiled for that
    return re.search(_CONTROL_CHARACTER, text) is not None


def mask(text: str) -> str:
    """An address fit for messages and logs: passwords, tokens and queries become `***`, in doubt too much of it."""
    scheme = _SCHEME.match(text)
    start = scheme.group() if scheme else ""
    rest = text.removeprefix(start)
    user, at, host = rest.rpartition("@")
    if not scheme and text.startswith(("/", "~/")):
        return _TOKEN.sub("***", text)
    if at and (":" in user or "/" in user):
        rest = f"***@{host}"
    elif scheme and not at and not re.fullmatch(r"[^:]*(:\d*)?|\[.*", rest.partition("/")[0]):
        rest = f"***/{rest.partition('/')[2]}"
    if scheme:
        rest = re.sub(r"[?#].+", "?***", rest, flags=re.DOTALL)
    return _TOKEN.sub("***", start + rest)


def _refused(text: str, reason: str, remedy: str = _REMEDY) -> UserError:
    return UserError(f"remote {mask(text)!r} {reason}", remedy)


def _refuse_dangerous(text: str) -> None:
    """Stop what must never reach git, whatever else it looks like."""
    if not text:
        raise UserError("the remote is empty", _REMEDY)
    if has_control_character(text):
        raise _refused(text, "has a control character", "type the address again, on one line")
    if text.startswith("-"):
        raise _refused(text, "starts with '-', like an option")
    if _HELPER.match(text):
        raise _refused(text, "names a remote helper, which is a program to run")
    if _TOKEN.search(text):
        raise _refused(text, "contains a token", _LOGIN)


def _explain(text: str) -> str:
    if text.startswith("~"):
        return "write the home folder in full, or ~/ for your own"
    if is_relative_path(text):
        return f"no such folder here; {_REMEDY}"
    if text.partition(":")[0].isalnum():
        return f"for a host that ssh knows, write user@host:path; else {_REMEDY}"
    return _REMEDY


def _local(path: str) -> Remote:
    absolute = "/" + os.path.normpath(path).lstrip("/")
    if absolute == "/" or has_control_character(absolute):
        raise _refused(path, "cannot be a repository", "name the folder of a bare repository")
    return Remote(absolute, RemoteKind.LOCAL, "", absolute)


def _file_url(text: str) -> Remote:
    path = text.removeprefix("file://")
    if not path.startswith("/"):
        raise _refused(text, "does not start with file:///", "write file:///path with three slashes")
    if re.search(_BAD_ESCAPE, path):
        raise _refused(text, "has a '%' that does not stand for a visible character", "write the plain path")
    return _local(unquote(path, errors="surrogateescape"))


def _on_hub(text: str, hub: str, path: str, endpoint: str) -> Remote:
    parts = path.removesuffix(".git").split("/")
    named = all(re.fullmatch(r"[A-Za-z0-9._-]+", part) and part.strip(".") for part in parts)
    path = "/".join(parts)
    if hub == "hf" and named and (len(parts) == 2 or (len(parts) == 3 and parts[0] in ("datasets", "spaces"))):
        return _below(endpoint, path)
    if hub == "gh" and named and len(parts) == 2:
        return Remote(f"https://github.com/{path}.git", RemoteKind.HTTPS, "github.com", f"{path}.git")
    if hub == "gl" and named and len(parts) >= 2:
        return Remote(f"https://gitlab.com/{path}.git", RemoteKind.HTTPS, "gitlab.com", f"{path}.git")
    usage = {"hf": "hf:owner/name or hf:datasets/owner/name", "gh": "gh:owner/name", "gl": "gl:group/name"}[hub]
    raise _refused(text, "does not name a repository", f"write {usage} in letters, digits, '.', '_' and '-'")


def _below(endpoint: str, path: str) -> Remote:
    """A repository of the server that stands for the Hub."""
    scheme, _, _ = endpoint.partition("://")
    try:
        _refuse_dangerous(endpoint)
        if scheme not in (RemoteKind.HTTPS, RemoteKind.HTTP):
            raise _refused(endpoint, "is no https address", "write it as https://HOST")
        return _from_url(f"{endpoint}/{path}", scheme)
    except UserError as error:
        raise UserError(f"HF_ENDPOINT: {error.message}", error.remedy) from None


def _from_url(text: str, scheme: str) -> Remote:
    if scheme not in (RemoteKind.HTTPS, RemoteKind.HTTP, RemoteKind.SSH):
        raise _refused(text, f"has the scheme {scheme!r}, which lfssync does not use", "use https:// or ssh://")
    if ":" in text.partition("://")[2].partition("/")[0].rpartition("@")[0]:
        remedy = "leave it out; ssh asks its own agent for a key" if scheme == "ssh" else _LOGIN
        raise _refused(text, "has a password in it", remedy)
    url = re.fullmatch(_URL, text)
    if not url or int((url["port"] or ":1")[1:]) not in range(1, 65536):
        raise _refused(text, "is not a valid URL", "check its host and path; '?' and '#' have no place in it")
    path = (url["path"] or "").strip("/")
    if not path:
        raise _refused(text, "names a host but no repository", "add the repository's path")
    if re.search(_BAD_ESCAPE, path) or any(part in ("", ".", "..") for part in unquote(path).split("/")):
        raise _refused(text, "has a path that is not clean", "leave out empty parts, '.', '..' and odd '%' escapes")
    host = url["host"].lower()
    if scheme == RemoteKind.HTTP and not is_loopback(host):
        raise _refused(text, "would send your token in clear over the network", "use https://")
    user = f"{url['user']}@" if url["user"] else ""
    address = f"{scheme}://{user}{host}{url['port'] or ''}/{path}"
    return Remote(address, RemoteKind(scheme), host.strip("[]"), path)
