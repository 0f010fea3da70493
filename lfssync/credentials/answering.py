"""What a git child asks for its login: a credential helper that knows one address and holds one open descriptor.

Started by git or git-lfs as `python -I -S THIS_FILE --for ADDRESS --fd N get`, as `passing` names it; the login itself
is in an anonymous file in memory, which the child inherits. `helper`, the helper for the user's own git, shares the
rule that decides. The one thing to know: this file must run alone and at once, since git starts it for every
connection, so it imports nothing but `os` and `sys`; and whatever does not fit exactly gets no answer and no error.

`erase` is how git says that the host refused the login. It empties the file, so that a git-lfs that asks again and
again (3.3.0 would without end) gets no further answer, and so that `passing` knows.

Source: gitcredentials(7), git-credential(1), git-lfs creds/creds.go.
"""

from __future__ import annotations

import os
import sys

MEMORY = "lfssync-login"
"""The name of the file in memory: an inherited number may by now stand for another file, which is left alone."""

QUERY_BYTES_MAX = 1 << 16
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def parse(raw: bytes) -> dict[str, str]:
    """The attributes of a query; empty when it is not as git writes it.

    A NUL, a carriage return, an attribute given twice, a line that is none: each may mean that somebody smuggles an
    attribute in through an address, so nothing of such a query is believed.
    """
    found: dict[str, str] = {}
    if len(raw) > QUERY_BYTES_MAX or b"\0" in raw or b"\r" in raw:
        return {}
    try:
        lines = raw.decode().split("\n\n", 1)[0].split("\n")
    except UnicodeDecodeError:
        return {}
    for line in lines:
        name, equals, value = line.partition("=")
        if line and (not equals or name == "url" or (name in found and not name.endswith("[]"))):
            return {}
        if line:
            found[name] = value
    return found


def split(address: str) -> tuple[str, str, str, str]:
    """Protocol, user, `host[:port]` and path of an address, as git would name them: decoded, the usual port left out.

    The path has no slash at its ends. What is missing is empty.
    """
    protocol, _, rest = address.partition("://")
    authority, _, path = rest.partition("/")
    user, _, host = authority.rpartition("@")
    protocol = protocol.lower()
    return protocol, _decoded(user), _host(protocol, host), _decoded(path).strip("/")


def fits(query: dict[str, str], address: str) -> bool:
    """Whether a query is about exactly this address: the repository itself, or the LFS server that belongs to it.

    Args:
        query: The attributes that git sent.
        address: Where a remote or an LFS server is; `https://HOST/PATH`.
    """
    protocol, user, host, path = split(address)
    asked = query.get("protocol", "")
    if asked != protocol or asked not in _DEFAULT_PORTS or not host or not path:
        return False
    if user and query.get("username", user) != user:
        return False
    return _host(asked, query.get("host", "")) == host and query.get("path", "").rstrip("/") in _paths(path)


def _paths(path: str) -> tuple[str, ...]:
    stem = path.removesuffix(".git")
    return path, f"{path}/info/lfs", f"{stem}.git/info/lfs"


def _host(protocol: str, host: str) -> str:
    return host.lower().removesuffix(_DEFAULT_PORTS.get(protocol, "?"))


def _decoded(text: str) -> str:
    """Text without its `%` escapes; as it is when it has a broken one."""
    if "%" not in text:
        return text
    first, *escaped = text.encode().split(b"%")
    if not all(len(part) > 1 and part[:2].isalnum() for part in escaped):
        return text
    try:
        return (first + b"".join(bytes((int(part[:2], 16),)) + part[2:] for part in escaped)).decode()
    except ValueError:
        return text


def answer(action: str, query: dict[str, str], addresses: list[str], fd: int) -> str:
    """What to write on standard output; empty for no answer.

    Args:
        action: `get`, `store` or `erase`.
        query: What git sent.
        addresses: What may be asked about.
        fd: The file in memory: user name and secret, a line each.
    """
    if not any(fits(query, address) for address in addresses) or not _is_ours(fd):
        return ""
    username, _, secret = os.pread(fd, QUERY_BYTES_MAX, 0).decode().partition("\n")
    if not secret or query.get("username", username) != username:
        return ""
    if action == "erase" and query.get("password", secret) == secret:
        os.ftruncate(fd, 0)
    return f"username={username}\npassword={secret}\n" if action == "get" else ""


def _is_ours(fd: int) -> bool:
    return os.readlink(f"/proc/self/fd/{fd}").startswith(f"/memfd:{MEMORY}")


def main(words: list[str]) -> int:
    """Answer one query on standard input.

    Args:
        words: Pairs of `--for ADDRESS` and `--fd N`, then git's word for what it wants.
    """
    options = list(zip(words[:-1:2], words[1:-1:2], strict=True))
    addresses = [value for name, value in options if name == "--for"]
    fds = [int(value) for name, value in options if name == "--fd"]
    query = parse(sys.stdin.buffer.read(QUERY_BYTES_MAX + 1))
    try:
        sys.stdout.buffer.write(answer(words[-1], query, addresses, fds[0]).encode())
    except OSError:
        return 0  # the descriptor did not get here: no answer is the answer
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
