"""Operations that describe the bucket."""

from __future__ import annotations

from localcloud.oss.operations.call import Call, owner_of
from localcloud.oss.replies import Reply, document
from localcloud.oss.times import iso_time


def get_bucket_info(call: Call) -> Reply:
    """Return the properties and endpoints of the bucket."""
    host = call.url.partition("://")[2]
    bucket = {
        "Name": call.bucket.name,
        "CreationDate": iso_time(call.bucket.created_at),
        "Location": f"oss-{call.region}",
        "ExtranetEndpoint": host,
        "IntranetEndpoint": host,
        "StorageClass": "Standard",
        "DataRedundancyType": "LRS",
        "Owner": owner_of(call),
        "AccessControlList": {"Grant": "private"},
    }
    return document("BucketInfo", {"Bucket": bucket})


def get_bucket_location(call: Call) -> Reply:
    """Return the region of the bucket."""
    return document("LocationConstraint", f"oss-{call.region}")
