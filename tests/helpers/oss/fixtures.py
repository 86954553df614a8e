"""Fixtures for tests of OSS: stand-ins that many tests share.

oss, bucket, client       a new bucket for each test, and a client who may do everything
stand_ins, cloud, key     two buckets that take V1, one object, and time that stands
                          still
own_oss, signing          a token server that signs forms and URLs for users
shared_signing            the same for all tests of a module
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.oss.client import BucketClient
from helpers.oss.cloud import OTHER_BUCKET, Cloud, fresh, running_cloud, user_key
from helpers.oss.signed import Signing, start_signing
from helpers.oss.signing import KeyPair
from helpers.server import MakeServer, RunningServer
from helpers.settings import ACCESS_KEY_ID, ACCESS_KEY_SECRET, ROLE_ARN, write_config
from localcloud.clock import Clock
from localcloud.oss import Bucket, OssStandIn
from localcloud.sts import ALLOW_ALL, StsStandIn
from tokenserver.config.load import LiveConfig
from tokenserver.sts.client import StsClient

NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def oss() -> Iterator[OssStandIn]:
    """A stand-in that all tests share; each test has its own bucket."""
    with StsStandIn() as sts, OssStandIn(sts) as stand_in:
        yield stand_in


@pytest.fixture
def bucket(oss: OssStandIn) -> Bucket:
    """A bucket of the shared stand-in."""
    return new_bucket(oss)


def new_bucket(oss: OssStandIn) -> Bucket:
    """Return a bucket that no other test has."""
    return oss.create_bucket(f"bucket-{next(NUMBERS)}")


@pytest.fixture
def client(oss: OssStandIn, bucket: Bucket) -> BucketClient:
    """A client that may do everything."""
    return BucketClient(oss, user_key(oss.sts), bucket.name)


@pytest.fixture(scope="session")
def stand_ins() -> Iterator[Cloud]:
    """Stand-ins that all tests share."""
    with running_cloud() as cloud:
        yield cloud


@pytest.fixture
def cloud(stand_ins: Cloud) -> Iterator[Cloud]:
    """Two buckets, one of them with an object."""
    with fresh(stand_ins) as cloud:
        yield cloud


@pytest.fixture
def key(cloud: Cloud) -> KeyPair:
    """The key of a RAM user who may do everything."""
    return cloud.user(ALLOW_ALL)


@pytest.fixture
def own_oss(sts: StsStandIn) -> Iterator[OssStandIn]:
    """OSS that knows the tokens of the test's STS."""
    with OssStandIn(sts) as stand_in:
        yield stand_in


@pytest.fixture
def signing(
    make_server: MakeServer, sts: StsStandIn, own_oss: OssStandIn, tmp_path: Path
) -> Signing:
    """A server with one grant of each kind, for users who log in."""
    return start_signing(make_server, sts, own_oss, tmp_path)


@pytest.fixture(scope="module")
def shared_signing(
    sts_client: StsClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Signing]:
    """The same for all tests of a module, which must not change it.

    OSS takes V1 here, because a V4 signature must not pass as V1 either.
    """
    clock = Clock()
    with StsStandIn(clock=clock) as sts, OssStandIn(sts, allow_v1=True) as stand_in:
        sts.add_user(ACCESS_KEY_ID, ACCESS_KEY_SECRET)
        sts.add_role(ROLE_ARN)
        folder = tmp_path_factory.mktemp("signing")
        servers: list[RunningServer] = []

        def make(**changes: object) -> RunningServer:
            path = write_config(folder, **{"StsEndpoint": sts.url} | changes)
            servers.append(RunningServer(LiveConfig(path), sts_client))
            return servers[-1]

        stand_in.create_bucket(OTHER_BUCKET)
        signing = start_signing(make, sts, stand_in, folder)
        yield signing
        servers[0].close()
