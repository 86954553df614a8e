"""Where a bucket is: its region, the endpoint of OSS there, and its own host."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tokenserver.hosts import BaseUrl

INTERNAL = "-internal"  # in the name of what only machines inside the cloud reach
ENDPOINT = re.compile(rf"oss-([a-z0-9-]+?)(?:{INTERNAL})?\.aliyuncs\.com")


@dataclass(frozen=True)
class Bucket:
    """A bucket, and how clients are to call it."""

    name: str
    region: str  # such as cn-hangzhou, without "oss-"
    endpoint: BaseUrl  # of OSS in that region
    domain: BaseUrl | None  # of the bucket alone, if the operator names one

    @property
    def is_cname(self) -> bool:
        """Whether clients have to use a custom domain ("cname" in the SDKs)."""
        return self.domain is not None and self.domain != self.own_name

    @property
    def own_name(self) -> BaseUrl | None:
        """The bucket's name below the endpoint, None if that is an address."""
        if self.endpoint.is_address:
            return None
        host = f"{self.name}.{self.endpoint.host}"
        return BaseUrl(self.endpoint.scheme, host, self.endpoint.port)

    @property
    def host(self) -> str:
        """The URL that has the bucket's objects below it, without a slash at its end.

        Where the endpoint is an address, the bucket is the first part of the path.
        """
        url = self.domain or self.own_name
        return url.text if url else f"{self.endpoint.text}/{self.name}"

    @property
    def client_endpoint(self) -> str:
        """What an SDK is given as its endpoint: with a custom domain, that."""
        if self.domain and self.is_cname:
            return self.domain.text
        return self.endpoint.text


def region_of(host: str) -> str:
    """Return the region of an endpoint of OSS in one, "" for other names."""
    match = ENDPOINT.fullmatch(host)
    return match[1] if match and not match[1].startswith("accelerate") else ""


def default_endpoint(region: str) -> BaseUrl:
    """Return where OSS is in *region* ("Regions and endpoints")."""
    return BaseUrl("https", f"oss-{region}.aliyuncs.com", None)
