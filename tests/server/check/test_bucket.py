"""What --check says of the bucket that clients upload to."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from helpers.machine import PATIENCE_SECONDS, reserved_port
from helpers.processes import call
from helpers.settings import write_config

from localcloud.oss import CorsRule, OssStandIn
from localcloud.sts import StsStandIn
from tokenserver.check import probe
from tokenserver.check.bucket import look_at_buckets
from tokenserver.check.report import OK, PROBLEM, WARNING, Finding
from tokenserver.hosts import base_url
from tokenserver.oss.bucket import Bucket

PAGE = "https://app.example.com"


@pytest.fixture(autouse=True)
def _long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PROBE_SECONDS", PATIENCE_SECONDS)


@pytest.fixture
def oss(sts: StsStandIn) -> Iterator[OssStandIn]:
    """OSS with a bucket that pages of PAGE may upload to."""
    with OssStandIn(sts) as stand_in:
        stand_in.create_bucket("my-bucket", [CorsRule(allowed_origins=[PAGE])])
        yield stand_in


def look(
    endpoint: str, *origins: str, name: str = "my-bucket", **changes: Any
) -> list[Finding]:
    """Return what is found of a bucket at *endpoint*."""
    values = {"region": "cn-hangzhou", "domain": None} | changes
    bucket = Bucket(name, endpoint=base_url(endpoint), **values)
    return list(look_at_buckets([bucket], list(origins) or None))


def levels(found: list[Finding]) -> list[str]:
    return [finding.level for finding in found]


@contextlib.contextmanager
def answering(status: int, body: str = "", **headers: str) -> Iterator[str]:
    """Give the address of a server that answers everything so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = body.encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_OPTIONS = do_GET

        def log_message(self, format: str, *args: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_bucket_as_it_should_be_is_ok(oss: OssStandIn) -> None:
    found = look(oss.url, PAGE)

    assert levels(found) == [OK, OK]
    where = f"bucket my-bucket: {oss.url}/my-bucket"
    assert found[0].text == f"{where}: exists and is not public"
    assert found[1].text == f"CORS of bucket my-bucket for {PAGE}: allowed"
    assert not any(finding.remedy for finding in found)


def test_a_bucket_that_is_not_there_is_a_problem(oss: OssStandIn) -> None:
    (found,) = look(oss.url, PAGE, name="my-buckets")

    assert found.level == PROBLEM
    assert found.text.endswith("/my-buckets: HTTP 404 NoSuchBucket")
    assert "There is no bucket my-buckets. Set BucketName" in found.remedy


def test_a_bucket_in_another_region_is_a_problem(oss: OssStandIn) -> None:
    oss.add_bucket_elsewhere("other-bucket", "cn-shanghai")

    (found,) = look(oss.url, PAGE, name="other-bucket")

    assert found.level == PROBLEM
    assert found.text.endswith(": HTTP 403 AccessDenied, in cn-shanghai")
    remedy = "The bucket other-bucket is in cn-shanghai. Set Region to that."
    assert found.remedy == remedy


@pytest.mark.parametrize(
    ("origins", "level"),
    [
        pytest.param(
            ["https://other.example.com"], PROBLEM, id="of pages that are named"
        ),
        pytest.param([], WARNING, id="of any page"),
    ],
)
def test_a_missing_cors_rule_is_named(
    sts: StsStandIn, origins: list[str], level: str
) -> None:
    with OssStandIn(sts) as oss:
        oss.create_bucket("my-bucket", [CorsRule(allowed_origins=["http://a.b"])])
        found = look(oss.url, *origins)

    assert levels(found) == [OK, level]
    assert "no rule allows it (HTTP 403)" in found[1].text
    assert f"source {(origins or [PAGE])[0]}, methods GET, PUT" in found[1].remedy


def test_what_to_do_about_a_bucket_is_told_in_chinese(sts: StsStandIn) -> None:
    with OssStandIn(sts) as oss:
        oss.create_bucket("my-bucket", [CorsRule(allowed_origins=["http://a.b"])])
        bucket = Bucket("my-bucket", "cn-hangzhou", base_url(oss.url), None)
        found = list(look_at_buckets([bucket], [PAGE], "zh"))

    assert "no rule allows it (HTTP 403)" in found[1].text
    place = "OSS 控制台 > Bucket 列表 > my-bucket > 数据安全 > 跨域设置"
    assert place in found[1].remedy
    assert f"来源为 {PAGE}" in found[1].remedy


def test_a_cors_rule_that_hides_the_etag_is_a_warning(sts: StsStandIn) -> None:
    with OssStandIn(sts) as oss:
        rule = CorsRule(allowed_origins=["*"], expose_headers=["x-oss-request-id"])
        oss.create_bucket("my-bucket", [rule])
        found = look(oss.url, PAGE)

    assert levels(found) == [OK, WARNING]
    assert "need ETag among the exposed headers" in found[1].remedy


def test_a_public_bucket_is_a_warning() -> None:
    with answering(200, "<ListBucketResult/>", x_oss_request_id="1") as url:
        found = look(url)[0]

    assert found.level == WARNING
    assert "Anyone can list and read the bucket my-bucket" in found.remedy


def test_what_is_not_oss_is_a_problem() -> None:
    with answering(200, "<html>Log in</html>") as url:
        (found,) = look(url)

    assert found.level == PROBLEM
    assert f"What answers at {url}/my-bucket is not OSS" in found.remedy


def test_a_name_that_cannot_be_resolved_is_a_problem() -> None:
    endpoint = f"https://{'o' * 64}.example"  # longer than a name may be

    (found,) = look(endpoint)

    assert found.level == PROBLEM
    assert "cannot be resolved" in found.remedy


def test_a_machine_that_does_not_reach_oss_is_a_warning() -> None:
    with reserved_port() as port:
        found = look(f"http://127.0.0.1:{port}", PAGE)

    assert levels(found) == [WARNING, WARNING]
    assert "connection refused" in found[0].text


# --- The whole command ----------------------------------------------------------


def check(folder: Path, oss: OssStandIn, **changes: object) -> tuple[int, str]:
    """Return the exit status of --check for a bucket of *oss*, and what it prints."""
    settings = {
        "StsEndpoint": oss.sts.url,
        "Region": "cn-hangzhou",
        "Endpoint": oss.url,
        "AllowedOrigins": [PAGE],
    }
    path = write_config(folder, **settings | changes)
    result = call("--check", "--config", path)
    return result.returncode, " ".join(result.stdout.split())


def test_check_of_a_bucket_as_it_should_be_finds_no_problem(
    tmp_path: Path, oss: OssStandIn
) -> None:
    status, output = check(tmp_path, oss)

    assert status == 0, output
    assert "exists and is not public" in output
    assert f"CORS of bucket my-bucket for {PAGE}: allowed" in output
    assert "Each grant gets a token." in output


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param(
            {"BucketName": "my-buckets"},
            "There is no bucket my-buckets. Set BucketName to one that",
            id="wrong name",
        ),
        pytest.param(
            {"BucketName": "other-bucket"},
            "The bucket other-bucket is in cn-shanghai. Set Region to that.",
            id="wrong region",
        ),
        pytest.param(
            {"AllowedOrigins": ["https://other.example.com"]},
            "If web pages upload, add a rule in OSS console > Buckets > my-bucket > "
            "Content Security > CORS: source https://other.example.com, methods GET,",
            id="missing CORS rule",
        ),
    ],
)
def test_check_says_what_is_wrong_with_a_bucket(
    tmp_path: Path, oss: OssStandIn, changes: dict[str, object], words: str
) -> None:
    oss.add_bucket_elsewhere("other-bucket", "cn-shanghai")

    status, output = check(tmp_path, oss, **changes)

    assert status == 1
    assert words in output
    assert "There are problems." in output
    remedies = ("Set BucketName", "Set Region", "add a rule")
    assert sum(remedy in output for remedy in remedies) == 1
