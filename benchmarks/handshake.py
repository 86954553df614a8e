"""The time of a TLS handshake in OpenSSL alone, on the server, without a network."""

from __future__ import annotations

import contextlib
import ssl
import statistics
import time
from pathlib import Path

from benchmarks.servers import ANYBODY

HANDSHAKES = 1000


def handshake_seconds(pem: Path, resumes: bool) -> float:
    """Return the median CPU seconds of the server's part of a handshake.

    *pem* has the certificate and the key.  With *resumes* the session is resumed.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    session: ssl.SSLSession | None = None
    found = []
    for _ in range(HANDSHAKES):
        seconds, session, is_resumed = shake_hands(context, session)
        if not resumes:
            session = None
        if is_resumed == resumes:  # the first session cannot be resumed
            found.append(seconds)
    return statistics.median(found)


def shake_hands(
    context: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[float, ssl.SSLSession | None, bool]:
    """Return the server's seconds, the client's session, and whether it was resumed."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = ANYBODY.wrap_bio(to_client, to_server, session=session)
    seconds = 0.0
    for _ in range(2):  # the server has two flights to read: hello and finished
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        begin = time.thread_time()
        with contextlib.suppress(ssl.SSLWantReadError):
            server.do_handshake()
        seconds += time.thread_time() - begin
    with contextlib.suppress(ssl.SSLWantReadError):
        client.read(1)  # reads the session tickets too
    return seconds, client.session, bool(client.session_reused)
