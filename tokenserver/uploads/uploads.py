"""What becomes of a report: it is checked, counts once, is kept and forwarded."""

from __future__ import annotations

import time
from collections.abc import Callable

from tokenserver.config.callback import Callback
from tokenserver.config.load import Config
from tokenserver.counts import Tally
from tokenserver.documents import Upload
from tokenserver.httpd.request import Request
from tokenserver.uploads.forward import Forwarder
from tokenserver.uploads.receive import refused, upload_of
from tokenserver.uploads.records import RecordWriter
from tokenserver.uploads.seen import SeenReports

LEAST_SECONDS = 1.0  # for what waits when the server ends, however late it is


class Uploads:
    """Receives the reports of OSS, as the Callback that *current* returns has it."""

    def __init__(
        self,
        current: Callable[[], Callback | None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._seen = SeenReports()
        self.records = RecordWriter()
        self.forwarder = Forwarder(current)
        self.by_grant = Tally()
        self._bytes = Tally()  # under one name
        self.remember(None, current())

    @property
    def bytes(self) -> int:
        """How many bytes the reported uploads have."""
        return sum(self._bytes.counts().values())

    def remember(self, before: Callback | None, now: Callback | None) -> None:
        """Note the reports that a new UploadsFile has, from before a restart."""
        old = before and before.uploads_file
        if now and now.uploads_file and now.uploads_file != old:
            self._seen.add_those_in(now.uploads_file)

    def receive(self, request: Request, callback: Callback, config: Config) -> Upload:
        """Return the upload that *request* reports, when it is kept.

        Raises ReportRefused if it does not count.
        """
        upload = upload_of(request, callback, config, self._clock())
        if not self._seen.add(upload.id):
            raise refused("it has been reported before")
        self.by_grant.add(upload.grant)
        self._bytes.add("", upload.size)
        body = upload.record
        if callback.uploads_file:
            self.records.write(callback.uploads_file, body + b"\n")
        if callback.forward_url:
            name = f"{upload.bucket}/{upload.object}"
            self.forwarder.put(upload.id, name, body)
        return upload

    def close(self, seconds: float) -> None:
        """Write and forward what waits, within *seconds* or LEAST_SECONDS for each."""
        deadline = time.monotonic() + seconds
        for one in (self.records, self.forwarder):
            one.close(max(LEAST_SECONDS, deadline - time.monotonic()))
