"""Which host an address belongs to: by its name where it is known, else by asking it once.

Above the single hosts. The one thing to know: nothing but the name decides about huggingface.co and its like, so no
answer of a strange server can make us take it for one of them; asking is for servers of one's own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lfssync.errors import LfssyncError, UserError
from lfssync.hosts import Host
from lfssync.hosts.gitea import Gitea
from lfssync.hosts.github import GitHub
from lfssync.hosts.gitlab import GitLab
from lfssync.hosts.huggingface import HuggingFace
from lfssync.hosts.plain import PlainHost
from lfssync.rules.remotes import RemoteKind, hub_endpoint, parse_remote
from lfssync.web.messages import Request

if TYPE_CHECKING:
    from lfssync.web.client import Client

_ASKED = (("/api/v1/user", Gitea), ("/api/v4/user", GitLab), ("/api/whoami-v2", HuggingFace))
"""What each kind of server answers in JSON, if only to say that it does not know us."""


def host_of(url: str, environment: Mapping[str, str]) -> Host:
    """The host of a remote, by its name alone.

    Args:
        url: As `parse_remote` gives it: https, http on this machine, ssh, or `user@host:path`.
        environment: `HF_ENDPOINT` counts.

    Raises:
        UserError: It is a path, which has no host.
    """
    endpoint = hub_endpoint(environment)
    if url.startswith(f"{endpoint}/"):
        return HuggingFace(endpoint)
    remote = parse_remote(url, Path("/"))
    if remote.kind is RemoteKind.LOCAL:
        raise UserError(f"{url} is on no host", "name an address such as hf:owner/name")
    if remote.host in ("huggingface.co", "hf.co"):
        return HuggingFace("https://huggingface.co")
    if remote.host in ("github.com", "ssh.github.com"):
        return GitHub()
    if remote.host in ("gitlab.com", "altssh.gitlab.com"):
        return GitLab()
    if remote.host == "codeberg.org":
        return Gitea("https://codeberg.org", "Codeberg")
    if remote.kind is RemoteKind.SSH:  # its ports and paths say nothing about https
        return PlainHost(f"https://{remote.host}")
    parts = urlsplit(remote.url)
    return PlainHost(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")


def recognised(host: Host, client: Client) -> Host:
    """The same host, or what it turns out to be when it is asked: a Gitea or Forgejo, a GitLab, a server like the Hub.

    No login is sent.
    """
    if not isinstance(host, PlainHost):
        return host
    for path, kind in _ASKED:
        try:
            answer = client.send(Request("GET", host.address + path, {"Accept": "application/json"}))
            document = json.loads(answer.content) if answer.status in (200, 401, 403) else None
        except (LfssyncError, ValueError):
            continue
        if isinstance(document, dict):
            return kind(host.address)
    return host
