"""Upload a file to OSS with a token from the token server, as an app does.

    pip install oss2
    python localcloud/clients/upload.py photo.jpg

The provider fetches a token when the SDK asks for one, and the next when the old one
is about to expire; an upload of many parts is carried on with it.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
import urllib.request
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import oss2
from oss2.credentials import Credentials, CredentialsProvider

REFRESH_SECONDS = 300  # before it expires, as the mobile SDKs do


class TokenServerProvider(CredentialsProvider):  # type: ignore[misc]
    """The credentials that a token server hands out, renewed in time.

    *clock* returns unix seconds.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        self._url = url
        self._clock = clock
        self._lock = threading.Lock()  # guards the two below: one thread fetches
        self._credentials: Any = None
        self._refresh_at = 0.0

    def get_credentials(self) -> Any:
        """Return credentials that are valid.  Raises RuntimeError, and OSError."""
        with self._lock:
            if self._clock() >= self._refresh_at:
                self._fetch()
            return self._credentials

    def _fetch(self) -> None:
        with urllib.request.urlopen(self._url, timeout=10) as reply:
            token = json.load(reply)
        if token["StatusCode"] != 200:
            raise RuntimeError(f"{token['ErrorCode']}: {token['ErrorMessage']}")
        expiration = datetime.strptime(token["Expiration"], "%Y-%m-%dT%H:%M:%SZ")
        expires_at = expiration.replace(tzinfo=timezone.utc).timestamp()
        self._refresh_at = expires_at - REFRESH_SECONDS
        self._credentials = Credentials(
            token["AccessKeyId"], token["AccessKeySecret"], token["SecurityToken"]
        )


def main() -> None:
    """Upload the file that the command line names."""
    parser = argparse.ArgumentParser(description="Upload a file to OSS.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--token-url", default="http://127.0.0.1:7080/")
    parser.add_argument("--endpoint", default="http://127.0.0.1:7091")
    parser.add_argument("--region", default="cn-hangzhou")
    parser.add_argument("--bucket", default="demo-bucket")
    parser.add_argument("--prefix", default="photos/")
    options = parser.parse_args()

    auth = oss2.ProviderAuthV4(TokenServerProvider(options.token_url))
    bucket = oss2.Bucket(auth, options.endpoint, options.bucket, region=options.region)
    key = options.prefix + options.file.name
    oss2.resumable_upload(bucket, key, str(options.file))
    print(f"uploaded {options.file} as {options.bucket}/{key}")


if __name__ == "__main__":
    main()
