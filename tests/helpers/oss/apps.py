"""Apps with the official SDKs, unmodified, for a token server and OSS."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import alibabacloud_oss_v2 as oss_v2
import oss2
import pytest

import localcloud.clients
from helpers import MEGABYTE
from helpers.machine import PATIENCE_SECONDS
from helpers.oss.signing import BUCKET, REGION
from localcloud.clients.upload import TokenServerProvider
from localcloud.clock import Clock

NODE_MODULES = Path(localcloud.clients.__file__).parent / "node_modules"

needs_node = pytest.mark.skipif(
    not shutil.which("node") or not NODE_MODULES.exists(),
    reason="needs Node, and its packages: npm install --prefix localcloud/clients",
)


class Refused(Exception):
    """A client was refused; *code* is the error code of OSS."""


Progress = Callable[[], object]


def nothing() -> None:
    """Ignore the progress of an upload."""


class App(Protocol):
    """A client, as the tests use it.  Each method raises Refused."""

    def put(self, key: str, data: bytes) -> None: ...
    def get(self, key: str, process: str = "") -> bytes:
        """Get an object, or an image processed by *process*."""

    def upload(
        self, key: str, file: Path, threads: int = 2, progress: Progress = nothing
    ) -> None:
        """Upload in parts of 1 MB; *progress* is called now and then."""

    def download(self, key: str, file: Path) -> None: ...
    def list(self, prefix: str) -> list[str]: ...
    def delete(self, key: str) -> None: ...
    def close(self) -> None: ...


class Oss2:
    """oss2 with resumable upload and download; its provider renews tokens."""

    def __init__(
        self, token_url: str, endpoint: str, clock: Clock, folder: Path, version: str
    ) -> None:
        provider = TokenServerProvider(token_url, clock)
        make_auth = {"v1": oss2.ProviderAuth, "v4": oss2.ProviderAuthV4}[version]
        self._bucket = oss2.Bucket(make_auth(provider), endpoint, BUCKET, region=REGION)
        self._checkpoints = str(folder)

    def put(self, key: str, data: bytes) -> None:
        self._bucket.put_object(key, data)

    def get(self, key: str, process: str = "") -> bytes:
        try:
            data: bytes = self._bucket.get_object(key, process=process or None).read()
        except oss2.exceptions.OssError as error:
            raise Refused(error.code) from error
        return data

    def upload(
        self, key: str, file: Path, threads: int = 2, progress: Progress = nothing
    ) -> None:
        store = oss2.ResumableStore(root=self._checkpoints)
        try:
            oss2.resumable_upload(
                self._bucket,
                key,
                str(file),
                store=store,
                multipart_threshold=MEGABYTE,
                part_size=MEGABYTE,
                num_threads=threads,
                progress_callback=lambda done, total: progress(),
            )
        except oss2.exceptions.OssError as error:
            raise Refused(error.code) from error

    def download(self, key: str, file: Path) -> None:
        oss2.resumable_download(
            self._bucket,
            key,
            str(file),
            store=oss2.ResumableDownloadStore(root=self._checkpoints),
            multiget_threshold=MEGABYTE,
            part_size=MEGABYTE,
            num_threads=2,
        )

    def list(self, prefix: str) -> list[str]:
        listed = oss2.ObjectIteratorV2(self._bucket, prefix=prefix, max_keys=5)
        return [item.key for item in listed]

    def delete(self, key: str) -> None:
        self._bucket.delete_object(key)

    def close(self) -> None:
        self._bucket.session.session.close()


class OssV2:
    """alibabacloud-oss-v2 with its transfer managers, and the same provider."""

    def __init__(
        self, token_url: str, endpoint: str, clock: Clock, folder: Path, version: str
    ) -> None:
        provider = TokenServerProvider(token_url, clock)

        def credentials() -> oss_v2.credentials.Credentials:
            found = provider.get_credentials()
            return oss_v2.credentials.Credentials(
                found.access_key_id, found.access_key_secret, found.security_token
            )

        config = oss_v2.config.load_default()
        config.credentials_provider = oss_v2.credentials.CredentialsProviderFunc(
            credentials
        )
        config.endpoint, config.region = endpoint, REGION
        config.signature_version = version
        self._client = oss_v2.Client(config)

    def put(self, key: str, data: bytes) -> None:
        self._client.put_object(oss_v2.PutObjectRequest(BUCKET, key, body=data))

    def get(self, key: str, process: str = "") -> bytes:
        request = oss_v2.GetObjectRequest(BUCKET, key, process=process or None)
        try:
            result = self._client.get_object(request)
        except oss_v2.exceptions.OperationError as error:
            raise Refused(service_code(error)) from error
        with result.body as body:
            return bytes(body.read())

    def upload(
        self, key: str, file: Path, threads: int = 2, progress: Progress = nothing
    ) -> None:
        request = oss_v2.PutObjectRequest(
            BUCKET, key, progress_fn=lambda *_: progress()
        )
        uploader = self._client.uploader(part_size=MEGABYTE, parallel_num=threads)
        try:
            uploader.upload_file(request, str(file))
        except Exception as error:
            raise Refused(service_code(error)) from error

    def download(self, key: str, file: Path) -> None:
        downloader = self._client.downloader(part_size=MEGABYTE, parallel_num=2)
        downloader.download_file(oss_v2.GetObjectRequest(BUCKET, key), str(file))

    def list(self, prefix: str) -> list[str]:
        request = oss_v2.ListObjectsV2Request(BUCKET, prefix=prefix, max_keys=5)
        pages = self._client.list_objects_v2_paginator().iter_page(request)
        return [item.key or "" for page in pages for item in page.contents or []]

    def delete(self, key: str) -> None:
        self._client.delete_object(oss_v2.DeleteObjectRequest(BUCKET, key))

    def close(self) -> None:
        pass


def service_code(error: BaseException | None) -> str:
    """Return the code of the OSS error in the chain of *error*."""
    while error is not None:
        if isinstance(error, oss_v2.exceptions.ServiceError):
            return str(error.code)
        inner = getattr(error, "unwrap", lambda: None)()
        error = inner or error.__cause__ or error.__context__
    return ""


class AliOss:
    """ali-oss in a Node process; it refreshes its token before each request."""

    def __init__(
        self,
        token_url: str,
        endpoint: str,
        version: str,
        *,
        refreshes: bool = True,
        **options: object,
    ) -> None:
        self._process = subprocess.Popen(
            ["node", str(Path(__file__).with_name("ali_oss.mjs"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._say(
            {
                "tokenUrl": token_url,
                "refreshes": refreshes,
                "endpoint": endpoint,
                "region": f"oss-{REGION}",
                "bucket": BUCKET,
                "authorizationV4": version == "v4",
                **options,
            }
        )

    def _say(self, message: object) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def call(self, *call: object, progress: Progress = nothing) -> Any:
        assert self._process.stdout
        self._say(call)
        for line in self._process.stdout:
            message = json.loads(line)
            if "event" in message:
                progress()
                self._say("go on")
            elif "value" in message:
                return message["value"]
            else:
                raise Refused(message["code"] or message["message"])
        raise AssertionError("Node ended")

    def put(self, key: str, data: bytes) -> None:
        self.call("put", key, base64.b64encode(data).decode())

    def get(self, key: str, process: str = "") -> bytes:
        options = {"process": process} if process else {}
        return base64.b64decode(self.call("get", key, options))

    def upload(
        self, key: str, file: Path, threads: int = 2, progress: Progress = nothing
    ) -> None:
        self.call("upload", key, str(file), threads, progress=progress)

    def download(self, key: str, file: Path) -> None:
        self.call("download", key, str(file))

    def list(self, prefix: str) -> list[str]:
        return list(self.call("list", prefix))

    def delete(self, key: str) -> None:
        self.call("delete", key)

    def close(self) -> None:
        with self._process as process:
            assert process.stdin
            process.stdin.close()
            process.wait(PATIENCE_SECONDS)
