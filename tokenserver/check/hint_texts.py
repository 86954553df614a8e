"""What to do when AssumeRole gives no token, by Code and by Cause, in both languages.

Sources: "AssumeRole" and "GetCallerIdentity" (STS API reference), "FAQ about RAM roles
and STS tokens", "How do I troubleshoot an access denied error?", "Modify the trust
policy of a RAM role", "Set the maximum session duration for a RAM role" and "Disable an
AccessKey pair for a RAM user" (RAM documentation), "STS errors and troubleshooting"
(OSS documentation).
"""

from __future__ import annotations

from tokenserver.check.texts import (
    ASSUME_ROLE_POLICY,
    KEYS,
    NEARER,
    ROLES,
    Text,
    joined,
)
from tokenserver.errors import Cause

# {key} is the key in words, {role} and {account} are those of RoleArn.

NOT_STS = Text(
    "What answers at {endpoint} is not STS. Set StsEndpoint to sts.aliyuncs.com or "
    "sts.<region>.aliyuncs.com, and look for a proxy or a login page in between.",
    "{endpoint} 上响应请求的不是 STS。请将 StsEndpoint 设置为 sts.aliyuncs.com 或 "
    "sts.<region>.aliyuncs.com，并检查中间是否有代理或登录页面。",
)
ALTERED = Text(
    "STS did not receive the request as it was signed. Look for a proxy in between "
    "that changes or repeats requests, and upgrade the package "
    "alibabacloud-sts20150401.",
    "STS 收到的请求与签名时不一致。请检查中间是否有代理修改或重复发送请求，"
    "并升级软件包 alibabacloud-sts20150401。",
)
COPY_THE_ARN = Text(
    f"Copy the ARN from {ROLES.en} > the role > Basic Information into RoleArn; its "
    "form is acs:ram::<account>:role/<name>.",
    f"请将 {ROLES.zh} > 目标角色 > 基本信息中的 ARN 复制到 RoleArn，其格式为 "
    "acs:ram::<account>:role/<name>。",
)
OTHER_TOKEN = Text(
    "It comes from the default credential chain (ALIBABA_CLOUD_SECURITY_TOKEN, a "
    "profile, a role). Renew it there, or set AccessKeyID and AccessKeySecret to the "
    "pair of a RAM user.",
    "它来自默认凭据链（ALIBABA_CLOUD_SECURITY_TOKEN、配置文件或角色）。请在来源处更新，"
    "或将 AccessKeyID 和 AccessKeySecret 设置为 RAM 用户的 AccessKey。",
)
STS_FAILED = Text(
    "STS itself failed. If this lasts, set StsEndpoint to the endpoint of another "
    "region, or give the RequestId to Alibaba Cloud support.",
    "STS 自身出现故障。如果持续存在，请将 StsEndpoint 设置为其他地域的 Endpoint，"
    "或将 RequestId 提供给阿里云技术支持。",
)
CLOCK_IS_OFF = Text(
    "The clock of this machine is more than 15 minutes off. Let NTP set it, for "
    "example with chrony or timedatectl set-ntp true.",
    "本机时钟的偏差超过 15 分钟。请使用 NTP 校时，例如 chrony 或 "
    "timedatectl set-ntp true。",
)
THROTTLED_BY_STS = Text(
    "STS allows 100 AssumeRole calls per second for a whole account. Raise "
    "TokenReuseTime, or lower StsCallsPerSecond if several processes share the "
    "account.",
    "STS 对整个账号每秒只允许 100 次 AssumeRole 调用。请增大 TokenReuseTime；"
    "如果多个进程共用该账号，请减小 StsCallsPerSecond。",
)
TOO_SLOW = Text(
    f"{{endpoint}} takes too long to answer. Set StsEndpoint to {NEARER.en}, and look "
    "for a proxy or firewall in between that delays requests.",
    f"{{endpoint}} 响应过慢。请将 StsEndpoint 设置为{NEARER.zh}，"
    "并检查中间是否有代理或防火墙延迟请求。",
)
ROOT_KEY = Text(
    "{Key} belongs to the root account, which must not assume roles. Create a RAM user "
    "with an AccessKey pair in {users}, attach {policy} to it, and set AccessKeyID and "
    "AccessKeySecret to its pair.",
    "{Key} 属于阿里云账号（主账号），主账号不能扮演角色。请在 {users} 中创建带有 "
    "AccessKey 的 RAM 用户，为其授予 {policy}，并将 AccessKeyID 和 AccessKeySecret "
    "设置为该用户的 AccessKey。",
)
OTHER_ACCOUNT = Text(
    "The role is in account {account}: check first that RoleArn names the right "
    "account.",
    "该角色属于账号 {account}：请先确认 RoleArn 中的账号是否正确。",
)
KEY_IS_OF = Text("The key is that of {owner}.", "该 AccessKey 属于{owner}。")

HINTS = {  # by Code
    "InvalidAccessKeyId.NotFound": Text(
        f"STS does not know {{key}}. Set AccessKeyID to one that {KEYS.en} lists, "
        "without spaces around it, or to that of a new pair.",
        f"STS 中不存在 {{key}}。请将 AccessKeyID 设置为 {KEYS.zh} 中列出的 AccessKey "
        "ID（前后没有空格），或新建的 AccessKey ID。",
    ),
    "InvalidAccessKeyId.Inactive": Text(
        f"{{Key}} is disabled. Enable it in {KEYS.en}, or set AccessKeyID and "
        "AccessKeySecret to another pair.",
        f"{{Key}} 已被禁用。请在 {KEYS.zh} 中启用，或将 AccessKeyID 和 AccessKeySecret "
        "设置为其他 AccessKey。",
    ),
    "SignatureDoesNotMatch": Text(
        "AccessKeySecret does not belong to {key}. If the secret is lost, create a new "
        f"pair in {KEYS.en}, which shows it only once, and set AccessKeyID and "
        "AccessKeySecret to it.",
        "AccessKeySecret 与 {key} 不匹配。如果已丢失 AccessKey Secret，请在 "
        f"{KEYS.zh} 中创建新的 AccessKey（Secret 只显示一次），并设置 AccessKeyID 和 "
        "AccessKeySecret。",
    ),
    "MissingSecurityToken": Text(
        "{Key} is that of a temporary token. Set AccessKeyID and AccessKeySecret to "
        "the pair of a RAM user, whose AccessKey ID does not begin with STS.",
        "{Key} 属于临时访问凭证。请将 AccessKeyID 和 AccessKeySecret 设置为 RAM 用户的 "
        "AccessKey，其 AccessKey ID 不以 STS 开头。",
    ),
    "InvalidSecurityToken.Expired": joined(
        Text("The token of {key} has expired.", "{key} 的 SecurityToken 已过期。"),
        OTHER_TOKEN,
    ),
    "InvalidSecurityToken.Malformed": joined(
        Text(
            "The token of {key} is not a token of STS.",
            "{key} 的 SecurityToken 不是 STS 签发的。",
        ),
        OTHER_TOKEN,
    ),
    "InvalidSecurityToken.MismatchWithAccessKey": joined(
        Text(
            "The token does not belong to {key}.",
            "SecurityToken 与 {key} 不匹配。",
        ),
        OTHER_TOKEN,
    ),
    "InvalidTimeStamp.Expired": CLOCK_IS_OFF,
    "InvalidTimeStamp.Format": ALTERED,
    "IncompleteSignature": ALTERED,
    "InvalidSignatureMethod": ALTERED,
    "SignatureNonceUsed": ALTERED,
    "ContentMD5NotMatched": ALTERED,
    "InvalidAction.NotFound": NOT_STS,
    "InvalidApi.NotFound": NOT_STS,
    "InvalidProduct.NotFound": NOT_STS,
    "InvalidVersion": NOT_STS,
    "InvalidParameter.ContentType": NOT_STS,
    "InvalidParameter.Format": NOT_STS,
    "UnsupportedHTTPMethod": NOT_STS,
    "EntityNotExist.Role": joined(
        Text(
            "Account {account} has no role {role}.",
            "账号 {account} 中没有角色 {role}。",
        ),
        COPY_THE_ARN,
    ),
    "InvalidParameter": Text(
        "AssumeRole does not accept RoleArn, RoleSessionName, TokenExpireTime or the "
        "policy of PolicyFile; the message of STS says which one.",
        "AssumeRole 不接受 RoleArn、RoleSessionName、TokenExpireTime 或 PolicyFile "
        "中的策略；STS 返回的错误信息说明是哪一项。",
    ),
    "InvalidParameter.RoleArn": joined(
        Text("RoleArn is not the ARN of a role.", "RoleArn 不是角色的 ARN。"),
        COPY_THE_ARN,
    ),
    "InvalidParameter.RoleSessionName": Text(
        "RoleSessionName must be 2 to 64 letters, digits and . @ - _ (2 to 32 in old "
        "versions of STS).",
        "RoleSessionName 必须是 2 到 64 个字母、数字或 . @ - _"
        "（旧版 STS 为 2 到 32 个）。",
    ),
    "InvalidParameter.DurationSeconds": Text(
        "TokenExpireTime is {seconds}, which is more than the role {role} allows. "
        "Lower TokenExpireTime (a role allows 3600 by default), or raise "
        f"{ROLES.en} > {{role}} > Basic Information > Max Session Duration.",
        "TokenExpireTime 为 {seconds}，超过角色 {role} 允许的时间。请减小 "
        f"TokenExpireTime（角色默认允许 3600），或增大 {ROLES.zh} > {{role}} > "
        "基本信息 > 最大会话时间。",
    ),
    "InvalidParameter.PolicyGrammar": Text(
        "RAM does not accept the session policy. Correct the template in PolicyFile; "
        "the files in policy/ are examples.",
        "RAM 不接受该会话策略。请修改 PolicyFile 中的模板，可参考 policy/ 中的文件。",
    ),
    "InvalidParameter.PolicySize": Text(
        "The session policy is too long for STS. Shorten the template in PolicyFile or "
        "the values that fill it.",
        "会话策略超过 STS 允许的长度。请缩短 PolicyFile 中的模板或填入的值。",
    ),
    "InternalError": STS_FAILED,
    "ServiceUnavailable": STS_FAILED,
}
HINTS_BY_CAUSE = {
    Cause.NO_NAME: Text(
        "The name in StsEndpoint, {endpoint}, cannot be resolved: it is misspelt, or "
        "this machine has no DNS. Names of sts-vpc.… are for machines inside a VPC.",
        "无法解析 StsEndpoint 中的域名 {endpoint}：域名有误，或本机没有可用的 DNS。"
        "sts-vpc.… 域名只能在 VPC 内使用。",
    ),
    Cause.NO_CONNECTION: Text(
        "{endpoint} does not take connections from here. Let this machine connect to "
        "it in firewall and security group, or set HTTPS_PROXY; a StsEndpoint of "
        "sts-vpc.… can be reached only from inside a VPC of its region.",
        "从本机无法连接 {endpoint}。请在防火墙和安全组中放行，或设置 HTTPS_PROXY；"
        "StsEndpoint 为 sts-vpc.… 时，只能从该地域的 VPC 内访问。",
    ),
    Cause.NO_ANSWER: TOO_SLOW,
    Cause.BUSY: TOO_SLOW,
    Cause.PROXY: Text(
        "The proxy that HTTPS_PROXY names (HTTP_PROXY for a StsEndpoint of http://) "
        "cannot be reached or does not let the call through. Correct that variable or "
        "unset it; NO_PROXY has no effect.",
        "HTTPS_PROXY（StsEndpoint 为 http:// 时是 HTTP_PROXY）指定的代理无法访问，"
        "或不放行该调用。请修改或清除该变量；NO_PROXY 不起作用。",
    ),
    Cause.TLS: Text(
        "There is no trusted TLS connection to {endpoint}. Look for a typo in "
        "StsEndpoint and for a wrong clock; behind a proxy that opens TLS, name a file "
        "with its CA in SSL_CERT_FILE.",
        "无法与 {endpoint} 建立可信的 TLS 连接。请检查 StsEndpoint 是否有误、"
        "时钟是否准确；如果中间的代理会解密 TLS，请用 SSL_CERT_FILE "
        "指定其 CA 证书文件。",
    ),
    Cause.CONNECTION_REFUSED: Text(
        "Nothing listens at {endpoint}. Correct host and port of StsEndpoint.",
        "{endpoint} 上没有服务在监听。请修改 StsEndpoint 的主机和端口。",
    ),
    Cause.NO_ROUTE: Text(
        "This machine has no route to {endpoint}. Give it a way to the Internet or set "
        "HTTPS_PROXY, or inside a VPC set StsEndpoint to "
        "sts-vpc.<region>.aliyuncs.com.",
        "本机没有到 {endpoint} 的路由。请为其提供公网访问或设置 HTTPS_PROXY；在 VPC "
        "内请将 StsEndpoint 设置为 sts-vpc.<region>.aliyuncs.com。",
    ),
    Cause.CONNECTION_FAILED: Text(
        "The connection to {endpoint} breaks off. Look for a firewall or proxy in "
        "between, and check that StsEndpoint names STS and, with http:// or https://, "
        "the right protocol.",
        "与 {endpoint} 的连接中断。请检查中间是否有防火墙或代理，StsEndpoint "
        "是否为 STS 的地址，以及其中的 http:// 或 https:// 是否正确。",
    ),
    Cause.NOT_STS: NOT_STS,
    Cause.NO_CREDENTIALS: NOT_STS,
    Cause.PAST_EXPIRATION: CLOCK_IS_OFF,
    Cause.OWN_RATE: Text(
        "More AssumeRole calls are needed than StsCallsPerSecond lets through. Raise "
        "TokenReuseTime, so that requests share tokens, or StsCallsPerSecond.",
        "需要的 AssumeRole 调用超过 StsCallsPerSecond 允许的次数。请增大 "
        "TokenReuseTime，使更多请求共用凭证，或增大 StsCallsPerSecond。",
    ),
    Cause.NO_KEY_PAIR: Text(
        "Set AccessKeyID and AccessKeySecret to the pair of a RAM user; or put one "
        "into ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET, or give "
        "the ECS instance a role.",
        "请将 AccessKeyID 和 AccessKeySecret 设置为 RAM 用户的 AccessKey；"
        "或设置环境变量 ALIBABA_CLOUD_ACCESS_KEY_ID 和 "
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET，或为 ECS 实例授予 RAM 角色。",
    ),
}

# By the kind of policy that denies the call: who the {caller} is, its {permissions} and
# the {trust} policy of {role}, both as places in the console, and the principal that
# must be {trusted}.
_NO_PERMISSION = Text(
    f"the policy {ASSUME_ROLE_POLICY} is not attached to it ({{permissions}})",
    f"没有授予权限策略 {ASSUME_ROLE_POLICY}（{{permissions}}）",
)
_NO_TRUST = Text(
    'the trust policy of the role {role} does not name "{trusted}" ({trust})',
    "角色 {role} 的信任策略中没有“{trusted}”（{trust}）",
)


def _one_of_two(first: Text, second: Text) -> Text:
    """Return the hint for a denial whose reason is one of two."""
    return Text(
        "{caller} lacks one of two things, and STS does not say which. Look in this "
        f"order: 1. {first.en}; 2. {second.en}.",
        "{caller} 缺少以下两项之一，STS 没有说明是哪一项。请依次检查："
        f"1. {first.zh}；2. {second.zh}。",
    )


DENIALS = {
    "ControlPolicy": Text(
        "{caller} is denied sts:AssumeRole by a control policy of the resource "
        "directory. Ask the administrator of the resource directory to allow it.",
        "{caller} 的 sts:AssumeRole 被资源目录的管控策略拒绝。"
        "请联系资源目录的管理员放行。",
    ),
    "SessionPolicy": Text(
        "{caller} runs on a temporary token whose own session policy does not allow "
        "sts:AssumeRole. Let the issuer of that token allow it.",
        "{caller} 使用的临时访问凭证带有会话策略，其中不允许 sts:AssumeRole。"
        "请让签发该凭证的一方放行。",
    ),
    "Deny in the trust policy": Text(
        "{caller} is denied sts:AssumeRole on the role {role} by a statement with "
        "Effect Deny in {trust}. Remove that statement; an Allow beside it has no "
        "effect.",
        "{caller} 对角色 {role} 的 sts:AssumeRole 被 {trust} 中 Effect 为 Deny "
        "的语句拒绝。请删除该语句；同时存在的 Allow 不起作用。",
    ),
    "Deny in its permissions": Text(
        "{caller} is denied sts:AssumeRole on the role {role} by a statement with "
        "Effect Deny in {permissions}. Remove that statement; an Allow beside it has "
        "no effect.",
        "{caller} 对角色 {role} 的 sts:AssumeRole 被 {permissions} 中 Effect 为 Deny "
        "的语句拒绝。请删除该语句；同时存在的 Allow 不起作用。",
    ),
    "AssumeRolePolicy": Text(
        "{caller} is not named by the trust policy of the role {role}. Add "
        '"{trusted}" to Principal > RAM in {trust} > Edit Trust Policy.',
        "角色 {role} 的信任策略中没有 {caller}。请在 {trust} > 编辑信任策略中，将"
        "“{trusted}”加入 Principal > RAM。",
    ),
    "IdentityBasedPolicy": Text(
        "{caller} may not call AssumeRole on the role {role}. Attach the policy "
        f"{ASSUME_ROLE_POLICY} to it in {{permissions}}, for the whole account and not "
        "for a resource group.",
        "{caller} 无权对角色 {role} 调用 AssumeRole。请在 {permissions} 中为其授予 "
        f"{ASSUME_ROLE_POLICY}，资源范围选择整个账号，而不是资源组。",
    ),
    "not said": _one_of_two(_NO_PERMISSION, _NO_TRUST),
    "not said, another account": _one_of_two(_NO_TRUST, _NO_PERMISSION),
}
