"""What --check says in English and in Chinese, side by side.

A Text has both languages, so that neither can be forgotten.  Here are the names that
others are put together from, and the texts of the report; what to do about each Code
and Cause is in hint_texts.py.  {placeholders} are filled in by tokenserver.check.hints
and tokenserver.check.report.

Names of pages and buttons are those of the RAM console in each language ("Create an
AccessKey pair", "Edit the trust policy of a RAM role" and "Create a RAM role", RAM
documentation); keys, codes and commands are the same in both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")


class Text(NamedTuple):
    """A text in each language, with the same {placeholders}."""

    en: str
    zh: str

    def said(self, language: Language, **values: object) -> str:
        """Return the text in *language*, with *values* for its placeholders."""
        text: str = getattr(self, language)
        return text.format(**values)


def joined(*texts: Text) -> Text:
    """Return *texts* one after the other."""
    return Text(" ".join(text.en for text in texts), "".join(text.zh for text in texts))


def language_of(environment: Mapping[str, str]) -> Language:
    """Return the language of *environment*: Chinese if its locale says so.

    The first variable that is set counts, as in POSIX ("Environment Variables").
    """
    names = ("LC_ALL", "LC_MESSAGES", "LANG")
    locale = next(filter(None, (environment.get(name) for name in names)), "")
    return "zh" if locale.lower().startswith("zh") else "en"


# --- Names ----------------------------------------------------------------------

ASSUME_ROLE_POLICY = "AliyunSTSAssumeRoleAccess"
USERS = Text("RAM console > Identities > Users", "RAM 控制台 > 身份管理 > 用户")
ROLES = Text("RAM console > Identities > Roles", "RAM 控制台 > 身份管理 > 角色")
KEYS = Text(
    f"{USERS.en} > the user > Authentication > AccessKey",
    f"{USERS.zh} > 目标用户 > 认证管理 > AccessKey",
)
PERMISSIONS = Text(
    "{page} > its name > Permissions",
    "{page} > 目标名称 > 权限管理",
)
ROLE_PERMISSIONS = Text(
    f"{ROLES.en} > {{role}} > Permissions",
    f"{ROLES.zh} > {{role}} > 权限管理",
)
TRUST_POLICY = Text(
    f"{ROLES.en} > {{role}} > Trust Policy",
    f"{ROLES.zh} > {{role}} > 信任策略",
)
NEARER = Text(
    "the endpoint of the region that this machine is in, sts.<region>.aliyuncs.com, or "
    "sts-vpc.<region>.aliyuncs.com inside a VPC there",
    "本机所在地域的 Endpoint：sts.<region>.aliyuncs.com，在该地域的 VPC 内则为 "
    "sts-vpc.<region>.aliyuncs.com",
)

# Keys
KEY = Text("AccessKeyID {id}", "AccessKeyID {id}")
KEY_UNSHOWN = Text("the AccessKeyID that is set", "已设置的 AccessKeyID")
KEY_OF_CHAIN = Text(
    "the key that the default credential chain found", "默认凭据链找到的 AccessKey"
)

# Owners of keys
OWNERS = {  # by IdentityType
    "RAMUser": Text(
        "RAM user {name} of account {account}", "账号 {account} 的 RAM 用户 {name}"
    ),
    "AssumedRoleUser": Text(
        "RAM role {name} of account {account}", "账号 {account} 的 RAM 角色 {name}"
    ),
    "Account": Text(
        "the root user of account {account}", "阿里云账号（主账号）{account}"
    ),
}
OWNER_OF_OTHER_TYPE = Text(
    "{type} {name} of account {account}", "账号 {account} 的 {type} {name}"
)
OWNER_UNKNOWN = Text(
    "The RAM user or role that the key belongs to",
    "该 AccessKey 所属的 RAM 用户或 RAM 角色",
)
ITS_ACCOUNT = Text("<its account>", "<所属账号 ID>")

# --- Report ---------------------------------------------------------------------

WHAT_TO_DO = Text("What to do", "处理办法")
SLOW_ENDPOINT = Text(
    f"{{endpoint}} is slow from here. Set StsEndpoint to {NEARER.en}.",
    f"从本机访问 {{endpoint}} 较慢。请将 StsEndpoint 设置为{NEARER.zh}。",
)
CLOCK = Text(
    "The clock of this machine is {offset} that of STS, which refuses more than "
    "{limit}. Let NTP set it, for example with chrony or timedatectl set-ntp true.",
    "本机时钟比 STS {offset}，STS 拒绝偏差超过 {limit}的请求。请使用 NTP 校时，例如 "
    "chrony 或 timedatectl set-ntp true。",
)
LIFETIME = Text(
    "The token is valid for {left} instead of the {seconds} s of TokenExpireTime. "
    "Check that StsEndpoint names STS, and check the clock of this machine.",
    "凭证的有效期为 {left}，而不是 TokenExpireTime 设置的 {seconds} 秒。请检查 "
    "StsEndpoint 是否为 STS 的地址，以及本机时钟是否准确。",
)
SPANS = {  # by seconds in one of the unit
    86400: Text("{count} days", "{count} 天"),
    3600: Text("{count} hours", "{count} 小时"),
    60: Text("{count} minutes", "{count} 分钟"),
    1: Text("{count} seconds", "{count} 秒"),
}
AHEAD = Text("{span} ahead of", "快 {span}")
BEHIND = Text("{span} behind", "慢 {span}")

SHUT_OUT = Text("To shut out {user}", "拒绝用户 {user}")
NAME_THE_USER = Text(
    "Name the user in the file of DeniedUsersFile: that ends new tokens.",
    "将该用户写入 DeniedUsersFile 指定的文件，此后不再为其签发凭证。",
)
NOT_THIS_USERS_ALONE = Text(
    "What the tokens given before can do is not this user's alone, so no policy ends "
    "it for one user. They expire by themselves.",
    "此前签发的凭证的权限并非该用户独有，因此没有只对该用户生效的策略。"
    "这些凭证到期后自行失效。",
)
ATTACH_THE_POLICY = Text(
    "For {span}, until the tokens given before have expired, attach this policy to the "
    "role ({place}):",
    "在此前签发的凭证过期之前（{span}内），为角色授予以下策略（{place}）：",
)
