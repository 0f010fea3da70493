"""lfssync: keeps local model directories mirrored, as real git-lfs history, on a remote of the user's choice.

This module is what other programs import: `push` for one delivery, the values it answers with, and the errors it
raises. The one thing to know: `push` needs no configuration and no daemon, and returns only after the remote itself has
confirmed the commit and every LFS object behind it. What only its answers need is loaded when it is first named: every
command of `lfssync` begins by importing this module.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lfssync.errors import AuthError, BlockedError, LfssyncError, NotDoneError, TransientError, UserError
from lfssync.model import Monitor, Plan, Progress, Receipt, silent

if TYPE_CHECKING:
    from lfssync.results import Login, PushResult, Release
    from lfssync.service.saving import Saveable

__version__ = "0.1.0"

__all__ = [
    "AuthError",
    "BlockedError",
    "LfssyncError",
    "Login",
    "Monitor",
    "NotDoneError",
    "Plan",
    "Progress",
    "PushResult",
    "Receipt",
    "Release",
    "TransientError",
    "UserError",
    "__version__",
    "login",
    "push",
]

if not TYPE_CHECKING:  # or every name that is mistyped would pass the type checker

    def __getattr__(name: str) -> object:
        """The values of `results`, at the first use. Source: PEP 562."""
        if name not in ("Login", "PushResult", "Release"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from lfssync import results

        globals().update({one: getattr(results, one) for one in ("Login", "PushResult", "Release")})
        return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def push(  # noqa: PLR0913 (keywords, each with a default)
    dir_or_model: str | os.PathLike[str] | Saveable,
    remote: str,
    *,
    message: str | None = None,
    branch: str = "main",
    tag: str | None = None,
    create: bool = False,
    public: bool = False,
    license: str = "",
    monitor: Monitor = silent,
) -> PushResult:
    """Deliver a directory or a model as one commit, with its large files as LFS objects, and verify it on the remote.

    Nothing in the directory is modified. What else the branch holds stays, so a tokenizer can be added to a model; but
    weights that a model's new ones replace go. Delivering the same again makes no new commit.

    Args:
        dir_or_model: The directory to deliver, or any object with `save_pretrained`: a model, a tokenizer, a processor.
            That is saved first, into a temporary folder (see TMPDIR) which is removed afterwards.
        remote: A `hf:`, `gh:` or `gl:` shorthand, an https:// or ssh:// address, `host:path`, or the path of a bare
            repository.
        message: The commit's message; None lets lfssync say what changed.
        branch: The branch on the remote; made when it is not there yet.
        tag: A version such as `v2.0.1` to release this commit under; an existing tag is never moved.
        create: Whether the repository is created on its host if it is missing.
        public: Whether everybody may read what is created.
        license: The licence of what is created, such as `apache-2.0`, where the host has a place for it.
        monitor: Called with `Plan` and `Progress` values from several threads; must return at once and not raise.

    Returns:
        The commit, how many files and bytes it brought, and the remote's own evidence for it.

    Raises:
        UserError: The directory or model, the remote's address, the branch or the tag cannot be used.
        AuthError: The remote does not know us, or does not let us write.
        TransientError: The network or the remote is out of reach just now, or the disk has no room for the model; the
            same call may be made again.
        BlockedError: A person must decide, for example because the tag exists elsewhere.
        NotDoneError: Files are still being written.
    """
    from lfssync.hosts import Wish
    from lfssync.service.operations import push as deliver
    from lfssync.service.saving import saved

    wish = Wish(public, license) if create else None
    if isinstance(dir_or_model, str | os.PathLike):
        return deliver(Path(dir_or_model), remote, message=message, branch=branch, tag=tag, monitor=monitor, wish=wish)
    with saved(dir_or_model) as folder:
        return deliver(
            folder, remote, message=message, branch=branch, tag=tag, monitor=monitor, wish=wish, is_save=True
        )


def login(host: str | None = None, token: str | None = None, *, username: str | None = None) -> Login:
    """Check a token with its host, and keep it in the system's keyring; as `lfssync login`, for notebooks and programs.

    Args:
        host: `hf`, `gh`, `gl` or `HOST[:PORT]`; None for the one that all configured mirrors are on.
        token: The token; None asks for it, without showing it.
        username: What goes with it; None lets the host say.

    Returns:
        Whose login it is, and what the host says that it is for.

    Raises:
        UserError: The host is not known, or no token was given.
        AuthError: The host does not take it; nothing is kept.
        BlockedError: There is no keyring that can keep it; the error says what to do instead.
        TransientError: The host is out of reach; nothing is kept.
    """
    import logging

    from lfssync.commandline.logincommands import typed_token
    from lfssync.places import Places
    from lfssync.service.operations import login as log_in

    warn = logging.getLogger("lfssync").warning
    return log_in(
        Places.from_environment(os.environ),
        host,
        typed_token if token is None else lambda _: token,
        username,
        lambda error: warn("%s", error),
    )
