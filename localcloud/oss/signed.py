"""The parts of a request that signatures cover, and a signature to be checked."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from localcloud.oss.errors import OssError
from localcloud.oss.times import iso_time

MAX_CLOCK_SKEW_SECONDS = 15 * 60

# V1 signs only these parameters of a query: the union of the lists in the SDKs.
SUBRESOURCES = """
accessPoint accessPointPolicy acl append asyncFetch bucketArchiveDirectRead bucketInfo
callback callback-var cleanRestoredObject cloudboxes cname comp continuation-token cors
dataPipeline delete encryption endTime group httpsConfig img inventory inventoryId
legalHold lifecycle link live location logging metadataConfiguration
metadataInventoryTable metadataJournalTable MetaQuery metaQuery objectInfo objectMeta
objectWorm overwriteConfig partNumber policy policyStatus position publicAccessBlock qos
qosInfo qosRequester quota redundancyTransition referer regionList replication
replicationLocation replicationProgress requesterQosInfo requestPayment resourceGroup
resourcePool resourcePoolBuckets resourcePoolInfo response-cache-control
response-content-disposition response-content-encoding response-content-language
response-content-type response-expires restore retention rtc seal security-token
sequential startTime stat status style styleName symlink tagging transferAcceleration
uploadId uploads userDefinedLogFieldsConfig versionId versioning versions vod website
worm wormExtend wormId x-oss-ac-forward-allow x-oss-ac-source-ip x-oss-ac-subnet-mask
x-oss-ac-vpc-id x-oss-access-point-name x-oss-async-process x-oss-process
x-oss-redundancy-transition-taskid x-oss-request-payer x-oss-target-redundancy-type
x-oss-traffic-limit x-oss-write-get-object-response
"""
SIGNED_SUBRESOURCES = frozenset(SUBRESOURCES.split())


@dataclass(frozen=True)
class Signable:
    """The parts of a request that a signature covers.

    *query* is decoded, and + in it stays +; the names of *headers* are in lower case.
    """

    method: str
    query: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Signature:
    """A signature that is not checked yet, because that takes the secret."""

    access_key_id: str
    security_token: str = field(repr=False)
    given: str = field(repr=False)
    # The two steps of signing: make the text for a resource, and sign it with a secret.
    # V4 signs a digest of the canonical request, which is shown to developers who look
    # for a difference; V1 has none.
    string_to_sign: Callable[[str], str] = field(repr=False)
    sign: Callable[[str, str], str] = field(repr=False)
    canonical_request: Callable[[str], str] | None = field(default=None, repr=False)

    def matches(self, access_key_secret: str, resource: str) -> bool:
        """Tell whether *resource*, /bucket/key, was signed with the secret."""
        expected = self.sign(access_key_secret, self.string_to_sign(resource))
        return hmac.compare_digest(expected.encode(), self.given.encode())

    def mismatch(self, resource: str) -> OssError:
        """Return the error that shows the caller the text to sign."""
        string_to_sign = self.string_to_sign(resource)
        details = {
            "OSSAccessKeyId": self.access_key_id,
            "SignatureProvided": self.given,
            "StringToSign": string_to_sign,
            "StringToSignBytes": string_to_sign.encode().hex(" ").upper(),
        }
        if self.canonical_request:
            details["CanonicalRequest"] = self.canonical_request(resource)
        return OssError("SignatureDoesNotMatch", details=details)


def is_oss_header(name: str) -> bool:
    """Tell whether every signature covers the header *name*, in lower case."""
    return name.startswith("x-oss-")


def url_expired(expires: float, now: float) -> OssError:
    """Return the error for a URL that expired at *expires*."""
    times = {"Expires": iso_time(expires), "ServerTime": iso_time(now)}
    return OssError("AccessDenied", "Request has expired.", details=times)
