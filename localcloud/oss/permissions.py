"""The caller of a request, and whether the policies allow it.

Sources: "Authorization syntax and elements" in the OSS documentation, and the pages of
the ECs in DENIALS.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from localcloud import ram
from localcloud.oss.catalog import Operation
from localcloud.oss.errors import OssError, not_imitated
from localcloud.oss.request import Place, Request
from localcloud.oss.signed import Signature
from localcloud.oss.sources import read_source
from localcloud.sts import Caller, Refused, StsStandIn

# Error codes of STS for a key or a token, and those of OSS for the same.
OSS_CODE_OF = {
    "InvalidAccessKeyId.NotFound": "InvalidAccessKeyId",
    "InvalidAccessKeyId.Inactive": "InvalidAccessKeyId",
    "InvalidSecurityToken.Expired": "SecurityTokenExpired",
    "InvalidSecurityToken.Malformed": "InvalidSecurityToken",
    "InvalidSecurityToken.MismatchWithAccessKey": (
        "AccessKeyIdAndSecurityTokenNotMatch"
    ),
    "MissingSecurityToken": "InvalidSecurityToken",
}

CALLBACK_HEADER = "x-oss-callback"
CALLING_BACK = ("PutObject", "CompleteMultipartUpload")  # with that header

# Headers, and fields of a form, that need another action on the same object; and their
# values that change nothing.
EXTRAS = {
    "x-oss-object-acl": ("oss:PutObjectAcl", ("private", "default")),
    "x-oss-tagging": ("oss:PutObjectTagging", ()),
}

# Headers, and fields of a form, of features that are not imitated begin with these.
NOT_IMITATED = (
    "x-oss-server-side-",
    "x-oss-process",
    "x-oss-symlink-",
    "x-oss-traffic-limit",
)

DENIALS = {  # EC and message
    ram.Decision.DENIED_BY_SESSION_POLICY: (
        "0003-00000301",
        "Access denied by authorizer's policy.",
    ),
    ram.Decision.DENIED_IMPLICITLY: (
        "0003-00000001",
        "You have no right to access this object because of bucket acl.",
    ),
    ram.Decision.DENIED_EXPLICITLY: (
        "0003-00000201",
        "Access denied by bucket policy.",
    ),
}


def find_caller(sts: StsStandIn, signature: Signature) -> Caller:
    """Return the owner of the key in *signature*.  Raises OssError if it is invalid."""
    try:
        return sts.caller(signature.access_key_id, signature.security_token)
    except Refused as refusal:
        if not sts.knows(signature.access_key_id):
            raise OssError("InvalidAccessKeyId") from None
        raise OssError(OSS_CODE_OF[refusal.code]) from None


@dataclass(frozen=True)
class Permissions:
    """The permissions of the caller of one request.

    *headers* are the headers of the request, or the fields of a form.  The *buckets*
    belong to the account *owner*.
    """

    request: Request
    headers: Mapping[str, str]
    caller: Caller
    buckets: Container[str]
    owner: str
    region: str

    def check(self, action: str, place: Place) -> None:
        """Raise OssError unless the policies allow *action* at *place*."""
        account = self.caller.arn.split(":")[3]
        if place.bucket in self.buckets and account != self.owner:
            message = "The bucket you access does not belong to you."
            raise OssError("AccessDenied", message)
        session = self.caller.session
        policy = ram.parse(session.policy) if session and session.policy else None
        path = f"{place.bucket}/{place.key}" if place.key else place.bucket
        decision = ram.decide(
            self.caller.policies,
            policy,
            action,
            f"acs:oss:oss-{self.region}:{account}:{path}",
            condition_keys(self.request, self.headers, self.caller),
        )
        if decision is not ram.Decision.ALLOWED:
            ec, message = DENIALS[decision]
            implicitly = decision is ram.Decision.DENIED_IMPLICITLY
            if implicitly and action == "oss:ListBuckets":
                ec, message = "", "You are forbidden to list buckets."
            raise OssError("AccessDenied", message, ec=ec)

    def check_all(self, operation: Operation, place: Place) -> None:
        """Raise OssError unless the policies allow every action *operation* needs.

        DeleteMultipleObjects has no action here, because it checks each key itself.
        """
        if operation.action:
            self.check(operation.action, place)
        if operation.action == "oss:PutObject":
            for name, (action, _) in EXTRAS.items():
                if name in self.headers:
                    self.check(action, place)
        if operation.name in ("CopyObject", "UploadPartCopy"):
            source = read_source(self.headers["x-oss-copy-source"])
            self.check(source.action, source.place)


def check_extras(headers: Mapping[str, str], operation: Operation) -> None:
    """Raise OssError if *headers* ask for a feature of *operation* not imitated."""
    may_call_back = operation.name in CALLING_BACK
    for name in headers:
        is_callback = name.startswith(CALLBACK_HEADER)
        if name.startswith(NOT_IMITATED) or (is_callback and not may_call_back):
            raise not_imitated(f"{operation.name} with {name}")
    for name, (_, harmless) in EXTRAS.items():
        if name in headers and headers[name] not in harmless:
            raise not_imitated(f"{name}: {headers[name]}")


def condition_keys(
    request: Request, headers: Mapping[str, str], caller: Caller
) -> dict[str, str]:
    """Return the values of the condition keys of a policy for *request*.

    *headers* are the headers of the request, or the fields of a form.  An empty
    parameter or header counts as present.
    """
    moment = datetime.fromtimestamp(int(request.received_at), timezone.utc)
    optional = {
        "acs:UserAgent": request.headers.get("user-agent"),
        "oss:Prefix": request.query.get("prefix"),
        "oss:Delimiter": request.query.get("delimiter"),
        "oss:x-oss-acl": headers.get("x-oss-acl"),
        "oss:x-oss-object-acl": headers.get("x-oss-object-acl"),
    }
    return {
        "acs:SourceIp": request.client,
        "acs:SecureTransport": "false",
        "acs:CurrentTime": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "acs:AccessId": caller.access_key_id,
        **{name: value for name, value in optional.items() if value is not None},
    }
