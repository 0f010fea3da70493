"""The stand-in of the Hub is faithful: the real huggingface_hub client works against it, and reads what it wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lfssync.errors import TransientError
from lfssync.web.client import Answer, Client, Request
from tests import helpers
from tests.servers.hub import GITATTRIBUTES, READ_TOKEN, TOKEN, Hub, hub_at
from tests.servers.hubstorage import PartKeys
from tests.servers.troubles import Trouble

CLIENT_TIMEOUT_S = 120.0

_PRELUDE = """\
import json, sys
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
api = HfApi()
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with hub_at(tmp_path / "hub") as running:
        yield running


def ask(hub: Hub, script: str, *arguments: object, token: str = TOKEN) -> object:
    """Runs a script with the real client as `api`; gives the JSON that it prints last."""
    environment = os.environ | {
        "HF_ENDPOINT": hub.address,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_TOKEN": token,
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PRELUDE + script, *map(str, arguments)],
        env=environment,
        capture_output=True,
        timeout=CLIENT_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout.splitlines()[-1])


def make_model(folder: Path) -> Path:
    helpers.write(folder / "config.json", b'{"hidden_size": 384}\n')
    helpers.write(folder / "README.md", b"---\nlicense: mit\n---\n# A model\n")
    helpers.write(folder / "model.safetensors", helpers.random_bytes(1, 300_000))
    helpers.write(folder / "weights" / "large.gguf", helpers.random_bytes(2, 2_500_000))
    helpers.write(folder / "empty.bin", b"")
    return folder


def test_it_says_whose_token_it_is(hub: Hub) -> None:
    said = ask(hub, "print(json.dumps(api.whoami()))")
    assert isinstance(said, dict)
    assert said["name"] == "me"
    assert said["orgs"] == [{"name": "my-organisation"}]
    assert said["auth"]["accessToken"]["role"] == "write"


@pytest.mark.parametrize("keys", PartKeys)
def test_a_folder_comes_back_as_it_was(hub: Hub, tmp_path: Path, keys: PartKeys) -> None:
    hub.multipart_above_bytes, hub.chunk_bytes = 1_000_000, 200_000
    hub.failures.part_keys = keys
    hub.failures.other_keys = {"upload_id": "an id"}
    model = make_model(tmp_path / "model")
    script = """
api.create_repo("me/m", private=True)
api.create_repo("me/m", exist_ok=True)
made = api.upload_folder(repo_id="me/m", folder_path=sys.argv[1])
api.create_tag("me/m", tag="v1", revision=made.oid, tag_message="The first")
api.upload_file(path_or_fileobj=b"later", path_in_repo="later.txt", repo_id="me/m")
there = snapshot_download("me/m", revision="v1", local_dir=sys.argv[2])
print(json.dumps([made.oid, [tag.target_commit for tag in api.list_repo_refs("me/m").tags]]))
"""
    copy = tmp_path / "copy"
    said = ask(hub, script, model, copy)
    assert isinstance(said, list)
    assert said[1] == [said[0]]
    fetched = {path: entry for path, entry in helpers.tree(copy).items() if not path.startswith(b".cache/")}
    assert fetched.pop(b".gitattributes").kind == helpers.Kind.FILE
    assert fetched == helpers.tree(model)
    helpers.assert_whole(hub.root / "me/m.git")
    assert len(hub.steps("part")) == 13
    assert len(hub.steps("complete")) == 1
    assert not any(
        "authorization" in seen.headers for seen in (*hub.steps("part"), *hub.steps("put"), *hub.steps("get"))
    )


def test_stock_git_and_git_lfs_clone_and_push(hub: Hub, tmp_path: Path) -> None:
    hub.make("datasets/me/d")
    hub.failures.verify_header = True
    helper = f"!f() {{ echo username=hf_user; echo password={TOKEN}; }}; f"
    helpers.git("config", "--global", "credential.helper", helper, cwd=tmp_path)
    copy = helpers.clone(f"{hub.address}/datasets/me/d", tmp_path / "copy")
    assert (copy / ".gitattributes").read_bytes() == GITATTRIBUTES
    assert helpers.git("rev-parse", "HEAD:.gitattributes", cwd=copy).decode().strip()[:8] == "a6344aac"
    helpers.write(copy / "w.bin", helpers.random_bytes(3, 50_000))
    helpers.git("add", ".", cwd=copy)
    helpers.git("commit", "--quiet", "-m", "weights", cwd=copy)
    helpers.git("lfs", "install", "--local", cwd=copy)
    helpers.git("push", "--quiet", "origin", "main", cwd=copy)
    helpers.assert_whole(hub.root / "datasets/me/d.git")
    again = helpers.clone(f"{hub.address}/datasets/me/d.git", tmp_path / "again")
    assert helpers.tree(again) == helpers.tree(copy)


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        ("big.txt", b"a line\n" * 1_600_000, "contains files larger than 10 MiB"),
        ("small.gguf", b"GGUF\0\0", "contains binary files"),
        ("README.md", b"---\nlicense: [\n---\n", "YAML metadata"),
        ("README.md", b"---\nlicense: [mit]\n---\n", '"license" must be a string'),
    ],
)
def test_what_it_does_not_take_it_refuses_with_a_reason(
    hub: Hub, tmp_path: Path, path: str, content: bytes, words: str
) -> None:
    hub.make("me/m")
    helper = f"!f() {{ echo username=hf_user; echo password={TOKEN}; }}; f"
    helpers.git("config", "--global", "credential.helper", helper, cwd=tmp_path)
    copy = helpers.clone(f"{hub.address}/me/m", tmp_path / "copy")
    helpers.write(copy / path, content)
    helpers.git("add", ".", cwd=copy)
    helpers.git("commit", "--quiet", "-m", "wrong", cwd=copy)
    (copy / path).unlink()
    helpers.git("commit", "--quiet", "-am", "a later commit does not help", cwd=copy)
    with pytest.raises(subprocess.CalledProcessError) as refused:
        helpers.git("push", "--quiet", "origin", "main", cwd=copy)
    assert words in refused.value.stderr.decode()
    assert "pre-receive hook declined" in refused.value.stderr.decode()


def test_errors_are_what_the_client_knows_them_as(hub: Hub) -> None:
    hub.make("me/m")
    script = """
def failure(call):
    try:
        call()
    except HfHubHTTPError as error:
        return [type(error).__name__, error.response.status_code]
print(json.dumps([
    failure(lambda: api.model_info("me/none")),
    failure(lambda: api.model_info("me/m", revision="v9")),
    failure(lambda: api.hf_hub_download("me/m", "none.json")),
    failure(lambda: api.create_repo("me/m")),
    failure(lambda: api.create_repo("somebody/m")),
    failure(lambda: api.create_tag("me/m", tag="t", revision="v9")),
]))
"""
    assert ask(hub, script) == [
        ["RepositoryNotFoundError", 404],
        ["RevisionNotFoundError", 404],
        ["RemoteEntryNotFoundError", 404],
        ["HfHubHTTPError", 409],
        ["HfHubHTTPError", 403],
        ["RevisionNotFoundError", 404],
    ]
    script += 'print(json.dumps(failure(lambda: api.create_repo("me/n"))))'
    assert ask(hub, script, token=READ_TOKEN) == ["HfHubHTTPError", 403]


def test_a_client_that_is_told_to_wait_waits_as_long_as_it_was_told(hub: Hub) -> None:
    hub.make("me/m")
    hub.failures.troubles.plan("revision", Trouble(429, headers={"RateLimit": '"api";r=0;t=1'}))
    script = """
from huggingface_hub.utils import http_backoff
print(json.dumps(http_backoff("GET", api.endpoint + "/api/models/me/m", headers=api._build_hf_headers()).status_code))
"""
    assert ask(hub, script) == 200
    assert len(hub.steps("revision")) == 2


OID, SIZE = "1" * 64, 25


def batch(hub: Hub, operation: str = "upload") -> dict[str, Any]:
    """What a batch says about one object."""
    document = {"operation": operation, "transfers": ["basic", "multipart"], "objects": [{"oid": OID, "size": SIZE}]}
    answer = send("POST", f"{hub.address}/me/m.git/info/lfs/objects/batch", json.dumps(document).encode(), TOKEN)
    assert answer.is_success
    reply: dict[str, Any] = answer.document()
    return reply


def send(method: str, url: str, body: bytes | None = None, token: str = "") -> Answer:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    with Client() as client:
        return client.send(Request(method, url, headers, body))


@pytest.fixture
def ready(hub: Hub) -> Hub:
    hub.make("me/m")
    return hub


def test_its_storage_takes_signed_addresses_alone_and_counts_what_is_verified(ready: Hub) -> None:
    actions = batch(ready)["objects"][0]["actions"]
    put, verify = actions["upload"]["href"], actions["verify"]["href"]
    said = json.dumps({"oid": OID, "size": SIZE}).encode()
    assert put.startswith("http://127.0.0.1:")
    assert ready.address.startswith("http://localhost:")
    assert send("PUT", put, bytes(SIZE), TOKEN).status == 400
    assert send("PUT", put.replace("signature=", "signature=0"), bytes(SIZE)).status == 403
    assert send("PUT", put, b"").status == 501
    assert send("POST", verify, said, TOKEN).status == 404
    assert send("PUT", put, bytes(SIZE)).status == 200
    assert "actions" in batch(ready)["objects"][0]
    assert send("POST", verify, said).status == 401
    assert send("POST", verify, said, TOKEN).status == 200
    assert "actions" not in batch(ready)["objects"][0]
    get = batch(ready, "download")["objects"][0]["actions"]["download"]["href"]
    assert send("GET", get).content == bytes(SIZE)
    assert send("GET", get, token=TOKEN).status == 400
    with Client() as client:
        part = client.send(Request("GET", get, {"Range": "bytes=20-"}))
        assert (part.status, part.content, part.headers["Content-Range"]) == (206, bytes(5), "bytes 20-24/25")
        assert client.send(Request("GET", get, {"Range": "bytes=25-"})).status == 416


def test_it_lies_and_fails_as_it_is_told(ready: Hub) -> None:
    failures = ready.failures
    failures.said_present = {OID}
    assert "actions" not in batch(ready)["objects"][0]
    assert "actions" in batch(ready, "download")["objects"][0]
    failures.said_present, failures.said_absent = set(), {OID}
    place = ready.repositories["me/m"].object(OID)
    helpers.write(place, bytes(SIZE))
    assert "actions" in batch(ready)["objects"][0]
    assert batch(ready, "download")["objects"][0]["error"]["code"] == 404
    failures.object_errors = {OID: (507, "no room")}
    assert batch(ready)["objects"][0]["error"] == {"code": 507, "message": "no room"}
    failures.object_errors, failures.link_lifetime_s, failures.put_status = {}, -1.0, 201
    assert send("PUT", batch(ready)["objects"][0]["actions"]["upload"]["href"], bytes(SIZE)).status == 403
    failures.link_lifetime_s = 900.0
    assert send("PUT", batch(ready)["objects"][0]["actions"]["upload"]["href"], bytes(SIZE)).status == 201


def test_it_hands_out_wrong_parts_as_it_is_told(ready: Hub) -> None:
    ready.multipart_above_bytes, ready.chunk_bytes = 20, 10
    ready.failures.parts_more, ready.failures.no_etag_on = 1, 2
    header = batch(ready)["objects"][0]["actions"]["upload"]["header"]
    assert header.keys() == {"chunk_size", "00001", "00002", "00003", "00004"}
    assert "ETag" in send("PUT", header["00001"], bytes(10)).headers
    assert "ETag" not in send("PUT", header["00002"], bytes(10)).headers


@pytest.mark.parametrize(
    "trouble",
    [Trouble(), Trouble(takes_bytes=3), Trouble(is_done=True), Trouble(503, stall_s=0.2), Trouble(302, takes_bytes=0)],
)
def test_troubles_happen_as_planned_and_end(ready: Hub, trouble: Trouble) -> None:
    ready.failures.troubles.plan("put", trouble)
    put = batch(ready)["objects"][0]["actions"]["upload"]["href"]
    if trouble.status:
        assert send("PUT", put, bytes(SIZE)).status == trouble.status
    else:
        with pytest.raises(TransientError):
            send("PUT", put, bytes(SIZE))
    incoming = ready.root / "me/m.git" / "lfs" / "incoming" / OID
    assert incoming.exists() is trouble.is_done
    assert send("PUT", put, bytes(SIZE)).status == 200
