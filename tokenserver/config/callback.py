"""How OSS reports uploads: what Callback in config.json says."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tokenserver.hosts import Url
from tokenserver.oss.callback import CallbackStrings, RsaKey, Ticket

# A ticket is given out beside a token, and an upload that began with the token at its
# end may take this much longer.
UPLOAD_SECONDS = 3600


@dataclass(frozen=True)
class Callback:
    """Where OSS reports uploads to, and what becomes of the reports."""

    url: Url
    secrets: tuple[bytes, ...] = field(repr=False)  # the first one signs
    variables: tuple[str, ...]  # of the client's own, such as x:album
    keys: tuple[RsaKey, ...]  # of OSS
    has_own_key: bool  # PublicKeyFile is set: of a stand-in, or of a private cloud
    uploads_file: Path | None
    forward_url: Url | None

    def strings(self, ticket: Ticket) -> CallbackStrings:
        """Return what a client passes to OSS who has *ticket*."""
        sealed = ticket.sealed(self.secrets[0])
        return CallbackStrings.of(self.url.text, self.variables, sealed)
