"""Region, Endpoint and Host -> the bucket that clients upload to."""

from __future__ import annotations

from tokenserver.config import settings as table
from tokenserver.config.settings import Section
from tokenserver.config.source import Source
from tokenserver.oss.bucket import INTERNAL, Bucket, default_endpoint, region_of


def load_bucket(source: Source, settings: Section) -> Bucket | None:
    """Return the bucket and its place, None if the operator has not set Region."""
    for setting in (table.REGION, table.ENDPOINT, table.HOST):
        settings.use(setting)
    region, name = settings[table.REGION], settings.get(table.BUCKET, "my-bucket")
    endpoint, domain = settings[table.ENDPOINT], settings[table.HOST]
    if not region:
        for setting, value in ((table.ENDPOINT, endpoint), (table.HOST, domain)):
            if value:
                settings.note(
                    setting.name,
                    "is set, but Region is empty; set Region to the region ID of the "
                    "bucket, such as cn-hangzhou, because clients sign with it",
                )
        return None
    if not name:
        settings.note(
            table.REGION.name, "is set, but BucketName is empty; set both or neither"
        )
        return None
    bucket = Bucket(name, region, endpoint or default_endpoint(region), domain)
    check_endpoint(source, settings, bucket)
    return bucket


def check_endpoint(source: Source, settings: Section, bucket: Bucket) -> None:
    """Note an Endpoint of another region; warn about one that apps cannot use."""
    host = bucket.endpoint.host
    region = region_of(host)
    if host.startswith(f"{bucket.name}."):
        settings.note(
            table.ENDPOINT.name,
            f"is {host!r}, which includes the bucket; leave out {bucket.name}., and "
            "put a custom domain name into Host",
        )
    elif region and region != bucket.region:
        settings.note(
            table.ENDPOINT.name,
            f"is {host!r}, which is not in Region, {bucket.region}; leave it out for "
            f"{default_endpoint(bucket.region).host}",
        )
    elif region and INTERNAL in host:
        source.warn(
            f"Endpoint is {host}, which only machines inside Alibaba Cloud can reach; "
            f"apps need {host.replace(INTERNAL, '')}",
            settings.where,
        )
    for setting, url in (
        (table.ENDPOINT, bucket.endpoint),
        (table.HOST, bucket.domain),
    ):
        if url and url.is_readable:
            source.warn(
                f"{setting.name} is plain HTTP; anyone on the network can read the "
                "uploads and the tokens",
                settings.where,
            )
