"""Drafts the model card of a mirror.

Called by the command `card` and, where `card = "auto"`, by `service` for a pass. The one thing to know: a draft that
the Hub would refuse is a mistake of ours, and is never given out.

Source: hub-docs, model cards.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from lfssync.cards.body import body
from lfssync.cards.facts import About
from lfssync.cards.metadata import front
from lfssync.cards.reading import facts
from lfssync.errors import LfssyncError
from lfssync.hosts.preflight import wrong_card
from lfssync.line.holdings import Holdings
from lfssync.model import Mirror
from lfssync.rules.remotes import RemoteKind, hub_endpoint, is_on_hub, parse_remote

_PARENTS = 5
_LOGIN = re.compile(r"\A(https?://)[^/@]*@")


def draft(mirror: Mirror, environment: Mapping[str, str], holdings: Holdings) -> str | None:
    """A card for what a directory holds; None when that is no model, or its repository is not one for models.

    Args:
        mirror: Whose directory it is.
        environment: `HF_ENDPOINT` counts.
        holdings: What it holds.

    Raises:
        LfssyncError: What came out would be refused.
    """
    about = about_of(mirror, environment)
    if about.repository.startswith(("datasets/", "spaces/")):
        return None
    known = facts(holdings, partial(_is_here, mirror.path))
    if not known.is_model:
        return None
    text = front(known, about) + "\n" + body(known, about)
    if wrong := wrong_card(text.encode()):
        raise LfssyncError(f"{mirror.name}: the drafted card is wrong ({wrong})", "please report it, with these files")
    return text


def about_of(mirror: Mirror, environment: Mapping[str, str]) -> About:
    """What is known of a mirror itself; the paths of this machine are not among it."""
    url = _LOGIN.sub(r"\1", mirror.remote)
    if is_on_hub(url, environment) and not mirror.into:
        path = url.removeprefix(hub_endpoint(environment)).strip("/").removesuffix(".git")
        return About(mirror.name, mirror.branch, path, url)
    kind = parse_remote(mirror.remote, Path("/")).kind
    return About(mirror.name, mirror.branch, "", url if kind in (RemoteKind.HTTPS, RemoteKind.SSH) else "")


def _is_here(directory: Path, name: str) -> bool:
    """Whether a name is that of something near the directory: then it is a path, and no repository of the Hub."""
    places = (directory, *list(directory.parents)[:_PARENTS])
    return any(os.path.lexists(place / name) for place in places)
