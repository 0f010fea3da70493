"""Which of the caller's environment reaches git."""

from __future__ import annotations

import pytest

from lfssync.git.gitcommand import environment


@pytest.mark.parametrize(
    "name",
    [
        "LFSSYNC_TOKEN", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "GITHUB_TOKEN", "gitlab_token", "GIT_PASSWORD",
        "DB_PASSWD",
        "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "WANDB_API_KEY", "OPENAI_APIKEY", "SSH_PASSPHRASE", "SMTP_PASS",
        "GH_PAT", "npm_config_//registry/:_authToken",
    ],
)  # fmt: skip
def test_secrets_stay_here(name: str) -> None:
    assert name not in environment({name: "canary"})


@pytest.mark.parametrize(
    "name",
    [
        "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_0",
        "GIT_CONFIG",
        "GIT_EXTERNAL_DIFF", "GIT_TRACE", "GIT_TRACE_CURL", "GIT_CURL_VERBOSE", "GIT_TEMPLATE_DIR", "GIT_LFS_PROGRESS",
        "GIT_LFS_SKIP_SMUDGE", "GIT_PROXY_COMMAND", "GIT_AUTHOR_NAME", "GIT_COMMITTER_DATE", "GIT_NO_REPLACE_OBJECTS",
        "GIT_REPLACE_REF_BASE", "GIT_GLOB_PATHSPECS", "GIT_QUARANTINE_PATH",
    ],
)  # fmt: skip
def test_what_would_turn_git_elsewhere_stays_here(name: str) -> None:
    assert environment({name: "canary"}).get(name) != "canary"


@pytest.mark.parametrize(
    "name",
    [
        "PATH", "HOME", "XDG_CONFIG_HOME", "SSH_AUTH_SOCK", "HTTPS_PROXY", "no_proxy", "GIT_SSH", "GIT_SSH_COMMAND",
        "GIT_SSL_CAINFO", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "KRB5CCNAME", "TMPDIR", "PATTERN", "COMPASS",
    ],
)  # fmt: skip
def test_the_users_own_ways_to_a_remote_are_kept(name: str) -> None:
    assert environment({name: "value"})[name] == "value"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_ASKPASS", ""),
        ("GIT_ALLOW_PROTOCOL", "file:http:https:ssh"),
        ("LC_ALL", "C.UTF-8"),
        ("SSH_ASKPASS_REQUIRE", "never"),
    ],
)
def test_nothing_asks_and_nothing_is_translated(name: str, value: str) -> None:
    assert environment({name: "something else"})[name] == value
