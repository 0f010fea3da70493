"""Where git really goes for an address: the user's own `url.<base>.insteadOf` and `pushInsteadOf`.

Beside `gitcommand`, for those who go there without git: transfers. The one thing to know: git follows these rules by
itself, so only who does not go through git has to ask here; and what comes out has to be checked like any address.
"""

from __future__ import annotations

from lfssync.git.gitcommand import Git


def fetched_from(url: str, git: Git) -> str:
    """Where git fetches from for an address."""
    return git.run("ls-remote", "--get-url", url).text


def pushed_to(url: str, git: Git) -> str:
    """Where git pushes to for an address: the longest `pushInsteadOf` that fits decides, else `insteadOf` does."""
    asked = git.run("config", "-z", "--get-regexp", r"^url\..*\.pushinsteadof$", accept=(0, 1))
    rules = [line.partition("\n") for line in asked.stdout.decode("utf-8", "surrogateescape").split("\0") if line]
    fitting = [(key, instead) for key, _, instead in rules if instead and url.startswith(instead)]
    if not fitting:
        return fetched_from(url, git)
    key, instead = max(fitting, key=lambda rule: len(rule[1]))
    return key.removeprefix("url.").removesuffix(".pushinsteadof") + url.removeprefix(instead)
