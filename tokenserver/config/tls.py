"""The TLS certificate of the server, and its key."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

from tokenserver.config.files import (
    LiveFiles,
    Read,
    is_open_to_others,
    others_may_read,
)
from tokenserver.errors import ConfigError

logger = logging.getLogger(__name__)


class LiveTls(LiveFiles[ssl.SSLContext]):
    """The current TLS certificate, and its key.

    New connections get a renewed certificate; open ones keep theirs.  Raises
    ConfigError if the first certificate is wrong.
    """

    name = "TLS certificate"

    def __init__(
        self,
        certificate: Path,
        key: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._key = key
        super().__init__(partial(load_tls, certificate, key), clock)

    def taken_up(self, _before: ssl.SSLContext, _now: ssl.SSLContext) -> None:
        """Log a warning if others may read the key."""
        if is_open_to_others(self._key):
            logger.warning("%s", others_may_read(self._key))


def load_tls(certificate: Path, key: Path, read: Read) -> ssl.SSLContext:
    """Return a context for a server with these PEM files.  Raises ConfigError."""

    def no_password() -> NoReturn:
        raise ConfigError(f"{key}: is encrypted; this server cannot ask for a password")

    for path in dict.fromkeys((certificate, key)):
        read(path)  # so that LiveFiles compares it, and a file that is missing is named
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # A client that disconnects without close_notify is not an error, and must still get
    # our own close_notify when we end the connection (drain()).
    context.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)  # OpenSSL 3
    context.options |= ssl.OP_NO_RENEGOTIATION  # it costs the server more than a client
    try:
        context.load_cert_chain(certificate, key, no_password)
    except ssl.SSLError as error:
        problem = "is not a PEM certificate chain with its key"
        if error.reason == "KEY_VALUES_MISMATCH":
            problem = "does not belong to the key"
        raise ConfigError(f"{certificate}: {problem} ({key})") from None
    except OSError as error:  # it went away after it was read
        raise ConfigError(f"{certificate}: cannot be read: {error.strerror}") from None
    return context
