"""A `Credentials` for tests: a few logins, given one after the other as they are refused."""

from __future__ import annotations

from dataclasses import dataclass, field

from lfssync.credentials import Credential


@dataclass
class Logins:
    """Knows these logins for every address; notes which were refused."""

    logins: list[Credential]
    refusals: list[Credential] = field(default_factory=list)

    def find(self, url: str) -> Credential | None:
        return next((one for one in self.logins if one not in self.refusals), None)

    def refused(self, url: str, credential: Credential) -> None:
        self.refusals.append(credential)
