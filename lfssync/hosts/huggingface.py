"""The Hugging Face Hub: models, datasets and spaces.

One of the hosts. The one thing to know: it makes a first commit of its own in every new repository (with a
`.gitattributes`), so the first push builds on that; a licence is part of the model card, README.md.

Source: huggingface_hub, `hf_api.py`; hub-docs, model cards.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lfssync.credentials import Credential
from lfssync.errors import LfssyncError, TransientError, UserError
from lfssync.hosts import Identity, Limits, Made, Wish
from lfssync.hosts.api import PATIENCE, Api, licence, owner_and_name, refusal, text, texts
from lfssync.hosts.preflight import HUGGING_FACE
from lfssync.web.messages import Answer, Request
from lfssync.web.retrying import persist

if TYPE_CHECKING:
    from lfssync.web.client import Client

_KINDS = {"datasets": "dataset", "spaces": "space"}
_MAY_EXIST = (401, 402, 403, 409)
"""Answers to an attempt to create something that may be there already."""


@dataclass(frozen=True, slots=True)
class HuggingFace:
    """The Hub, or a server that speaks like it.

    Args:
        address: `https://huggingface.co`, or what `HF_ENDPOINT` names.
    """

    address: str
    name: str = "Hugging Face"
    limits: Limits = HUGGING_FACE
    has_pages: bool = False

    @property
    def host(self) -> str:
        """See `Host.host`."""
        return urlsplit(self.address).netloc

    def authorization(self, credential: Credential) -> str:
        """See `Host.authorization`. Tokens of applications are taken as Bearer only."""
        return f"Bearer {credential.secret}"

    def _api(self, client: Client, credential: Credential) -> Api:
        return Api(client, self.address, self.authorization(credential))

    def whoami(self, client: Client, credential: Credential) -> Identity:
        """See `Host.whoami`."""
        answer = self._api(client, credential).ask(f"{self.host} does not know this token", "GET", "/api/whoami-v2")
        document = answer.document()
        organisations = texts(document.get("orgs") if isinstance(document, dict) else None, "name")
        try:
            role = text(document, "auth", "accessToken", "role")
        except TransientError:
            role = ""
        return Identity(
            text(document, "name"),
            organisations,
            (role,) if role else (),
            {"write": True, "admin": True, "read": False}.get(role),
        )

    def create(self, client: Client, credential: Credential, path: str, wish: Wish) -> Made:
        """See `Host.create`. A dataset or a space is known by its prefix: `datasets/me/corpus`."""
        prefix, _, rest = path.strip("/").partition("/")
        kind = _KINDS.get(prefix, "model")
        owner, name = owner_and_name(rest if prefix in _KINDS else path, self.name)
        if kind == "space":
            raise UserError("a space needs a choice of software", "create it on the Hub's pages, then add it")
        card = _card(licence(wish.license)) if wish.license else ""
        api = self._api(client, credential)
        given = {
            "name": name,
            "organization": owner,
            "type": kind,
            "visibility": "public" if wish.is_public else "private",
        }
        what = f"{self.host} does not create {path}"

        def once() -> Answer:
            answer = api.ask(what, "POST", "/api/repos/create", given, also=_MAY_EXIST)
            if answer.is_success or self._may_write(api, f"{kind}s/{owner}/{name}"):
                return answer
            if answer.status == 409:  # another operation is under way there, and nothing to see of it yet
                raise TransientError(str(refusal(answer, what)), "it is tried again")
            raise refusal(answer, what)

        answer = persist(once, patience=PATIENCE)
        if card and answer.is_success:
            self._commit(api, f"{kind}s/{owner}/{name}", card)
        address = f"{self.address}/{prefix + '/' if prefix in _KINDS else ''}{owner}/{name}"
        return Made(address, answer.is_success)

    def _may_write(self, api: Api, repository: str) -> bool:
        """Whether a repository is there, and ours to write to."""
        asked = f"/api/{repository}/auth-check/write"
        return api.ask(f"{self.host} does not open {repository}", "GET", asked, also=(401, 403, 404)).is_success

    def _commit(self, api: Api, repository: str, card: str) -> None:
        content = base64.b64encode(card.encode()).decode()
        lines = (
            {"key": "header", "value": {"summary": "Say the licence", "description": ""}},
            {"key": "file", "value": {"path": "README.md", "content": content, "encoding": "base64"}},
        )
        body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        headers = {"Authorization": api.authorization, "Content-Type": "application/x-ndjson"}
        answer = api.client.send(Request("POST", f"{self.address}/api/{repository}/commit/main", headers, body))
        if not answer.is_success:
            error = refusal(answer, f"{self.host} created {repository}, but does not take its licence")
            raise LfssyncError(error.message, "put it into README.md, between two lines with ---: license: ...")

    def release(
        self, client: Client, credential: Credential, path: str, tag: str, title: str, notes: str
    ) -> str | None:
        """See `Host.release`: a tag is all there is here."""
        return None


def _card(license_id: str) -> str:
    return f"---\nlicense: {license_id.lower()}\n---\n"
