"""The address of a bucket: its region, its endpoint and its own host."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tokenserver.hosts import BaseUrl

INTERNAL = "-internal"  # in endpoints that only machines inside the cloud can reach
ENDPOINT = re.compile(rf"oss-([a-z0-9-]+?)(?:{INTERNAL})?\.aliyuncs\.com")


@dataclass(frozen=True)
class Bucket:
    """A bucket, and the address at which clients call it."""

    name: str
    region: str  # such as cn-hangzhou, without "oss-"
    endpoint: BaseUrl  # of OSS in that region
    domain: BaseUrl | None  # the bucket's custom domain, if the operator sets one

    @property
    def is_cname(self) -> bool:
        """Whether clients must use a custom domain ("cname" in the SDKs)."""
        return self.domain is not None and self.domain != self.own_name

    @property
    def own_name(self) -> BaseUrl | None:
        """The bucket's host below the endpoint, None if that is an IP address."""
        if self.endpoint.is_address:
            return None
        host = f"{self.name}.{self.endpoint.host}"
        return BaseUrl(self.endpoint.scheme, host, self.endpoint.port)

    @property
    def host(self) -> str:
        """The URL under which the bucket's objects are, without a slash at its end.

        If the endpoint is an IP address, the bucket is the first part of the path.
        """
        url = self.domain or self.own_name
        return url.text if url else f"{self.endpoint.text}/{self.name}"

    @property
    def client_endpoint(self) -> str:
        """The endpoint for an SDK: the custom domain, if there is one."""
        if self.domain and self.is_cname:
            return self.domain.text
        return self.endpoint.text


def region_of(host: str) -> str:
    """Return the region of *host* if it is an endpoint of one region, else ""."""
    match = ENDPOINT.fullmatch(host)
    return match[1] if match and not match[1].startswith("accelerate") else ""


def default_endpoint(region: str) -> BaseUrl:
    """Return the public endpoint of OSS in *region* ("Regions and endpoints")."""
    return BaseUrl("https", f"oss-{region}.aliyuncs.com", None)
