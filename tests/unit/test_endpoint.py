"""Where the LFS server of an address is, held against what stock git-lfs prints for the same address."""

from __future__ import annotations

import pytest

from lfssync.git.sshcommand import Place, place_of, ssh_words
from lfssync.rules.remotes import Remote, RemoteKind
from lfssync.transfer.endpoint import Endpoint, derived

DERIVED = {
    "https://h/foo/bar": "https://h/foo/bar.git/info/lfs",
    "https://h/foo/bar.git": "https://h/foo/bar.git/info/lfs",
    "https://h/foo/bar/": "https://h/foo/bar.git/info/lfs",
    "https://h/foo/bar.git/": "https://h/foo/bar.git/info/lfs",
    "https://u@h:8443/foo/bar": "https://u@h:8443/foo/bar.git/info/lfs",
    "https://h/foo%20x/bar": "https://h/foo%20x/bar.git/info/lfs",
    "https://h/foo/bar.v1": "https://h/foo/bar.v1.git/info/lfs",
    "https://huggingface.co/datasets/u/m": "https://huggingface.co/datasets/u/m.git/info/lfs",
    "http://127.0.0.1:4711/a/b": "http://127.0.0.1:4711/a/b.git/info/lfs",
    "git@h:foo/bar.git": "https://h/foo/bar.git/info/lfs",
    "git@h:foo/bar": "https://h/foo/bar.git/info/lfs",
    "git@h:/abs/bar.git": "https://h//abs/bar.git/info/lfs",
    "git@h:~u/bar": "https://h/~u/bar.git/info/lfs",
    "[git@h:2222]:foo/bar.git": "https://h/foo/bar.git/info/lfs",
    "ssh://git@h:2222/foo/bar.git": "https://h/foo/bar.git/info/lfs",
    "ssh://h/foo/bar": "https://h/foo/bar.git/info/lfs",
    "ssh://git@h/~/bar.git": "https://h/~/bar.git/info/lfs",
    "git://h/foo/bar.git": "https://h/foo/bar.git/info/lfs",
    "file:///p/r.git": "file:///p/r.git",
}
"""What git-lfs itself prints, which `test_discovery` shows."""

OWN = {
    "/p/r.git": "file:///p/r.git",
    "ssh://git@h/foo/bar/": "https://h/foo/bar.git/info/lfs",
    "ssh://git@h/foo%20x/bar": "https://h/foo%20x/bar.git/info/lfs",
    "git@h:foo x/bar.git": "https://h/foo%20x/bar.git/info/lfs",
    "git@[::1]:foo/bar.git": "https://[::1]/foo/bar.git/info/lfs",
    "ssh://git@[::1]:22/foo/bar.git": "https://[::1]/foo/bar.git/info/lfs",
}
"""Where git-lfs gives something that is no address."""


@pytest.mark.parametrize(("url", "expected"), [*DERIVED.items(), *OWN.items()])
def test_the_server_that_belongs_to_an_address(url: str, expected: str) -> None:
    assert derived(url) == expected


def test_an_endpoint_does_not_show_its_headers() -> None:
    assert "secret" not in repr(Endpoint("https://h/x", {"Authorization": "secret"}))


@pytest.mark.parametrize(
    ("url", "path", "host", "expected"),
    [
        ("git@h:foo/bar.git", "foo/bar.git", "h", Place("git@h", "", "foo/bar.git")),
        ("git@h:/abs/bar.git", "/abs/bar.git", "h", Place("git@h", "", "/abs/bar.git")),
        ("git@[::1]:foo", "foo", "::1", Place("git@::1", "", "foo")),
        ("ssh://git@h:2222/foo/bar.git", "foo/bar.git", "h", Place("git@h", "2222", "/foo/bar.git")),
        ("ssh://h/foo%20x/bar", "foo%20x/bar", "h", Place("h", "", "/foo x/bar")),
        ("ssh://a%40b@h/foo", "foo", "h", Place("a@b@h", "", "/foo")),
    ],
)
def test_what_ssh_is_asked_for(url: str, path: str, host: str, expected: Place) -> None:
    assert place_of(Remote(url, RemoteKind.SSH, host, path)) == expected


PLACE = Place("git@h", "2222", "/x")
ASKED = ["git-lfs-authenticate", "a b/x.git", "upload"]
QUOTED = "git-lfs-authenticate 'a b/x.git' upload"


@pytest.mark.parametrize(
    ("variables", "configured", "variant", "expected"),
    [
        ({}, "", "", ["ssh", "-p", "2222", "git@h", QUOTED]),
        ({"GIT_SSH": "/opt/my ssh"}, "", "", ["/opt/my ssh", "-p", "2222", "git@h", QUOTED]),
        ({"GIT_SSH": "x"}, "ssh -v", "", ["sh", "-c", 'ssh -v "$@"', "ssh -v", "-p", "2222", "git@h", QUOTED]),
        ({"GIT_SSH_COMMAND": "y"}, "ssh -v", "", ["sh", "-c", 'y "$@"', "y", "-p", "2222", "git@h", QUOTED]),
        ({"GIT_SSH": "/opt/plink.exe"}, "", "", ["/opt/plink.exe", "-P", "2222", "git@h", QUOTED]),
        ({"GIT_SSH": "x"}, "", "tortoiseplink", ["x", "-batch", "-P", "2222", "git@h", QUOTED]),
        ({"GIT_SSH": "plink", "GIT_SSH_VARIANT": "ssh"}, "", "putty", ["plink", "-p", "2222", "git@h", QUOTED]),
        ({"GIT_SSH_COMMAND": "'"}, "", "", ["sh", "-c", '\' "$@"', "'", "-p", "2222", "git@h", QUOTED]),
    ],
)
def test_ssh_is_called_as_git_calls_it(
    variables: dict[str, str], configured: str, variant: str, expected: list[str]
) -> None:
    assert ssh_words(PLACE, ASKED, variables, configured, variant) == expected


def test_without_a_port_ssh_chooses() -> None:
    assert ssh_words(Place("h", "", "x"), ["true"], {}) == ["ssh", "h", "true"]
