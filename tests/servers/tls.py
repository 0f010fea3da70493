"""Certificates for the servers of the tests: one that is right, and the ways in which one can be wrong.

Every server takes them, as a context (`githttp.Server`) or as files (`giftless`). The one thing to know: only what is
issued by `ca_file` may be trusted, and a client has to be told about that file: no system knows it.
"""

from __future__ import annotations

import datetime
import ssl
from enum import Enum
from pathlib import Path

import trustme

_PAST = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


class Shown(Enum):
    """What a server shows to those who connect to 127.0.0.1."""

    RIGHT = "right"
    OTHER_NAME = "other-name"
    EXPIRED = "expired"
    UNKNOWN_CA = "unknown-ca"


class Certificates:
    """A certificate authority of our own, with what it issued, in a folder.

    Attributes:
        ca_file: Its certificate, which clients have to trust.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(self.ca_file)

    def files(self, shown: Shown = Shown.RIGHT) -> tuple[Path, Path]:
        """The files with the certificate chain and with the key that a server shows."""
        if shown is Shown.OTHER_NAME:
            return self._written(shown.value, self._authority.issue_cert("elsewhere.example"))
        if shown is Shown.EXPIRED:
            until = _PAST + datetime.timedelta(days=30)
            return self._written(
                shown.value, self._authority.issue_cert("127.0.0.1", "localhost", not_before=_PAST, not_after=until)
            )
        authority = trustme.CA() if shown is Shown.UNKNOWN_CA else self._authority
        return self._written(shown.value, authority.issue_cert("127.0.0.1", "localhost"))

    def client_files(self) -> tuple[Path, Path]:
        """The files with the certificate and the key that a client can show."""
        return self._written("client", self._authority.issue_cert("me@example.org"))

    def context(self, shown: Shown = Shown.RIGHT) -> ssl.SSLContext:
        """What a server needs to show it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.files(shown))
        return context

    def context_for_known_clients(self) -> ssl.SSLContext:
        """What a server needs that speaks only with those who show a certificate of this authority."""
        context = self.context()
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(self.ca_file)
        return context

    def _written(self, name: str, certificate: trustme.LeafCert) -> tuple[Path, Path]:
        chain, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        for number, pem in enumerate(certificate.cert_chain_pems):
            pem.write_to_path(chain, append=number > 0)
        certificate.private_key_pem.write_to_path(key)
        return chain, key
