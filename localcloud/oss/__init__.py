"""A stand-in for OSS on loopback, for tests, the demo and app developers.

    with StsStandIn() as sts, OssStandIn(sts) as oss:
        bucket = oss.create_bucket("my-bucket")
        ...  # a client of oss.url with a token of sts may do what the token allows
        bucket.keys()

It is a real HTTP server and refuses what OSS refuses.  Each request must be signed (V4,
in a header, a URL or a form) within 15 minutes of its clock, with a key that the STS
stand-in knows and the security token of that key, unexpired.  Then the policies decide:
those of the role, together with the session policy in the token.  V1 is refused, as for
a bucket made today, unless the stand-in is told to allow it.  It remembers the requests
it answered, and can be told to fail.

It imitates the operations in OPERATIONS and PostObject, in buckets that create_bucket()
makes.  The other operations of OSS are known by name and action: if the policies do not
allow one, the answer is AccessDenied, as on OSS; if they do, it is 501 with a message
that names the operation.  The answer is also 501 for versions, tags, ACLs other than
private, encryption, and the parts of image processing and callbacks that the packages
images and callbacks do not name.  Signature version 2, and those of Amazon S3, get 501
at once.

Other differences: no TLS by default; everything is private, so anonymous requests are
refused, but they are told whether a bucket exists; there are no bucket policies; a
bucket belongs to one account, and only its users and roles may use it; path-style
requests are always accepted; by default any origin may send any request (CORS); where
the documentation gives no order of errors, the order is our own.

Sources: the OSS documentation, and the SDKs named in localcloud.oss.signature.

A request passes through handler and body (bytes), request (its parts), signature,
permissions and operations, or form and post_policy, and finally reaches storage, which
keeps objects in files.  The package images processes images for GetObject; the package
callbacks tells an app server about uploads, signed with a key whose public half is
callback_public_key.
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
