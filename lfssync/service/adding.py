"""`lfssync add`: a directory and a remote are looked at, and then become a mirror in the configuration.

Between `commands` and the configuration, beside `operations`. The one thing to know: what is refused changes nothing
here; but a repository that was created on its host before something else went wrong stays, and the next try finds it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lfssync.errors import LfssyncError, UserError
from lfssync.model import Mirror
from lfssync.places import Places, mirror_name
from lfssync.service.executors import poke

if TYPE_CHECKING:
    from lfssync.credentials import Credentials
    from lfssync.hosts import Wish


def add(
    places: Places,
    directory: Path,
    remote: str | None,
    wish: Wish | None = None,
    tell: Callable[[str], None] = lambda _: None,
    **keys: str,
) -> Mirror:
    """Start mirroring a directory: check it and the remote, write the configuration, tell a running daemon.

    Args:
        places: Where the configuration is.
        directory: What to mirror.
        remote: Where to; None for an embedded repository.
        wish: How the repository shall be when it has to be created; None if it must be there. Of a pattern, each
            folder's repository is created when the folder is first delivered.
        tell: Is told the address of a repository that was created.
        keys: More keys of the `[[mirror]]` table.

    Raises:
        UserError: Something is wrong with it; nothing was changed then.
    """
    from lfssync.configuration import config, configedit, patterns
    from lfssync.git.programs import require_programs

    require_programs()
    path = os.path.abspath(directory.expanduser())
    known = config.load(places)
    before = {mirror.name for mirror in known.mirrors}
    if any(path == pattern.glob for pattern in known.patterns):
        raise UserError(f"{path} is mirrored already", "lfssync list shows how; change its table in the configuration")
    table = {"path": path if patterns.is_pattern(path) else patterns.escape(path)}
    if not patterns.is_pattern(path):
        require_readable(Path(path))
        keys = _working_copy_branch(Path(path), keys)
    if wish is not None and (remote is None or "{" in remote):
        keys = keys | {"create": _policy(remote, wish)}
        wish = None
    if remote is not None:
        table["remote"] = (
            _on_hub(places, remote) if "{" in remote else _require_answer(places, remote, wish, keys, tell)
        )
    elif not patterns.is_pattern(path):
        _require_own_remote(places, keys.get("name") or mirror_name(Path(path).name), Path(path))
    configedit.add_mirror(places.config_file, table | keys, places)
    added = [mirror for mirror in config.load(places).mirrors if mirror.name not in before]
    poke(places)
    if added:
        return added[0]
    return Mirror(
        keys.get("name", path), Path(path), remote or "an embedded repository each", keys.get("branch", "main")
    )


def _policy(remote: str | None, wish: Wish) -> str:
    """What the configuration says about the repositories of a pattern."""
    from lfssync.model import CreatePolicy

    if remote is None:
        raise UserError("--create is for repositories on a host", "name the remote, or leave it out")
    if wish.license:
        raise UserError("--license does not go with a pattern", "put a licence into each folder")
    return CreatePolicy.PUBLIC if wish.is_public else CreatePolicy.PRIVATE


def _on_hub(places: Places, remote: str) -> str:
    """What to write down for a remote: where `HF_ENDPOINT` decided, the whole address, for a daemon may not have it."""
    from lfssync.rules.remotes import HUB

    return remote if places.hub == HUB else re.sub("^hf:", f"{places.hub}/", remote)


def _require_own_remote(places: Places, name: str, path: Path) -> None:
    """Make sure that the embedded repository of that name, if there is one already, is this directory's own."""
    from lfssync.records import roster

    repository = places.embedded_remote(name)
    if (repository / "HEAD").exists() and roster.remembered(places.mirror_state(name)) != path:
        raise UserError(
            f"{repository} exists already, and may hold another directory's history",
            f"choose another --name, or continue that one: lfssync add {path} {repository}",
        )


def _working_copy_branch(path: Path, keys: dict[str, str]) -> dict[str, str]:
    """For a git working copy the branch that is checked out there is the one to mirror."""
    from lfssync.git import workingcopy

    copy = workingcopy.find(path)
    return keys if copy is None or "branch" in keys else keys | {"branch": copy.branch()}


def require_readable(path: Path) -> None:
    """Make sure that a directory can be mirrored.

    Raises:
        UserError: It is none, or cannot be read.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist", "create it first, or check the spelling")
    if not path.is_dir():
        raise UserError(f"{path} is not a directory", "give the folder that holds the files")
    if not os.access(path, os.R_OK | os.X_OK):
        raise UserError(f"{path} cannot be read", "mend its permissions")


def _require_answer(
    places: Places, remote: str, wish: Wish | None, keys: Mapping[str, str], tell: Callable[[str], None]
) -> str:
    """Make sure that a repository answers at an address, created before if that is wished; gives what to write down."""
    from lfssync.credentials.ladder import Ladder, configured_remotes
    from lfssync.git.gitcommand import Git
    from lfssync.rules.remotes import RemoteKind, parse_remote
    from lfssync.transfer.bare import git_dir_of

    parsed = parse_remote(remote, places.home, places.hub)
    login = Ladder(places.state_dir, os.environ, lambda: [*configured_remotes(places), parsed.url])
    if wish is not None and create(parsed.url, replace(wish, branch=keys.get("branch", wish.branch)), login):
        tell(parsed.url)
    try:
        if parsed.kind is RemoteKind.LOCAL:
            git_dir_of(Path(parsed.path))
        git = Git(Path(os.devnull), login=login)
        git.run("ls-remote", "--quiet", parsed.url, timeout_s=60, remote=parsed.url)
    except LfssyncError as error:
        if error.kind != "blocked":
            raise
        remedy = error.remedy if parsed.kind is RemoteKind.LOCAL else "check the address, or have it created: --create"
        raise UserError(error.message, remedy) from error
    return parsed.url if parsed.kind is RemoteKind.LOCAL else _on_hub(places, remote)


def create(remote: str, wish: Wish, login: Credentials) -> bool:
    """Create the repository of a checked remote, unless it is there; says whether it was made just now."""
    from lfssync.hosts.creating import create_repository

    return create_repository(remote, wish, login, os.environ)
