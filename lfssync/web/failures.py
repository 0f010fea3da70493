"""What goes wrong below HTTP, in our own kinds of error: names, routes, certificates, proxies, broken connections.

Below the line, under `client`; the statuses that servers answer with are told in `statuses`. The one thing to know: the
libraries' own words quote whole addresses, which may be signed, so only the host is ever named.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import requests
import urllib3

from lfssync.errors import BlockedError, LfssyncError, NetworkError, TransientError
from lfssync.web.retrying import stopped_error

_AGAIN = "check the network; it is tried again"
_CERTIFICATE_WORDS = ("CERTIFICATE_VERIFY_FAILED", "certificate verify failed", "doesn't match")
_UNREACHABLE = (
    ("Name or service", "cannot be found"),
    ("resolve", "cannot be found"),
    ("refused", "refuses the connection"),
    ("unreachable", "cannot be reached"),
    ("No route", "cannot be reached"),
)
_exceptions = requests.exceptions
_KINDS: tuple[tuple[tuple[type[Exception], ...], tuple[str, ...], type[LfssyncError], str, str], ...] = (
    (
        (OSError,),
        ("TLS CA certificate", "TLS certificate file", "TLS key file"),
        BlockedError,
        "a file with certificates is not there",
        "check http.sslCAInfo, http.sslCert, http.sslKey and SSL_CERT_FILE",
    ),
    (
        (_exceptions.InvalidSchema,),
        ("SOCKS",),
        BlockedError,
        "the proxy speaks SOCKS",
        "install the Python package pysocks, or use an http proxy",
    ),
    (
        (_exceptions.InvalidHeader, _exceptions.InvalidProxyURL, UnicodeError),
        ("",),
        BlockedError,
        "a header or a proxy's address is not valid",
        "check http.extraHeader and http.proxy",
    ),
    (
        (_exceptions.InvalidURL, _exceptions.InvalidSchema),
        ("",),
        LfssyncError,
        "the server names an address that is none",
        "ask who runs it",
    ),
    (
        (_exceptions.ProxyError,),
        ("",),
        NetworkError,
        "the proxy does not let us through",
        "check http.proxy and HTTPS_PROXY; it is tried again",
    ),
    (
        (TimeoutError, _exceptions.Timeout, urllib3.exceptions.TimeoutError),
        ("",),
        NetworkError,
        "no answer in time",
        _AGAIN,
    ),
)
"""Which errors, with one of which words in them, are what."""


@contextlib.contextmanager
def translated(where: str, stopped: Callable[[], bool]) -> Iterator[None]:
    """Turn what `requests` and the layers below it raise into our own errors, which never name a full address."""
    try:
        yield
    except LfssyncError as error:
        if stopped() and isinstance(error, TransientError):
            raise stopped_error() from error
        raise
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, UnicodeError) as error:
        if stopped():
            raise stopped_error() from error
        raise _explained(error, where) from error


def _explained(error: Exception, where: str) -> LfssyncError:
    said = str(error)
    if any(words in said for words in _CERTIFICATE_WORDS):
        why = next((cause for cause in _reasons(error) if "certificate" in cause.lower()), "it does not convince")
        return BlockedError(
            f"the certificate of {where} is not trusted: {why}",
            "if it is right, tell git its authority: git config --global http.sslCAInfo FILE",
        )
    for kinds, words, kind, what, remedy in _KINDS:
        if isinstance(error, kinds) and any(word in said for word in words):
            return kind(f"{where}: {what}", remedy)
    text = said + " ".join(_reasons(error))
    what = next((what for word, what in _UNREACHABLE if word in text), "broke the connection")
    return NetworkError(f"{where} {what}", _AGAIN)


def _reasons(error: BaseException | None) -> Iterator[str]:
    """What the errors behind an error say, the innermost last; bounded, for a chain may be a ring."""
    for _ in range(8):
        if error is None:
            return
        message = getattr(error, "verify_message", None) or getattr(error, "strerror", None)
        if isinstance(message, str):
            yield message
        inner = getattr(error, "reason", None)
        error = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__
