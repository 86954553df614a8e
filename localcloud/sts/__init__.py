"""A stand-in for STS on loopback, for tests, the demo and the benchmarks.

    with StsStandIn() as sts:
        user, role = sts.add_user(), sts.add_role()
        ...  # a client of sts.endpoint with the key pair of user may assume role.arn

It is a real HTTP server and refuses what STS refuses: a call must have a valid
signature (style ACS3, which is V3, or style RPC, which is V1), a time within 15 minutes
of the clock, a new nonce, and a key that is known, enabled, and allowed to assume a
role that trusts its owner.  It remembers all requests and tokens, and can be told to
throttle, fail or misbehave.

It imitates AssumeRole and GetCallerIdentity.  It does not imitate, and answers with
501: other actions, MFA, unknown or repeated parameters and headers, signatures of a
SignatureType, a JSON body in RPC style, a body without Content-Length, and role
chaining by a token that has a session policy.
What else differs: no TLS; roles trust ARNs, without conditions; all callers share one
quota; an empty parameter counts as absent; the grammar of a policy is as strict as in
localcloud.ram; and which of several errors is reported is ours where the documentation
gives no order.

Sources: "AssumeRole", "GetCallerIdentity" and "Signature method" (RPC style) in the
STS documentation, "V3 request structure and signature", the tables of common errors,
and for AccessDeniedDetail "How do I troubleshoot an access denied error?" in RAM's.

A call passes through handler (bytes), request (parsed), calls (recorded, and told how
to answer), stand_in, checks with signature, callers, and back as a document.
"""

from localcloud.sts.behaviours import Behaviour, Close, Drip, Fail, Hang, Reply, Reset
from localcloud.sts.callers import ALLOW_ALL, Caller, IssuedToken, Role
from localcloud.sts.errors import ERRORS, Refused
from localcloud.sts.request import FORM, JSON, MANDATORY, Request
from localcloud.sts.signature import (
    acs3_signature,
    acs3_string_to_sign,
    canonical_query,
    rpc_signature,
    rpc_string_to_sign,
)
from localcloud.sts.stand_in import StsStandIn, format_timestamp

__all__ = [
    "ALLOW_ALL",
    "ERRORS",
    "FORM",
    "JSON",
    "MANDATORY",
    "Behaviour",
    "Caller",
    "Close",
    "Drip",
    "Fail",
    "Hang",
    "IssuedToken",
    "Refused",
    "Reply",
    "Request",
    "Reset",
    "Role",
    "StsStandIn",
    "acs3_signature",
    "acs3_string_to_sign",
    "canonical_query",
    "format_timestamp",
    "rpc_signature",
    "rpc_string_to_sign",
]
