"""git's words, as git 2.39 and git-lfs 3.3 really say them, and the kind of error they become."""

from __future__ import annotations

import pytest

from lfssync.errors import AuthError, LfssyncError, NetworkError, RefusedError, TransientError, UserError
from lfssync.git.giterrors import explain, telling_line

READ = "fatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights\n"


@pytest.mark.parametrize(
    ("stderr", "kind"),
    [
        ("fatal: '/nope' does not appear to be a git repository\n" + READ, RefusedError),
        ("remote: Repository not found.\nfatal: repository 'https://h/x/' not found", RefusedError),
        ("fatal: unable to access 'https://h/x/': Failed to connect to h port 443", NetworkError),
        ("fatal: unable to access 'https://h/x/': The requested URL returned error: 403", AuthError),
        ("fatal: unable to access 'https://h/x/': The requested URL returned error: 301", RefusedError),
        ("error: RPC failed; HTTP 308 curl 22 The requested URL returned error: 308", RefusedError),
        ("fatal: unable to access 'https://h/x/': Unsupported proxy syntax in 'x'", NetworkError),
        ("fatal: unable to access 'https://h/x/': Could not resolve proxy: nowhere", NetworkError),
        ("fatal: unable to access 'https://h/x/': The requested URL returned error: 429", TransientError),
        ("fatal: unable to access 'https://h/x/': The requested URL returned error: 503", TransientError),
        ("fatal: could not read Username for 'https://h': terminal prompts disabled", AuthError),
        ("fatal: Authentication failed for 'https://h/x/'", AuthError),
        ("git@h: Permission denied (publickey).\n" + READ, AuthError),
        ("Host key verification failed.\n" + READ, AuthError),
        ("ssh: connect to host h port 22: Connection refused\n" + READ, NetworkError),
        ("ssh: Could not resolve hostname h: Name or service not known\n" + READ, NetworkError),
        ("fatal: detected dubious ownership in repository at '/srv/r.git'\n" + READ, UserError),
        ("fatal: transport 'ext' not allowed", UserError),
        ("fatal: ref updates aborted by hook\nfatal: the remote end hung up unexpectedly", RefusedError),
        ("fatal: cannot update ref 'refs/heads/m': couldn't write '/x/refs/heads/m.lock'", TransientError),
        ("fatal: sha1 file 'pack/tmp_pack_x' write error. Out of diskspace", TransientError),
        ("error: file write error: No space left on device\nfatal: unable to write object", TransientError),
        ("fatal: Unable to create '/x/.git/index.lock': File exists.\n\nAnother git process", TransientError),
        ("fatal: cannot lock ref 'refs/heads/m': is at 11 but expected 22", TransientError),
        ("fatal: cannot lock ref 'refs/heads/a/b': 'refs/heads/a' exists; cannot create", LfssyncError),
        ("batch response: Authentication required: Authorization error: http://h/info/lfs", AuthError),
        ("error: RPC failed; HTTP 502 curl 22\nfatal: the remote end hung up unexpectedly", TransientError),
        ("fatal: the remote end hung up unexpectedly", NetworkError),
        ("batch response: Rate limit exceeded: http://h/objects/batch", TransientError),
        ("Repository or object not found: http://h/objects/batch\nCheck that it exists", RefusedError),
        ("dial tcp 127.0.0.1:1: connect: connection refused", NetworkError),
        ("fatal: out of memory, malloc failed", TransientError),
        ("fatal: bad object HEAD", LfssyncError),
        ("", LfssyncError),
    ],
)
def test_the_kind_of_an_error_follows_from_its_words(stderr: str, kind: type[LfssyncError]) -> None:
    error = explain("push", 128, stderr, "https://h/x")
    assert type(error) is kind
    assert error.message.startswith("git push at https://h/x: ")
    assert error.remedy


def test_a_command_that_was_killed_is_tried_again() -> None:
    error = explain("fetch", -9, "")
    assert type(error) is TransientError
    assert "signal 9" in error.message


def test_the_remedy_for_a_foreign_owner_can_be_typed_as_it_stands() -> None:
    error = explain("push", 128, "fatal: detected dubious ownership in repository at '/srv/r.git'\n")
    assert "git config --global --add safe.directory '/srv/r.git'" in error.remedy


@pytest.mark.parametrize(
    ("stderr", "line"),
    [
        ("fatal: '/x' does not appear to be a git repository\n" + READ, "'/x' does not appear to be a git repository"),
        ("git@h: Permission denied (publickey).\n" + READ, "git@h: Permission denied (publickey)."),
        ("warning: x\nsomething else\n\n", "something else"),
        (
            "Error downloading object: x\n\nErrors logged to '/l'.\nUse `git lfs logs last` to view the log.\n",
            "Error downloading object: x",
        ),
        ("\n", ""),
    ],
)
def test_the_line_shown_is_the_one_that_tells_why(stderr: str, line: str) -> None:
    assert telling_line(stderr) == line


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "fatal: unable to access 'https://h.example/me/m/': Could not resolve host: h.example",
            "git fetch at https://h.example/me/m: unable to access: Could not resolve host: h.example",
        ),
        (
            "fatal: repository 'https://h.example/me/m/' not found",
            "git fetch at https://h.example/me/m: repository not found",
        ),
        (
            "fatal: could not read Username for 'https://h.example'",
            "git fetch at https://h.example/me/m: could not read Username for 'https://h.example'",
        ),
        (
            "fatal: https://h.example/me/models is odd",
            "git fetch at https://h.example/me/m: https://h.example/me/models is odd",
        ),
    ],
)
def test_an_address_is_named_once(said: str, told: str) -> None:
    assert explain("fetch", 128, said, "https://h.example/me/m").message == told
