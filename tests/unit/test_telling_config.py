"""`[daemon]` and `[[notify]]` of the configuration file: what they mean, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lfssync.configuration.config import parse
from lfssync.configuration.telling import Address, Occasion, Target, Telling
from lfssync.errors import UserError
from lfssync.places import Places

PLACES = Places(Path("/h/config.toml"), Path("/h/state"), Path("/h/data"), Path("/run/h"), Path("/h"))
SECRET = "https://hooks.example.org/services/T000/B000/s3cr3t"


def telling(text: str) -> Telling:
    return parse(text, PLACES.config_file, PLACES).telling


def test_nothing_is_told_unless_it_is_asked_for() -> None:
    assert telling("") == Telling()


def test_all_that_can_be_asked_for() -> None:
    text = f"""
        [daemon]
        metrics = "127.0.0.1:9465"
        metrics_file = "~/textfile/lfssync.prom"
        [[notify]]
        webhook = "{SECRET}"
        on = ["failure", "release"]
        [[notify]]
        webhook_file = "~/hook"
        [[notify]]
        command = ["~/bin/tell", "--quiet"]
        [[notify]]
        desktop = true
    """
    found = telling(text)
    assert (found.metrics, found.metrics_file) == (Address("127.0.0.1", 9465), Path("/h/textfile/lfssync.prom"))
    assert found.targets == (
        Target(webhook=SECRET, on=frozenset({Occasion.FAILURE, Occasion.RELEASE})),
        Target(webhook_file=Path("/h/hook")),
        Target(command=("/h/bin/tell", "--quiet")),
        Target(desktop=True),
    )
    assert [one.words for one in found.targets] == [
        "webhook at hooks.example.org",
        "webhook of /h/hook",
        "command /h/bin/tell",
        "desktop",
    ]
    assert "s3cr3t" not in repr(found)


@pytest.mark.parametrize(
    ("text", "address", "is_loopback"),
    [
        ("localhost:1", "127.0.0.1:1", True),
        ("[::1]:9465", "[::1]:9465", True),
        ("0.0.0.0:65535", "0.0.0.0:65535", False),
        ("192.0.2.7:80", "192.0.2.7:80", False),
    ],
)
def test_addresses_for_metrics(text: str, address: str, is_loopback: bool) -> None:
    found = telling(f'[daemon]\nmetrics = "{text}"').metrics
    assert found is not None
    assert (str(found), found.is_loopback) == (address, is_loopback)


@pytest.mark.parametrize("text", ["9465", ":9465", "example.org:9465", "127.0.0.1", "127.0.0.1:0", "1.2.3.4:99999", ""])
def test_what_is_no_address_for_metrics(text: str) -> None:
    with pytest.raises(UserError, match="is not an IP address and a port") as caught:
        telling(f'[daemon]\nmetrics = "{text}"')
    assert caught.value.message.startswith("/h/config.toml:2: metrics: ")
    assert "127.0.0.1:9465" in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ('[daemon]\nmetric = "x"', 'config.toml:2: unknown key "metric" in [daemon]', 'did you mean "metrics"?'),
        ('[daemon]\nquiet = "5s"', 'config.toml:2: unknown key "quiet" in [daemon]', ""),
        ('[defaults]\nmetrics = "x"', 'config.toml:2: unknown key "metrics" in [defaults]', "put it into [daemon]"),
        ('metrics = "x"', 'config.toml:1: unknown key "metrics" at the top of the file', "put it into [daemon]"),
        ('daemon = "x"', "config.toml:1: daemon: must be a table", ""),
        ('[daemon]\nmetrics_file = "/tmp/x"', "config.toml:2: metrics_file: /tmp/x does not end in .prom", ""),
        (
            '[daemon]\nmetrics_file = "/d/a/x.prom"\n[[mirror]]\npath = "/d"',
            "config.toml:2: metrics_file: /d/a/x.prom is in a mirrored directory",
            "put it elsewhere",
        ),
        (
            '[[mirror]]\npath = "/out/*/run-?"\n[daemon]\nmetrics_file = "/out/a/run-1/deep/x.prom"',
            "config.toml:4: metrics_file: /out/a/run-1/deep/x.prom is in a mirrored directory",
            "put it elsewhere",
        ),
        ('[daemon]\nmetrics_file = "x.prom"', "config.toml:2: metrics_file: 'x.prom' is not absolute", ""),
        ("[notify]\ndesktop = true", "config.toml:1: notify: must be an array of tables", "[["),
        ("[[notify]]", "config.toml:1: [[notify]] does not say whom", "give one of webhook"),
        ("\n[[notify]]\non = []", "config.toml:2: [[notify]] does not say whom", ""),
        (
            '[[notify]]\ndesktop = true\ncommand = ["/a"]',
            "config.toml:2: [[notify]] has command and desktop",
            "give one of",
        ),
        ("[[notify]]\ndesktop = false", "config.toml:2: desktop: must be true", ""),
        ('[[notify]]\ncommand = "/a b"', "config.toml:2: command: must be an array of strings", ""),
        ('[[notify]]\ncommand = ["tell"]', "config.toml:2: command: 'tell' is not absolute", ""),
        ('[[notify]]\ncommand = ["/a", "\\u0000"]', "config.toml:2: command: has a NUL character", ""),
        ('[[notify]]\ndesktop = true\non = ["failures"]', "config.toml:3: on: must be", 'did you mean "failure"?'),
        ("[[notify]]\ndesktop = true\non = []", "config.toml:3: on: must be an array", ""),
        ("[[notify]]\ndesktop = true\nof = 1", 'config.toml:3: unknown key "of" in [[notify]]', ""),
        ("[[notify]]\ndesktop = true\n" * 9, "there are more than 8 [[notify]]", "a command"),
    ],
)
def test_what_is_wrong_is_refused_where_it_stands(text: str, message: str, remedy: str) -> None:
    with pytest.raises(UserError) as caught:
        telling(text)
    assert message in caught.value.message
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.org/s3cr3t",
        "https://me:s3cr3t@hooks.example.org/",
        "https:///s3cr3t",
        "s3cr3t",
        "https://hooks.example.org/s3cr3t two",
        "https://hooks.example.org:0/s3cr3t",
        "https://[s3cr3t/",
        "https://hooks.example.org/s3cr3t\\n",
    ],
)
def test_what_is_no_webhook_is_not_repeated(url: str) -> None:
    with pytest.raises(UserError) as caught:
        telling(f'[[notify]]\nwebhook = "{url}"')
    assert caught.value.message == "/h/config.toml:2: webhook: it is not an https:// address"
    assert "s3cr3t" not in str(caught.value)


def test_a_webhook_of_this_machine_needs_no_encryption() -> None:
    assert telling('[[notify]]\nwebhook = "http://127.0.0.1:8080/hook"').targets[0].webhook
