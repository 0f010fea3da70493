"""Whom a connection trusts and which way it goes: certificates, proxies and headers, from git's and the usual settings.

Below the line, under `client`; read once for each address. The one thing to know: git, git-lfs and lfssync talk to the
same host, so what the user told git about it (`http.*`, `GIT_SSL_*`) must count here too, else one of them works and
the other does not. One setting does not count: certificates are always checked, whatever `http.sslVerify` says.

Source: git-config(1), http.*; git(1), GIT_SSL_*; curl(1), environment.
"""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lfssync.git.gitcommand import Git

_AUTHORITY_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where distributions keep them; `requests` alone would bring its own list, without the authority of one's company."""

_ASKED = frozenset({"sslcainfo", "sslcapath", "sslcert", "sslkey", "proxy", "extraheader"})
"""The last parts of the keys of git's that count here."""

Settings = Mapping[str, tuple[str, ...]]
"""Settings of git by lower-case key, all their values in order."""


@dataclass(frozen=True, slots=True)
class Trusted:
    """What counts for one address.

    Args:
        ca_file: A file or folder with authorities, or None for those of the system's Python.
        certificate: A client certificate's file, or it and its key's; None for none.
        proxy: The proxy's address, or None.
        headers: To be sent to this address only.
    """

    ca_file: str | None = None
    certificate: str | tuple[str, str] | None = None
    proxy: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class Trust:
    """Knows what counts for each address; the default knows the environment alone.

    Args:
        environment: Usually `os.environ`.
        ask: Gives git's settings for an address; see `git_settings`.
    """

    def __init__(
        self, environment: Mapping[str, str] | None = None, ask: Callable[[str], Settings] = lambda _: {}
    ) -> None:
        self._environment = os.environ if environment is None else environment
        self._ask = ask
        self._lock = threading.Lock()
        self._known: dict[str, Trusted] = {}

    def of(self, url: str) -> Trusted:
        """What counts for an address."""
        place = url.partition("?")[0]
        origin = "/".join(place.split("/", 3)[:3])
        with self._lock:
            if origin not in self._known:
                self._known[origin] = decide(origin, self._environment, self._ask(place))
            return self._known[origin]


def git_settings(git: Git) -> Callable[[str], Settings]:
    """What asks git for its `http.*` settings that fit an address; a mirror's own git dir has none."""

    def ask(url: str) -> Settings:
        if not any(one.key.startswith("http.") and one.key.rpartition(".")[2] in _ASKED for one in git.settings()):
            return {}
        found: dict[str, tuple[str, ...]] = {}
        said = git.run("config", "-z", "--get-urlmatch", "http", url, accept=(0, 1)).stdout
        for line in said.decode("utf-8", "surrogateescape").split("\0"):
            key, _, value = line.partition("\n")
            if key:
                found[key.lower()] = (*found.get(key.lower(), ()), value)
        if headers := _all_headers(git, url) if "http.extraheader" in found else ():
            found["http.extraheader"] = headers
        return found

    return ask


def _all_headers(git: Git, url: str) -> tuple[str, ...]:
    """Every `http.extraHeader` for an address: of those git sends all, but tells only the last when it is asked."""
    said = git.run("config", "-z", "--get-regexp", r"^http\..*extraheader$", accept=(0, 1)).stdout
    lines = [line.partition("\n") for line in said.decode("utf-8", "surrogateescape").split("\0") if line]
    places = [(key.removeprefix("http.")[: -len(".extraheader")].rstrip("/"), value) for key, _, value in lines]
    return tuple(value for place, value in places if f"{url}/".startswith(f"{place}/" if place else ""))


def decide(origin: str, environment: Mapping[str, str], settings: Settings) -> Trusted:
    """What counts for an address.

    Args:
        origin: `https://host[:port]`.
        environment: `GIT_SSL_*`, `*_proxy`, `SSL_CERT_FILE`, `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE`.
        settings: Git's settings that fit this address.
    """

    def setting(key: str, *variables: str) -> str | None:
        value = next((environment[name] for name in variables if environment.get(name)), None)
        return value or next((one for one in reversed(settings.get(key, ())) if one), None)

    authorities = (
        setting("http.sslcainfo", "GIT_SSL_CAINFO")
        or setting("http.sslcapath", "GIT_SSL_CAPATH")
        or setting("", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_DIR")
    )
    certificate, key = setting("http.sslcert", "GIT_SSL_CERT"), setting("http.sslkey", "GIT_SSL_KEY")
    expanded = [os.path.expanduser(file) if file else None for file in (authorities, certificate, key)]
    pair = (expanded[1], expanded[2]) if expanded[1] and expanded[2] else expanded[1]
    return Trusted(
        expanded[0] or _system_authorities(), pair, _proxy(origin, environment, settings), _headers(settings)
    )


def _system_authorities() -> str | None:
    """The authorities that git trusts where nobody said otherwise; None where there is no such file."""
    known = (ssl.get_default_verify_paths().cafile, *_AUTHORITY_FILES)
    return next((file for file in known if file and os.path.isfile(file)), None)


def _proxy(origin: str, environment: Mapping[str, str], settings: Settings) -> str | None:
    from requests.utils import should_bypass_proxies

    scheme, _, rest = origin.partition("://")
    no_proxy = environment.get("no_proxy") or environment.get("NO_PROXY")
    configured = settings.get("http.proxy")
    if configured is not None:
        found = configured[-1]
    else:
        # git leaves HTTP_PROXY alone: to a program behind a web server it comes from a request's header
        own = ("http_proxy",) if scheme == "http" else (f"{scheme}_proxy", f"{scheme.upper()}_PROXY")
        names = (*own, "all_proxy", "ALL_PROXY")
        found = next((environment[name] for name in names if environment.get(name)), "")
    if not found or (no_proxy and rest and should_bypass_proxies(origin, no_proxy)):
        return None
    return found if "://" in found else f"http://{found}"


def _headers(settings: Settings) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    for line in settings.get("http.extraheader", ()):
        name, colon, value = line.partition(":")
        if not line:
            headers.clear()  # git: an empty value forgets those before it
        elif colon:
            headers[name.strip()] = value.strip()
    return headers
