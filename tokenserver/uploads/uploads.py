"""The steps for a report: it is checked, counted once, recorded and forwarded."""

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

LEAST_SECONDS = 1.0  # for waiting uploads when the server stops, however late it is


class Uploads:
    """Receives the reports of OSS.  *current* returns the callback settings."""

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
        """The total size of the reported uploads, in bytes."""
        return sum(self._bytes.counts().values())

    def remember(self, before: Callback | None, now: Callback | None) -> None:
        """Note the reports in UploadsFile from before a restart, if the file is new.

        *before* and *now* are the settings before and after a reload.
        """
        old = before and before.uploads_file
        if now and now.uploads_file and now.uploads_file != old:
            self._seen.add_those_in(now.uploads_file)

    def receive(self, request: Request, callback: Callback, config: Config) -> Upload:
        """Record and forward the upload that *request* reports; return it.

        Raises ReportRefused if the report does not count.
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
        """Write and forward the waiting uploads, within *seconds*.

        Each of the two steps has LEAST_SECONDS, even if that takes longer.
        """
        deadline = time.monotonic() + seconds
        for one in (self.records, self.forwarder):
            one.close(max(LEAST_SECONDS, deadline - time.monotonic()))
