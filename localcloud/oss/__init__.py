"""A stand-in for OSS on loopback, for tests, the demo and app developers.

    with StsStandIn() as sts, OssStandIn(sts) as oss:
        bucket = oss.create_bucket("my-bucket")
        ...  # a client of oss.url with a token of sts may do what the token allows
        bucket.keys()

It is a real HTTP server and refuses what OSS refuses: each request must be signed (V4,
in a header, a URL or a form) within 15 minutes of its clock, with a key that the STS
stand-in knows and the security token that belongs to it, unexpired; then the policies
decide, those of the role together with the session policy in the token.  V1 is refused
as it is for a bucket made today, unless the stand-in is told to allow it.  It remembers
what it was asked, and can be told to fail.

It imitates the operations of OPERATIONS and PostObject, in buckets that create_bucket()
makes.  The other operations of OSS are known by name and action: what the policies do
not allow is AccessDenied, as on OSS, and only what they allow and is not imitated is
answered with 501, which says what it is.  So are versions, tags, ACLs other than
private, encryption, and what images and callbacks do not name.  Signature version 2 and
those of Amazon S3 are answered with 501 at once.

What else differs: no TLS; anonymous requests are refused, because all is private, but
hear whether a bucket is there; there are no bucket policies; a bucket belongs to one
account, whose users and roles alone may come near it; path style is accepted from
everybody; by default any origin may send any request (CORS); which of several errors is
reported is ours where the documentation gives no order.

Sources: the OSS documentation, and the SDKs named in localcloud.oss.signature.

A request passes through handler and body (bytes), request (taken apart), signature,
permissions and operations, or form and post_policy, and reaches storage last, which
keeps objects in files.  What GetObject makes of an image is in images, and how an app
server hears of an upload in callbacks; callback_public_key verifies what it hears.
"""

from localcloud.oss.cors import CorsRule
from localcloud.oss.errors import OssError
from localcloud.oss.folder import FolderError
from localcloud.oss.operations import OPERATIONS
from localcloud.oss.stand_in import CUT_OFF, Access, OssStandIn
from localcloud.oss.storage import Bucket

__all__ = [
    "CUT_OFF",
    "OPERATIONS",
    "Access",
    "Bucket",
    "CorsRule",
    "FolderError",
    "OssError",
    "OssStandIn",
]
