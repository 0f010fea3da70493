"""Which host an address belongs to, by its name; what nobody asked may not be guessed from anything else."""

from __future__ import annotations

import pytest

from lfssync.credentials import Credential
from lfssync.errors import UserError
from lfssync.hosts import Host
from lfssync.hosts.gitea import Gitea
from lfssync.hosts.github import GitHub
from lfssync.hosts.gitlab import GitLab
from lfssync.hosts.huggingface import HuggingFace
from lfssync.hosts.known import host_of
from lfssync.hosts.plain import PlainHost

HUB = HuggingFace("https://huggingface.co")


@pytest.mark.parametrize(
    ("url", "environment", "host"),
    [
        ("https://huggingface.co/me/m", {}, HUB),
        ("https://me@huggingface.co/datasets/me/m", {}, HUB),
        ("git@hf.co:me/m", {}, HUB),
        ("https://huggingface.co/me/m", {"HF_ENDPOINT": "http://localhost:1"}, HUB),
        ("http://localhost:1/me/m", {"HF_ENDPOINT": "http://localhost:1"}, HuggingFace("http://localhost:1")),
        ("http://localhost:11/me/m", {"HF_ENDPOINT": "http://localhost:1"}, PlainHost("http://localhost:11")),
        ("https://h.example/hub/me/m", {"HF_ENDPOINT": "https://h.example/hub/"}, HuggingFace("https://h.example/hub")),
        ("https://github.com/me/m.git", {}, GitHub()),
        ("ssh://git@ssh.github.com:443/me/m.git", {}, GitHub()),
        ("git@gitlab.com:group/sub/m.git", {}, GitLab()),
        ("https://codeberg.org/me/m", {}, Gitea("https://codeberg.org", "Codeberg")),
        ("https://github.com.example.org/me/m", {}, PlainHost("https://github.com.example.org")),
        ("https://me@git.example.org:8443/github.com/m", {}, PlainHost("https://git.example.org:8443")),
        ("ssh://git@git.example.org:2222/me/m", {}, PlainHost("https://git.example.org")),
    ],
)
def test_by_name(url: str, environment: dict[str, str], host: Host) -> None:
    assert host_of(url, environment) == host


def test_a_path_is_on_no_host() -> None:
    with pytest.raises(UserError, match="is on no host"):
        host_of("/mnt/nas/m.git", {})


@pytest.mark.parametrize(
    ("host", "netloc", "header"),
    [
        (HUB, "huggingface.co", "Bearer s3cret"),
        (GitHub(), "github.com", "Bearer s3cret"),
        (GitLab("https://gitlab.example.org:8443"), "gitlab.example.org:8443", "Bearer s3cret"),
        (Gitea("https://codeberg.org"), "codeberg.org", "token s3cret"),
        (PlainHost("https://git.example.org"), "git.example.org", "Basic bWU6czNjcmV0"),
    ],
)
def test_who_logins_are_kept_for_and_how_they_are_sent(host: Host, netloc: str, header: str) -> None:
    assert host.host == netloc
    assert host.authorization(Credential("me", "s3cret")) == header
    assert host.name
    assert "s3cret" not in repr(Credential("me", "s3cret"))
