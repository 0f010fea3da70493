"""The addresses of remotes: what they become, what is refused and how the message keeps secrets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfssync.errors import UserError
from lfssync.rules.remotes import HUB, Remote, RemoteKind, hub_endpoint, is_on_hub, is_relative_path, mask, parse_remote

HOME = Path("/home/ann")
HTTPS, HTTP, SSH, LOCAL = RemoteKind.HTTPS, RemoteKind.HTTP, RemoteKind.SSH, RemoteKind.LOCAL


def refusal(text: str) -> UserError:
    with pytest.raises(UserError) as caught:
        parse_remote(text, HOME)
    return caught.value


@pytest.mark.parametrize(
    ("text", "url", "kind", "host", "path"),
    [
        ("hf:me/my-model", "https://huggingface.co/me/my-model", HTTPS, "huggingface.co", "me/my-model"),
        ("hf:datasets/me/d", "https://huggingface.co/datasets/me/d", HTTPS, "huggingface.co", "datasets/me/d"),
        ("hf:spaces/me/s", "https://huggingface.co/spaces/me/s", HTTPS, "huggingface.co", "spaces/me/s"),
        ("gh:me/model", "https://github.com/me/model.git", HTTPS, "github.com", "me/model.git"),
        ("gh:me/model.git", "https://github.com/me/model.git", HTTPS, "github.com", "me/model.git"),
        ("gl:group/model", "https://gitlab.com/group/model.git", HTTPS, "gitlab.com", "group/model.git"),
        ("gl:group/sub/model", "https://gitlab.com/group/sub/model.git", HTTPS, "gitlab.com", "group/sub/model.git"),
        ("https://Example.com/o/n.git", "https://example.com/o/n.git", HTTPS, "example.com", "o/n.git"),
        ("HTTPS://example.com:8443/o/n/", "https://example.com:8443/o/n", HTTPS, "example.com", "o/n"),
        ("https://me@example.com/o/n", "https://me@example.com/o/n", HTTPS, "example.com", "o/n"),
        ("https://a%40b.de@example.com/n", "https://a%40b.de@example.com/n", HTTPS, "example.com", "n"),
        ("https://h/o/_git/a%20b", "https://h/o/_git/a%20b", HTTPS, "h", "o/_git/a%20b"),
        ("http://localhost:3000/o/n", "http://localhost:3000/o/n", HTTP, "localhost", "o/n"),
        ("http://127.0.0.1/n", "http://127.0.0.1/n", HTTP, "127.0.0.1", "n"),
        ("http://127.8.255.9:80/n", "http://127.8.255.9:80/n", HTTP, "127.8.255.9", "n"),
        ("http://[::1]:80/n", "http://[::1]:80/n", HTTP, "::1", "n"),
        ("ssh://git@example.com:22/~me/n.git", "ssh://git@example.com:22/~me/n.git", SSH, "example.com", "~me/n.git"),
        ("ssh://alias/o/n", "ssh://alias/o/n", SSH, "alias", "o/n"),
        ("git@github.com:o/n.git", "git@github.com:o/n.git", SSH, "github.com", "o/n.git"),
        ("git@[::1]:/srv/n.git", "git@[::1]:/srv/n.git", SSH, "::1", "/srv/n.git"),
        ("file:///srv/n.git", "/srv/n.git", LOCAL, "", "/srv/n.git"),
        ("file:///srv/a%20b.git", "/srv/a b.git", LOCAL, "", "/srv/a b.git"),
        ("/srv/n.git", "/srv/n.git", LOCAL, "", "/srv/n.git"),
        ("//srv//./n.git/", "/srv/n.git", LOCAL, "", "/srv/n.git"),
        ("/srv/a:b/größe 1", "/srv/a:b/größe 1", LOCAL, "", "/srv/a:b/größe 1"),
        ("~/n.git", "/home/ann/n.git", LOCAL, "", "/home/ann/n.git"),
    ],
)
def test_remotes_that_are_taken(text: str, url: str, kind: RemoteKind, host: str, path: str) -> None:
    assert parse_remote(text, HOME) == Remote(url, kind, host, path)


def test_a_relative_path_that_ends_in_git_need_not_exist() -> None:
    assert parse_remote("no/such/n.git", HOME).url == str(Path.cwd() / "no/such/n.git")
    assert parse_remote("../n.git", HOME).url == str(Path.cwd().parent / "n.git")
    assert parse_remote("./a:b.git", HOME).url == str(Path.cwd() / "a:b.git")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "empty"),
        ("ext::sh -c 'touch /x'", "program"),
        ("ext::https://example.com/x.git", "program"),
        ("fd::17/x", "program"),
        ("persistent-https::x", "program"),
        ("a b::x", "program"),
        ("::x", "program"),
        ("-oProxyCommand=sh", "option"),
        ("--upload-pack=sh", "option"),
        ("ssh://-oProxyCommand=sh/x", "valid URL"),
        ("ssh://-oProxyCommand=sh@host/x", "valid URL"),
        ("ssh://git@-oProxyCommand=sh/x", "valid URL"),
        ("git@-oProxyCommand=sh:x", "knows"),
        ("-x@host:x", "option"),
        ("git@host:-x", "knows"),
        ("git@host:", "knows"),
        ("host:o/n", "knows"),
        ("https://example.com/o\n/n", "control"),
        ("https://example.com/o/n\r", "control"),
        ("/srv/a\x1b[31m.git", "control"),
        ("/srv/\udcff.git", "control"),
        ("file:///srv/%ff", "cannot be a repository"),
        ("file:///srv/a%0ab", "'%'"),
        ("https://example.com/o%0ahost=evil", "not clean"),
        ("https://example.com/%00", "not clean"),
        ("https://example.com/%zz", "not clean"),
        ("https://example.com/a/../b", "not clean"),
        ("https://example.com/a/%2e%2e/b", "not clean"),
        ("https://example.com/a//b", "not clean"),
        ("https://example.com/a b", "valid URL"),
        ("https://example.com/a?b=c", "valid URL"),
        ("https://example.com/a#b", "valid URL"),
        ("https://example.com\\@evil.com/a", "valid URL"),
        ("https://a%0ab@example.com/a", "valid URL"),
        ("https://example.com:0/a", "valid URL"),
        ("https://example.com:65536/a", "valid URL"),
        ("https://exämple.com/a", "valid URL"),
        ("https://example..com/a", "valid URL"),
        ("https:///a", "valid URL"),
        ("https://example.com", "no repository"),
        ("https://example.com/", "no repository"),
        ("http://example.com/o/n", "in clear"),
        ("http://127.evil.com/o/n", "in clear"),
        ("http://127.0.0.1.evil.com/o/n", "in clear"),
        ("http://127.0.0.256/o/n", "in clear"),
        ("http://localhost.evil.com/o/n", "in clear"),
        ("http://[::2]/o/n", "in clear"),
        ("git://example.com/o/n", "scheme 'git'"),
        ("ftp://example.com/o/n", "scheme 'ftp'"),
        ("javascript://x/y", "scheme 'javascript'"),
        ("://x/y", "scheme ''"),
        ("file://host/x", "file:///"),
        ("/", "cannot be a repository"),
        ("~bob/n.git", "knows"),
        ("~", "knows"),
        ("hf:model", "name a repository"),
        ("hf:a/b/c", "name a repository"),
        ("hf:me/..", "name a repository"),
        ("hf:me/", "name a repository"),
        ("hf:me/a b", "name a repository"),
        ("hf:me/{name}", "name a repository"),
        ("gh:a/b/c", "name a repository"),
        ("gh:a/.git", "name a repository"),
        ("gl:a", "name a repository"),
        ("bb:a/b", "knows"),
        ("C:\\models", "knows"),
        ("no-such-folder-anywhere", "knows"),
    ],
)
def test_everything_else_is_refused(text: str, what: str) -> None:
    error = refusal(text)
    assert what in error.message
    assert error.remedy
    assert str(error).isprintable()


SECRET = "s3cr3tPassw0rd"


@pytest.mark.parametrize(
    "text",
    [
        f"https://me:{SECRET}@example.com/o/n",
        f"https://:{SECRET}@example.com/o/n",
        f"https://me:{SECRET}/x@example.com/o/n",
        f"https://me:x/{SECRET}@example.com/o/n",
        f"https://me:{SECRET}@@example.com/o/n",
        f"https://me:{SECRET}",
        f"https://me:{SECRET}%40example.com/o/n",
        f"https://me:{SECRET}\n@example.com/o/n",
        f"https://me:{SECRET}@example.com/o?x=http://y",
        f"ssh://git:{SECRET}@example.com/o/n",
        f"http://me:{SECRET}@localhost/o/n",
        f"git:{SECRET}@example.com:o/n",
        f"ftp://me:{SECRET}@example.com/x",
        f"ext::https://me:{SECRET}@example.com/x",
        f"-https://me:{SECRET}@example.com/x",
        f"https://example.com/o/n?private_token={SECRET}",
        f"https://example.com/o/n#{SECRET}",
        f"https://hf_{SECRET:x<34}@example.com/o/n",
        f"https://example.com/glpat-{SECRET:x<20}/n",
        f"hf:me/github_pat_{SECRET:x<60}",
    ],
)
def test_secrets_are_refused_and_never_repeated(text: str) -> None:
    error = refusal(text)
    assert SECRET not in str(error)
    assert "***" in error.message


def test_the_remedy_for_a_password_is_the_keyring() -> None:
    error = refusal(f"https://me:{SECRET}@example.com/o/n")
    assert error.message == "remote 'https://***@example.com/o/n' has a password in it"
    assert "credential helper" in error.remedy


@pytest.mark.parametrize(
    "text",
    [
        "https://me@example.com/o/n",
        "git@host:o/n",
        "/srv/a@b",
        "~/a:b@c",
        "hf:me/hf_model",
        "http://h:80/x",
        "http://[::2]:80/x",
    ],
)
def test_harmless_addresses_are_shown_as_they_are(text: str) -> None:
    assert mask(text) == text


@pytest.mark.parametrize(
    ("text", "relative"),
    [("a", True), ("a/b:c", True), ("./a", True), ("a.git", True), ("/a", False), ("~/a", False), ("hf:a/b", False)],
)
def test_relative_paths_are_told_as_git_does(text: str, *, relative: bool) -> None:
    assert is_relative_path(text) == relative


PIECES = [
    "ext",
    "::",
    ":",
    "/",
    "//",
    "-",
    "@",
    "git",
    "host",
    "https",
    "ssh",
    "file",
    "hf",
    "~",
    "..",
    ".git",
    "%0a",
    "[",
    "]",
    "\n",
    " ",
    "?",
]


@given(st.lists(st.sampled_from(PIECES), max_size=10).map("".join))
def test_whatever_is_taken_runs_nothing_and_is_no_option(text: str) -> None:
    try:
        remote = parse_remote(text, HOME)
    except UserError:
        return
    assert re.match(r"/|https?://|ssh://|\w[\w.+-]*@", remote.url)
    assert remote.url.isprintable()
    assert not remote.host.startswith("-")
    assert not remote.path.startswith("-")
    if remote.kind is not LOCAL:
        assert "::" not in remote.url.partition("/")[0].partition("[")[0]
        assert parse_remote(remote.url, HOME) == remote


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("https://hub.example.org", "https://hub.example.org/datasets/me/d"),
        ("https://hub.example.org:8443/mirror", "https://hub.example.org:8443/mirror/datasets/me/d"),
        ("http://localhost:4711", "http://localhost:4711/datasets/me/d"),
    ],
)
def test_the_hub_may_be_another_server(endpoint: str, url: str) -> None:
    remote = parse_remote("hf:datasets/me/d", HOME, endpoint)
    assert remote.url == url
    assert is_on_hub(url, {"HF_ENDPOINT": f" {endpoint}/ "})
    assert hub_endpoint({"HF_ENDPOINT": f" {endpoint}/ "}) == endpoint
    assert not is_on_hub(url, {})
    assert parse_remote("gh:me/m", HOME, endpoint).host == "github.com"


@pytest.mark.parametrize("endpoint", ["", " ", "/"])
def test_no_endpoint_means_the_hub(endpoint: str) -> None:
    assert hub_endpoint({"HF_ENDPOINT": endpoint}) == HUB == "https://huggingface.co"
    assert is_on_hub("https://huggingface.co/me/m", {"HF_ENDPOINT": endpoint})


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("http://hub.example.org", "in clear"),
        ("ssh://hub.example.org", "no https address"),
        ("hub.example.org", "no https address"),
        ("ext::sh -c x", "remote helper"),
        ("https://me:secret@hub.example.org", "password"),
        ("https://hub.example.org?x=y", "not a valid URL"),
        ("https://hub.example.org\n", "control character"),
    ],
)
def test_an_endpoint_is_held_to_the_rules_of_remotes(endpoint: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as refused:
        parse_remote("hf:me/m", HOME, endpoint)
    assert refused.value.message.startswith("HF_ENDPOINT: ")
    assert "secret" not in str(refused.value)
