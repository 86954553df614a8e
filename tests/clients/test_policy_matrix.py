"""What a token of each policy template may do: every operation, inside and outside.

The table is the whole of what the templates grant.  A template that is changed shows
here at once what else it lets a token do.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.oss.attempts import Place, expected_grants, may
from helpers.oss.client import OssClient
from helpers.oss.cloud import user_key
from helpers.oss.signing import BUCKET, KeyPair
from helpers.server import MakeServer
from helpers.settings import POLICY_DIRECTORY

from localcloud.oss import OssStandIn
from localcloud.oss.operations import OPERATIONS
from localcloud.sts import StsStandIn

pytestmark = pytest.mark.slow

ROOT = POLICY_DIRECTORY.parent
PREFIX = "photos/"

FILES = {
    "read": "policy/bucket_read_policy.txt",
    "write": "policy/bucket_write_policy.txt",
    "read_write": "policy/bucket_read_write_policy.txt",
    "upload_page": "localcloud/page/upload_page_policy.txt",
}


OTHER, NEIGHBOUR = "other-bucket", f"{BUCKET}-2"
INSIDE = [
    Place(BUCKET, "photos/a.jpg"),
    Place(BUCKET, "photos/2026/猫 1.jpg"),
    Place(BUCKET, "photos/"),
    Place(BUCKET, "photos/photos-private/a.jpg"),
]
OUTSIDE = [
    Place(BUCKET, "photos"),
    Place(BUCKET, "photo/a.jpg"),
    Place(BUCKET, "photos-private/a.jpg"),
    Place(BUCKET, "photosynthesis"),
    Place(BUCKET, "Photos/a.jpg"),
    Place(BUCKET, "private/photos/a.jpg"),
    Place(OTHER, "photos/a.jpg"),
    Place(OTHER, f"x:{BUCKET}/photos/a.jpg"),
    Place(NEIGHBOUR, "photos/a.jpg"),
]
WHOLE_BUCKETS = [Place(BUCKET, ""), Place(OTHER, "")]


# --- The tests ------------------------------------------------------------------


@pytest.fixture
def oss(sts: StsStandIn) -> Iterator[OssStandIn]:
    """OSS with three buckets."""
    with OssStandIn(sts) as stand_in:
        for name in (BUCKET, OTHER, NEIGHBOUR):
            stand_in.create_bucket(name)
        yield stand_in


def test_the_table_has_every_operation_and_every_template() -> None:
    operations = {row.partition("-")[0] for row in expected_grants("read")}
    templates = {path.name for path in POLICY_DIRECTORY.iterdir()}

    assert operations == {*OPERATIONS, "PostObject"}
    assert templates == {Path(file).name for file in FILES.values()} - {
        "upload_page_policy.txt"
    }


@pytest.mark.parametrize("template", FILES)
@pytest.mark.slow
def test_a_token_may_do_what_its_template_grants_and_nothing_else(
    template: str, make_server: MakeServer, sts: StsStandIn, oss: OssStandIn
) -> None:
    server = make_server(
        PolicyFile=str(ROOT / FILES[template]), BucketName=BUCKET, ObjectPrefix=PREFIX
    )
    token = server.request("/").json
    key = KeyPair(
        token["AccessKeyId"], token["AccessKeySecret"], token["SecurityToken"]
    )
    client, admin = OssClient(oss, key), OssClient(oss, user_key(sts))

    granted = {}
    for name in expected_grants(template):
        lists = WHOLE_BUCKETS if name.startswith("List") and name != "ListParts" else []
        places = [
            place
            for place in INSIDE + OUTSIDE + lists
            if may(name, place, client, admin, own=INSIDE[0])
        ]
        granted[name] = describe(places)

    assert granted == expected_grants(template)


def describe(places: list[Place]) -> str:
    """Return which places they are in the words of the table."""
    if not places:
        return "-"
    return "inside" if places == INSIDE else ", ".join(map(str, places))
