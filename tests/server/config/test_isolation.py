"""No user gets what is another's, whatever they are called and however it is set up.

What a token may do is asked of localcloud.ram, which evaluates policies as RAM
documents it.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from helpers.login.service import authentication, bearer, service
from helpers.login.users import ANY_USERS, USERS, accepted
from helpers.server import MakeServer, RunningServer
from helpers.settings import POLICY_DIRECTORY, ROOT
from helpers.settings import settings as working_settings
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from localcloud import ram
from localcloud.oss.catalog import ROWS
from localcloud.sts import ALLOW_ALL, StsStandIn
from tokenserver.config import isolation as config_isolation
from tokenserver.config import load_grants
from tokenserver.config import policy as config_policy
from tokenserver.config.load import Config, load_config
from tokenserver.config.policy import SessionPolicy
from tokenserver.errors import ConfigError
from tokenserver.login.users import MAX_USER_BYTES

BUCKET = "my-bucket"
UPLOAD_PAGE = ROOT / "localcloud" / "page" / "upload_page_policy.txt"
TEMPLATES = [*sorted(POLICY_DIRECTORY.iterdir()), UPLOAD_PAGE]
PREFIXES = ["users/$USER_ID/", "$USER_ID/", "照片/$USER_ID/in/", "a/$USER_ID/$USER_ID/"]

ROLE = [ram.parse(ALLOW_ALL)]
LIST = "oss:ListObjects"
ACTIONS = sorted(
    {row.action for rows in ROWS.values() for row in rows if row.action}
    | {row.version_action for rows in ROWS.values() for row in rows if row.action}
)


class Policies(dict[Path, bytes]):
    """The files of a configuration, none of which is on a disk."""

    def read(self, path: Path) -> bytes:
        return self[path]


def load(
    policy: bytes | Mapping[str, bytes] | None = None,
    *,
    logs_in: bool = True,
    **changes: Any,
) -> Config:
    """Return the configuration with a *policy* template, or several by file name."""
    changes = {
        "ObjectPrefix": "users/$USER_ID/",
        "Authentication": {
            "Issuer": "https://login.example.com/",
            "Audience": "app",
            "SecretFile": "secret",
        }
        if logs_in
        else None,
    } | changes
    policies = policy if isinstance(policy, Mapping) else {"p": policy}
    if policy is not None:
        changes = {"PolicyFile": "p"} | changes
    files = Policies({Path(name): content or b"" for name, content in policies.items()})
    files[Path("c")] = json.dumps(working_settings(**changes)).encode()
    files[Path("secret")] = service("HS256").file
    return load_config(Path("c"), files.read)


def problems(*args: Any, **changes: Any) -> list[str]:
    """Return what is wrong with a configuration."""
    try:
        load(*args, **changes)
    except ConfigError as error:
        return list(error.problems)
    return []


@lru_cache
def shipped(template: Path, prefix: str) -> Config:
    """Return a configuration with a template that is ours."""
    return load(template.read_bytes(), ObjectPrefix=prefix)


class Token:
    """What a token of *user* may do."""

    def __init__(self, config: Config, user: str, path: str = "/") -> None:
        self.call = config.grants[path].call_for(user).complete()
        assert self.call.policy
        self.text = self.call.policy
        self.policy = ram.parse(self.text)

    def may(self, action: str, bucket: str, key: str = "", **context: str) -> bool:
        resource = f"acs:oss:oss-cn-hangzhou:1234567890123456:{bucket}"
        if key:
            resource = f"{resource}/{key}"
        decision = ram.decide(ROLE, self.policy, action, resource, context)
        return decision is ram.Decision.ALLOWED

    def may_list(self, bucket: str, prefix: str | None) -> bool:
        context = {} if prefix is None else {"oss:Prefix": prefix}
        return self.may(LIST, bucket, **context)

    def what_it_may(self, bucket: str, key: str) -> list[str]:
        """Return the actions on an object that are allowed."""
        return [action for action in ACTIONS if self.may(action, bucket, key)]


# --- Users ----------------------------------------------------------------------

NASTY = [
    "auth0|5f7c8ec7c33c6c004bbafe82",
    "alice@example.com",
    "a%2Fb",
    "a%2F..%2Fb",
    "acs:oss:x:y:my-bucket",
    "my-bucket",
    "users",
    "a",
    "ab",
    "USER_ID",
    "&",
    "[]",
    "...",
    "oss:Prefix",
    "5",
    "null",
    "张三",
    "a" * MAX_USER_BYTES,
    "a" * (MAX_USER_BYTES - 1) + "b",
    "张" * (MAX_USER_BYTES // 3),
]
NASTY_TEXT = accepted(st.text("ab|@:.%2Fu-_,;=#é张\u0301", min_size=1, max_size=12))
SOME_USERS = st.one_of(ANY_USERS, USERS, NASTY_TEXT, st.sampled_from(NASTY))


@st.composite
def users_nearly_equal(draw: st.DrawFn) -> tuple[str, str]:
    """Return a user, and one that differs in an end or in its case."""
    user = draw(SOME_USERS)
    more = draw(st.text("a:.%|/*-é\u0301", min_size=1, max_size=3))
    edits = [user + more, more + user, user[:-1], user[1:], user.swapcase(), user * 2]
    return user, draw(accepted(st.sampled_from(edits)))


PAIRS = st.one_of(st.tuples(SOME_USERS, SOME_USERS), users_nearly_equal()).filter(
    lambda pair: pair[0] != pair[1]
)
KEYS = st.one_of(
    st.sampled_from(
        ["", "a", "*", "?*", "/", "//x", "../b/x", "%2e%2e/", "a\\b", "$x"]
    ),
    st.text(st.characters(codec="utf-8"), max_size=8),
    SOME_USERS.map("users/{}/x".format),
    SOME_USERS.map("../{}/x".format),
)

each_template = pytest.mark.parametrize("template", TEMPLATES, ids=lambda p: p.stem)
each_prefix = pytest.mark.parametrize("prefix", PREFIXES)


@each_template
@each_prefix
@given(PAIRS, KEYS)
@settings(max_examples=8, deadline=None)
def test_what_is_under_the_prefix_of_one_user_is_no_business_of_another(
    template: Path, prefix: str, users: tuple[str, str], key: str
) -> None:
    config = shipped(template, prefix)
    tokens = [Token(config, user) for user in users]
    granted = []
    for user, own, other in zip(users, tokens, tokens[::-1], strict=True):
        folder = prefix.replace("$USER_ID", user)
        granted.append(own.what_it_may(BUCKET, folder + key))
        assert other.what_it_may(BUCKET, folder + key) == []
        assert own.may_list(BUCKET, folder + key) == (template == UPLOAD_PAGE)
        assert not other.may_list(BUCKET, folder + key)

    assert granted[0] == granted[1] != []
    names = {token.call.role_session_name for token in tokens}
    assert len(names) == 2


@each_template
@each_prefix
@given(SOME_USERS, KEYS, st.text(st.characters(codec="utf-8"), max_size=3))
@settings(max_examples=8, deadline=None)
def test_nothing_outside_a_users_prefix_is_allowed(
    template: Path, prefix: str, user: str, key: str, more: str
) -> None:
    folder = prefix.replace("$USER_ID", user)
    token = Token(shipped(template, prefix), user)
    bare = folder.rstrip("/")
    outside = {
        "",
        key,
        bare,
        bare[:-1],
        bare + more,
        f"{bare}{more}/{key}",
        f"{more}{folder}{key}",
        prefix.partition("$")[0] + key,
        folder.replace("/", "%2F") + key,
        folder.swapcase() + key,
    }
    for other in outside:
        if not other.startswith(folder):
            assert token.what_it_may(BUCKET, other) == []
            assert not token.may_list(BUCKET, other)
    for bucket in {"other-bucket", BUCKET + "-2", BUCKET[:-1], user} - {BUCKET}:
        assert token.what_it_may(bucket, folder + key) == []
        assert token.what_it_may(bucket, f"x:{BUCKET}/{folder}{key}") == []
        assert not token.may_list(bucket, folder)
    assert not token.may_list(BUCKET, None)


def filled(part: Any, values: Mapping[str, str]) -> Any:
    """Return a template with *values* in place of its placeholders."""
    if isinstance(part, str):
        for name, value in values.items():
            part = part.replace(name, value)
        return part
    if isinstance(part, list):
        return [filled(item, values) for item in part]
    return {name: filled(item, values) for name, item in part.items()}


@each_template
@each_prefix
@given(SOME_USERS)
@settings(max_examples=8, deadline=None)
def test_a_policy_is_its_template_with_the_user_filled_in(
    template: Path, prefix: str, user: str
) -> None:
    token = Token(shipped(template, prefix), user)
    document = json.loads(template.read_bytes())
    document = document if isinstance(document, dict) else {}
    values = {"$BUCKET_NAME": BUCKET, "$OBJECT_PREFIX": prefix}

    assert len(token.text.encode()) <= 2048
    expected = {"$USER_ID": user}
    assert json.loads(token.text) == filled(
        {k: v if k == "Version" else filled(v, values) for k, v in document.items()},
        expected,
    )


@each_template
def test_a_shipped_template_is_accepted_without_a_warning(template: Path) -> None:
    content = template.read_bytes()

    assert [shipped(template, prefix).warnings for prefix in PREFIXES] == [()] * 4
    assert load(content, logs_in=False, ObjectPrefix="photos/").warnings == ()


# --- Any configuration ----------------------------------------------------------

NAMES = ["a", "b", "ab", "users"]  # of users, and of folders
STRANGER = "cd"  # is no folder's name
PARTS = [*NAMES, "$USER_ID", "$USER_ID", "$USER_ID", "*", "a*", "*b", "?", "us*s"]
REGIONS = ["acs:oss:*:*:"] * 8 + [
    "acs:*:",
    "acs:oss:*",
    "*:",
    "",
    "acs:oss:$USER_ID:*:",
]
BUCKETS = [BUCKET, BUCKET, BUCKET, "bbb", "*", "my*"]
OPERATORS = ["StringLike"] * 4 + ["StringEquals"] * 2
OPERATORS += ["StringNotLike", "StringNotEquals", "StringEqualsIgnoreCase"]


class Rule(NamedTuple):
    """A statement: what may be read, or of which prefix a list may be had."""

    resource: str
    prefix: str | None  # None unless it is about a list
    operator: str = "StringLike"  # that the prefix is compared by

    def statement(self) -> dict[str, Any]:
        document = {
            "Effect": "Allow",
            "Action": "oss:GetObject" if self.prefix is None else LIST,
            "Resource": self.resource,
        }
        if self.prefix is None:
            return document
        return document | {"Condition": {self.operator: {"oss:Prefix": self.prefix}}}


PATHS = st.builds(
    lambda parts, end: "/".join(parts) + end,
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=3),
    st.sampled_from(["/*", "/*", "/*", "*", "/", "", "/k", "/a", ".k", "*b"]),
)
OBJECT_RULES = st.builds(
    lambda region, bucket, path: Rule(f"{region}{bucket}/{path}", None),
    st.sampled_from(REGIONS),
    st.sampled_from(BUCKETS),
    PATHS,
)
LIST_RULES = st.builds(
    lambda bucket, path, operator: Rule(f"acs:oss:*:*:{bucket}", path, operator),
    st.sampled_from(BUCKETS),
    PATHS,
    st.sampled_from(OPERATORS),
)
RULES = st.lists(
    st.one_of(OBJECT_RULES, OBJECT_RULES, LIST_RULES), min_size=1, max_size=3
)
ENDS = ["", "k", "a", "/k", "a/k", "b/a/k", "users/a/k", ".k", "s", "sers"]


def load_rules(rules: Sequence[Rule]) -> Config:
    """Return a configuration with a grant for each rule.  Raises ConfigError."""
    files = {
        f"p{number}": json.dumps(
            {"Version": "1", "Statement": [rule.statement()]}
        ).encode()
        for number, rule in enumerate(rules)
    }
    grants = {f"/{name}": {"PolicyFile": name} for name in files}
    return load(files, PolicyFile=None, ObjectPrefix=None, Grants=grants)


def places(rules: Sequence[Rule], users: Sequence[str]) -> Iterator[str]:
    """Yield <bucket>/<object> that the rules are about, and others beside them."""
    found = dict[str, None]()
    for rule, user, end in itertools.product(rules, users, ENDS):
        path = rule.resource.split(":")[-1]
        if rule.prefix is not None:
            path = f"{path}/{rule.prefix}"
        path = path.replace("$USER_ID", user)
        bucket, _, key = path.partition("/")
        for name in (BUCKET, "bbb") if "*" in bucket or not bucket else (bucket,):
            for star in (end, "users/" + end) if "*" in key else (end,):
                if "*" in key or "?" in key:
                    found[f"{name}/" + key.replace("*", star).replace("?", "a")] = None
                else:
                    found[f"{name}/{key}{star}"] = None
    yield from found


def leak(rules: Sequence[Rule], config: Config, users: Sequence[str]) -> str:
    """Return what a user gets that is another's, or ""."""
    tokens = {
        (number, user): Token(config, user, f"/p{number}")
        for number in range(len(rules))
        for user in users
    }
    of_users = [
        number
        for number, rule in enumerate(rules)
        if "$USER_ID" in f"{rule.resource}{rule.prefix}"
    ]
    folders = {  # of users, by their number
        (number, user): f"{bucket}/{start}{user}/"
        for number in of_users
        for bucket, start in [own_folder(rules[number])]
        for user in users
    }

    @cache
    def lists(number: int, user: str, bucket: str, beginning: str | None) -> bool:
        return tokens[number, user].may_list(bucket, beginning)

    @cache
    def reaches(number: int, user: str, place: str) -> bool:
        bucket, _, key = place.partition("/")
        token = tokens[number, user]
        if rules[number].prefix is None:
            return token.may("oss:GetObject", bucket, key)
        # A list shows each name that begins with its prefix.
        beginnings = [None, *(key[:end] for end in range(len(key) + 1))]
        return any(lists(number, user, bucket, beginning) for beginning in beginnings)

    def is_in(place: str, folder: str) -> bool:
        bucket, _, rest = folder.partition("/")
        name, _, key = place.partition("/")
        return ram.is_like(name, bucket) and key.startswith(rest)

    for place in places(rules, users):
        if place.endswith("/") and place.count("/") == 1:
            continue  # the bucket itself
        owners = {
            user
            for number in of_users
            for user in users
            if is_in(place, folders[number, user])
        }
        for number in of_users:
            for user in users:
                if owners - {user} and reaches(number, user, place):
                    return f"{user} has {place} of {owners}"
        for number in set(range(len(rules))) - set(of_users):
            if not reaches(number, users[0], place):
                continue
            for (_, user), folder in folders.items():
                if is_in(place, folder):
                    rest = place.partition("/")[2].removeprefix(
                        folder.partition("/")[2]
                    )
                    start = folder.partition("/")[2].removesuffix(f"{user}/")
                    bucket = place.partition("/")[0]
                    for other in users:
                        alike = f"{bucket}/{start}{other}/{rest}"
                        if not reaches(number, users[0], alike):
                            return f"all have {place}, but not {alike}"
    return ""


def own_folder(rule: Rule) -> tuple[str, str]:
    """Return the bucket and the folder that the folders of users are in."""
    path = rule.resource.split(":")[-1]
    if rule.prefix is not None:
        path = f"{path}/{rule.prefix}"
    bucket, _, rest = path.partition("$USER_ID")[0].partition("/")
    return bucket, rest


@given(RULES)
@settings(max_examples=100, deadline=None)
def test_no_configuration_that_is_accepted_gives_a_user_what_is_anothers(
    rules: list[Rule],
) -> None:
    try:
        config = load_rules(rules)
    except ConfigError:
        assume(False)
        raise

    assert leak(rules, config, [*NAMES, STRANGER]) == ""


# Each of them was accepted once, or would be by a rule that looks right.
LEAKS = {
    "a user named like a shared folder": [
        Rule("acs:oss:*:*:my-bucket/$USER_ID/*", None),
        Rule("acs:oss:*:*:my-bucket/a/*", None),
    ],
    "a user named like the folder of another kind": [
        Rule("acs:oss:*:*:my-bucket/$USER_ID/*", None),
        Rule("acs:oss:*:*:my-bucket/a/$USER_ID/*", None),
    ],
    "any bucket": [
        Rule("acs:oss:*:*:my-bucket/users/$USER_ID/*", None),
        Rule("acs:oss:*:*:*/users/a/*", None),
    ],
    "some buckets": [
        Rule("acs:oss:*:*:my-bucket/users/$USER_ID/*", None),
        Rule("acs:oss:*:*:my-*/users/a/*", None),
    ],
    "a wildcard before the folder": [
        Rule("acs:oss:*:*:my-bucket/users/$USER_ID/*", None),
        Rule("acs:oss:*:*:my-bucket/us*s/a/*", None),
    ],
    "a wildcard for several folders": [
        Rule("acs:oss:*:*:my-bucket/users/$USER_ID/*", None),
        Rule("acs:oss:*:*:my-bucket/*/a/*", None),
    ],
    "a folder anywhere": [
        Rule("acs:oss:*:*:my-bucket/users/$USER_ID/*", None),
        Rule("acs:oss:*:*:my-bucket/*a*", None),
    ],
    "a beginning of names": [
        Rule("acs:oss:*:*:my-bucket/users/$USER_ID/*", None),
        Rule("acs:oss:*:*:my-bucket/users/a*", None),
    ],
    "names of one letter": [
        Rule("acs:oss:*:*:my-bucket/users/$USER_ID/*", None),
        Rule("acs:oss:*:*:my-bucket/users/?/*", None),
    ],
    "fewer parts": [
        Rule("acs:oss:*:*:my-bucket/users/$USER_ID/*", None),
        Rule("acs:*bucket/users/a/*", None),
    ],
    "fewer parts, and a region that begins so": [
        Rule("acs:oss:*:*:my-bucket/users/$USER_ID/*", None),
        Rule("acs:oss:oss-*/users/a/*", None),
    ],
    "one object of a folder": [
        Rule("acs:oss:*:*:my-bucket/users/$USER_ID/*", None),
        Rule("acs:oss:*:*:my-bucket/*/a/k", None),
    ],
    "a list of all whose name begins so": [
        Rule("acs:oss:*:*:my-bucket", "$USER_ID/*"),
        Rule("acs:oss:*:*:my-bucket", "a/$USER_ID/*"),
    ],
    "a list of a shared folder": [
        Rule("acs:oss:*:*:my-bucket/$USER_ID/*", None),
        Rule("acs:oss:*:*:my-bucket", "a/*"),
    ],
    "a list in any bucket": [
        Rule("acs:oss:*:*:*", "$USER_ID/*"),
        Rule("acs:oss:*:*:my-bucket", "a/$USER_ID/*"),
    ],
    "a list of what begins like one user's folder": [
        Rule("acs:oss:*:*:my-bucket/users/$USER_ID/*", None),
        Rule("acs:oss:*:*:my-bucket", "us*/a"),
    ],
    "a list of what begins like the folders of some": [
        Rule("acs:oss:*:*:my-bucket/users/$USER_ID/*", None),
        Rule("acs:oss:*:*:my-bucket", "users/*b"),
    ],
    "a list of one prefix, the beginning of names": [
        Rule("acs:oss:*:*:my-bucket/users/$USER_ID/*", None),
        Rule("acs:oss:*:*:my-bucket", "users/a", "StringEquals"),
    ],
    "a list of prefixes that are one letter longer": [
        Rule("acs:oss:*:*:my-bucket/users/$USER_ID/*", None),
        Rule("acs:oss:*:*:my-bucket", "users/a?"),
    ],
    "a list beside a list": [
        Rule("acs:oss:*:*:my-bucket", "users/$USER_ID/", "StringEquals"),
        Rule("acs:oss:*:*:my-bucket", "*/ab"),
    ],
}


@pytest.mark.parametrize("rules", LEAKS.values(), ids=LEAKS)
def test_a_user_cannot_be_named_like_a_folder(rules: list[Rule]) -> None:
    for order in (rules, rules[::-1]):
        with pytest.raises(ConfigError, match="may be the name of another folder"):
            load_rules(order)


def test_each_way_to_be_named_like_a_folder_would_be_a_leak(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that the judge of the property above is known to see them."""
    monkeypatch.setattr(
        load_grants, "compare", lambda *_: config_isolation.Verdict.APART
    )

    unseen = [
        name
        for name, rules in LEAKS.items()
        if leak(rules, load_rules(rules), [*NAMES, STRANGER]) == ""
    ]

    assert unseen == []


def test_the_table_of_places_is_true() -> None:
    """Each row of it is a case; the places are those of two policies."""
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in (config_isolation.compare.__doc__ or "").splitlines()
        if line.strip().startswith("| b-1")
    ]

    def rule(cell: str) -> Rule:
        bucket, _, path = cell.removeprefix("a list of ").partition("/")
        if cell.startswith("a list of "):
            return Rule(f"acs:oss:*:*:{bucket}", path)
        return Rule(f"acs:oss:*:*:{bucket}/{path}", None)

    def place(cell: str) -> config_isolation.Place:
        document = {"Version": "1", "Statement": [rule(cell).statement()]}
        text = json.dumps(document).replace("$USER_ID", config_policy.USER_MARK)
        return list(config_isolation.places_of(SessionPolicy(text)))[-1]

    assert len(rows) > 15
    for one, other, verdict, _ in rows:
        expected = config_isolation.Verdict[verdict]
        assert config_isolation.compare(place(one), place(other)) is expected, (
            one,
            other,
        )
        assert config_isolation.compare(place(other), place(one)) is expected, (
            one,
            other,
        )


@pytest.mark.parametrize(
    "resources",
    [
        pytest.param(["users/$USER_ID/*", "shared/*"], id="shared beside"),
        pytest.param(["users/$USER_ID/*", "*"], id="shared above"),
        pytest.param(["users/$USER_ID/*", "users/*"], id="all may have all users'"),
        pytest.param(["users/$USER_ID/*", "*.jpg"], id="all may have some objects"),
        pytest.param(["users/$USER_ID/*", "us*/index"], id="one name in each folder"),
        pytest.param(["users/$USER_ID/*", "avatars/$USER_ID/*"], id="two folders"),
        pytest.param(["users/$USER_ID/*", "users/$USER_ID/in/*"], id="one in another"),
        pytest.param(["u/$USER_ID/*", "u-old/$USER_ID/*"], id="a common beginning"),
        pytest.param(
            ["users/$USER_ID/*", "users/*/in/*"], id="a folder in each folder"
        ),
        pytest.param(["users/$USER_ID/*", "users/*lice"], id="an end of names"),
        pytest.param(["users/$USER_ID/*", ("us", "StringEquals")], id="all begin so"),
        pytest.param(["users/$USER_ID/*", ("users/*", "StringLike")], id="all names"),
        pytest.param(["users/$USER_ID/*", ("users/??", "StringLike")], id="all, too"),
        pytest.param(["users/$USER_ID/*", ("users/*a", "StringEquals")], id="no name"),
        pytest.param(["users/$USER_ID/*", ("shared/", "StringEquals")], id="a list"),
        pytest.param(
            [("users/$USER_ID/", "StringEquals"), ("users/$USER_ID/*", "StringLike")],
            id="two lists of one folder",
        ),
    ],
)
def test_places_that_are_apart_or_alike_for_all_are_accepted(
    resources: list[str | tuple[str, str]],
) -> None:
    rules = [
        Rule(f"acs:oss:*:*:{BUCKET}/{path}", None)
        if isinstance(path, str)
        else Rule(f"acs:oss:*:*:{BUCKET}", *path)
        for path in resources
    ]

    config = load_rules(rules)

    assert leak(rules, config, [*NAMES, STRANGER]) == ""


def test_folders_of_two_buckets_are_apart() -> None:
    rules = [
        Rule("acs:oss:*:*:bucket-a/$USER_ID/*", None),
        Rule("acs:oss:*:*:bucket-b/a/$USER_ID/*", None),
        Rule("acs:oss:*:*:bucket-b", "x/*"),
        Rule("acs:oss:*:*:bucket-c/b/*", None),
    ]

    assert leak(rules, load_rules(rules), [*NAMES, STRANGER]) == ""


def test_many_grants_are_compared_in_time() -> None:
    rules = [Rule(f"acs:oss:*:*:{BUCKET}/{n}/$USER_ID/*", None) for n in range(50)]
    rules += [Rule(f"acs:oss:*:*:{BUCKET}/*/*/{n}.jpg", None) for n in range(50)]
    begin = time.thread_time()  # which others on a busy machine do not lengthen

    load_rules(rules)

    assert time.thread_time() - begin < 5


# --- Templates and prefixes that are refused ------------------------------------

OBJECTS = "acs:oss:*:*:$BUCKET_NAME/"


def policy(resource: Any, action: str = "oss:GetObject", **more: Any) -> bytes:
    """Return a template with one statement."""
    statement = {"Effect": "Allow", "Action": action, "Resource": resource} | more
    return json.dumps({"Version": "1", "Statement": [statement]}).encode()


def lists(prefix: Any, operator: str = "StringLike") -> bytes:
    """Return a template that allows lists of *prefix*."""
    condition = {operator: {"oss:Prefix": prefix}}
    return policy("acs:oss:*:*:$BUCKET_NAME", LIST, Condition=condition)


NO_FOLDER = (
    "p: {!r} is not of one user alone; $USER_ID must be a whole folder, as in "
    "users/$USER_ID/, with no * or ? before it"
)
NO_SUCH = "p: ${} is none of $USER_ID, $BUCKET_NAME, $OBJECT_PREFIX"


@pytest.mark.parametrize(
    "path",
    [
        "users/$USER_ID*",
        "users/$USER_ID",
        "users/$USER_ID?",
        "users/*$USER_ID/",
        "users/?$USER_ID/*",
        "*/$USER_ID/*",
        "users?/$USER_ID/*",
        "u-$USER_ID/*",
        "users/$USER_ID-u/*",
        "users/$$USER_ID/*",
        "users/$USER_ID$USER_ID/*",
        "users/$USER_ID%2F*",
    ],
)
def test_a_user_has_a_folder_of_their_own_or_none(path: str) -> None:
    resource = f"acs:oss:*:*:{BUCKET}/{path}"

    assert problems(policy(OBJECTS + path)) == [NO_FOLDER.format(resource)]
    assert problems(policy([OBJECTS + "x", OBJECTS + path])) == [
        NO_FOLDER.format(resource)
    ]
    assert problems(policy(OBJECTS + path, Effect="Deny")) == [
        NO_FOLDER.format(resource)
    ]
    assert problems(lists(path)) == [NO_FOLDER.format(path)]


@pytest.mark.parametrize(
    "resource",
    [
        pytest.param("acs:oss:*:*:$USER_ID/*", id="the bucket"),
        pytest.param("acs:oss:*:*:$USER_ID", id="the whole of it"),
        pytest.param("$USER_ID/*", id="a user who writes a resource"),
        pytest.param("users/$USER_ID/*", id="no resource"),
        pytest.param("acs:oss:*:users/$USER_ID/*", id="four parts"),
        pytest.param("acs:oss:$USER_ID:*:my-bucket/users/$USER_ID/*", id="the region"),
        pytest.param("acs:oss:*:$USER_ID:my-bucket/users/$USER_ID/*", id="an account"),
    ],
)
def test_a_user_cannot_be_a_part_of_a_resource_but_a_folder(resource: str) -> None:
    """Else one who is called acs:oss:x:y:my-bucket would get all that is in it."""
    assert problems(policy(resource)) == [NO_FOLDER.format(resource)]


def test_what_is_wrong_for_all_users_is_said_of_the_template() -> None:
    resource = "acs:oss:*:*:My_Bucket/$USER_ID/*"
    condition = {"NumericEquals": {"acs:x": "$USER_ID/"}}

    (bucket,) = problems(policy(resource))
    (number,) = problems(policy(OBJECTS + "x", Condition=condition))

    assert bucket.startswith(f"p: {resource!r} cannot be a bucket or object; ")
    assert number == (
        "p: Statement 1: NumericEquals: acs:x is '$USER_ID/'; it must be a decimal "
        "number"
    )


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        pytest.param(
            policy(OBJECTS + "users/$USER_IDX/*"), NO_SUCH.format("USER_IDX"), id="X"
        ),
        pytest.param(policy(OBJECTS + "$USERID/*"), NO_SUCH.format("USERID"), id="_"),
        pytest.param(
            policy(OBJECTS + "$user_id/*"), NO_SUCH.format("user_id"), id="lower case"
        ),
        pytest.param(
            policy(OBJECTS + "users/${USER_ID}/*"),
            f"p: 'acs:oss:*:*:{BUCKET}/users/${{USER_ID}}/*' has ${{; a placeholder "
            "has no braces, as in users/$USER_ID/",
            id="braces",
        ),
        pytest.param(
            policy(OBJECTS + "users/$USER_ID/*", "oss:$USER_ID"),
            NO_FOLDER.format("oss:$USER_ID"),
            id="an action",
        ),
    ],
)
def test_a_misspelt_user_id_is_no_part_of_a_template(
    template: bytes, expected: str
) -> None:
    assert problems(template) == [expected]


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        (
            "users/$USER_ID",
            NO_FOLDER.format("acs:oss:*:*:my-bucket/users/$USER_ID*"),
        ),
        ("u-$USER_ID/", NO_FOLDER.format("acs:oss:*:*:my-bucket/u-$USER_ID/*")),
        (
            "users/$USER_IDX/",
            "c: ObjectPrefix has $USER_IDX; only $USER_ID may be in it",
        ),
        ("$USERID/", "c: ObjectPrefix has $USERID; only $USER_ID may be in it"),
        (
            "$BUCKET_NAME/$USER_ID/",
            "c: ObjectPrefix has $BUCKET_NAME; only $USER_ID may be in it",
        ),
        (
            "users/${USER_ID}/",
            "c: ObjectPrefix has ${; a placeholder has no braces, as in "
            "users/$USER_ID/",
        ),
    ],
)
@each_template
def test_a_prefix_that_is_of_no_user_is_refused(
    template: Path, prefix: str, expected: str
) -> None:
    (first, *others) = problems(template.read_bytes(), ObjectPrefix=prefix)

    assert first == expected
    assert (
        others
        == ([NO_FOLDER.format(f"{prefix}*")] if "alone" in expected else [])[
            : template == UPLOAD_PAGE
        ]
    )


def test_a_bucket_has_a_name_of_its_own() -> None:
    (problem,) = problems(policy(OBJECTS + "users/$USER_ID/*"), BucketName="$USER_ID")

    assert problem.startswith("c: BucketName is '$USER_ID'; it must be 3 to 63 ")


def test_nobody_is_a_user_without_authentication() -> None:
    why = "but there is no Authentication, which would say who the user is"

    prefix = problems(TEMPLATES[0].read_bytes(), logs_in=False)
    template = problems(
        policy(OBJECTS + "$USER_ID/*"), logs_in=False, ObjectPrefix="photos/"
    )

    assert prefix == [f"c: ObjectPrefix has $USER_ID, {why}"]
    assert template == [f"p: uses $USER_ID, {why}"]


SHARED = (
    "c: Authentication without $USER_ID in ObjectPrefix or {}; each user may do what "
    "the others may"
)
OPEN = (
    "c: Authentication, but p allows each user {}; there each may do what the others "
    "may, unless a Deny forbids it"
)


def statements(*templates: bytes) -> bytes:
    """Return a template with the statements of several."""
    found = [s for one in templates for s in json.loads(one)["Statement"]]
    return json.dumps({"Version": "1", "Statement": found}).encode()


def warnings(template: bytes, **changes: Any) -> list[str]:
    """Return what the log says of a template for users, with no ObjectPrefix."""
    return list(load(template, ObjectPrefix=None, **changes).warnings)


OWN = policy(OBJECTS + "users/$USER_ID/*")


def test_users_who_share_everything_are_a_warning() -> None:
    assert warnings(policy(OBJECTS + "photos/*")) == [SHARED.format("p")]
    unbound = load(PolicyFile="", BucketName=None, ObjectPrefix=None)

    assert unbound.warnings == (
        "c: PolicyFile is empty; a token may do everything that the role may do",
        SHARED.format("a policy"),
    )
    names = {
        unbound.grants["/"].call_for(user).role_session_name for user in ("al", "bo")
    }
    assert names == {"al", "bo"}


@pytest.mark.parametrize(
    "template",
    [
        pytest.param(
            statements(
                policy(OBJECTS + "photos/*"),
                policy(OBJECTS + "photos/$USER_ID/x", Effect="Deny"),
            ),
            id="a Deny",
        ),
        pytest.param(
            policy(
                OBJECTS + "photos/*",
                Condition={"StringLike": {"acs:UserAgent": "app/$USER_ID/*"}},
            ),
            id="a condition of another key",
        ),
        pytest.param(
            statements(
                policy(OBJECTS + "photos/*"),
                policy("acs:kms:*:*:key/$USER_ID/x", "kms:Decrypt"),
            ),
            id="another service",
        ),
        pytest.param(
            policy(
                ["acs:oss:*:*:$BUCKET_NAME", OBJECTS + "photos/*"],
                Condition={"StringLike": {"oss:Prefix": "u/$USER_ID/*"}},
            ),
            id="the prefix of lists that are not allowed",
        ),
    ],
)
def test_a_user_id_that_limits_nothing_is_no_folder_of_a_user(template: bytes) -> None:
    assert warnings(template) == [SHARED.format("p")]


@pytest.mark.parametrize(
    ("template", "place"),
    [
        (policy(OBJECTS + "*"), "'my-bucket/*'"),
        (policy(OBJECTS + "users/*"), "'my-bucket/users/*'"),
        (policy(OBJECTS + "*.jpg"), "'my-bucket/*.jpg'"),
        (policy(OBJECTS + "users/*/in/*"), "'my-bucket/users/*/in/*'"),
        (policy("acs:oss:*:*:other-bucket/*"), "'other-bucket/*'"),
        (policy("acs:oss:*:*:$BUCKET_NAME", LIST), "a list of 'my-bucket/*'"),
        (
            policy("acs:oss:*:*:$BUCKET_NAME", "oss:*Versions"),
            "a list of 'my-bucket/*'",
        ),
        (lists("users/*"), "a list of 'my-bucket/users/*'"),
        (lists("use", "StringEquals"), "a list of 'my-bucket/use'"),
        (lists(["users/$USER_ID/*", ""]), "a list of 'my-bucket/'"),
    ],
)
def test_a_statement_that_opens_the_folders_of_users_is_a_warning(
    template: bytes, place: str
) -> None:
    for both in (statements(OWN, template), statements(template, OWN)):
        assert warnings(both) == [OPEN.format(place)]


@pytest.mark.parametrize(
    "template",
    [
        pytest.param(policy(OBJECTS + "shared/*"), id="beside the folders"),
        pytest.param(lists("shared/*"), id="a list beside the folders"),
        pytest.param(lists("users/$USER_ID/*"), id="a list of one's own"),
        pytest.param(
            policy("acs:oss:*:*:$BUCKET_NAME", "oss:GetBucketInfo"), id="no list"
        ),
        pytest.param(policy("*", "kms:Decrypt"), id="another service"),
        pytest.param(policy(OBJECTS + "*", Effect="Deny"), id="a Deny"),
    ],
)
def test_what_leaves_the_folders_of_users_to_them_is_no_warning(
    template: bytes,
) -> None:
    assert [w for w in warnings(statements(OWN, template)) if "Auth" in w] == []


def test_each_grant_that_opens_the_folders_of_users_is_a_warning() -> None:
    files = {
        "own": OWN,
        "p": statements(
            policy(OBJECTS + "mine/$USER_ID/*"), policy(OBJECTS + "users/*")
        ),
        "all": policy(OBJECTS + "*"),
    }
    grants = {f"/{name}": {"PolicyFile": name} for name in files}

    config = load(files, PolicyFile=None, ObjectPrefix=None, Grants=grants)

    assert list(config.warnings) == [
        OPEN.format("'my-bucket/users/*'").replace("c:", "c: Grants: /p:"),
        SHARED.format("all").replace("c:", "c: Grants: /all:"),
    ]


@pytest.mark.parametrize(
    "operator",
    [
        name
        for name in ram.OPERATORS
        if name not in ("StringLike", "StringEquals")
        and not name.startswith(("Numeric", "Date", "Bool", "Ip"))
        and name != "NotIpAddress"
    ],
)
@pytest.mark.parametrize("prefix", ["users/$USER_ID/*", "private/*"])
def test_a_list_of_all_but_some_is_refused_where_users_log_in(
    operator: str, prefix: str
) -> None:
    allow, deny = (
        json.loads(policy("acs:oss:*:*:$BUCKET_NAME", LIST, Effect=effect))
        for effect in ("Allow", "Deny")
    )
    for document in (allow, deny):
        (one,) = document["Statement"]
        one["Condition"] = {
            "StringLike": {"oss:Delimiter": "/"},
            operator: {"oss:Prefix": prefix},
        }

    assert problems(statements(OWN, json.dumps(allow).encode())) == [
        f"p: Statement 2: {operator} of oss:Prefix allows users to list the folders of "
        "others; allow what they may list with StringLike or StringEquals, and deny "
        "the rest with Effect Deny"
    ]
    assert problems(statements(OWN, json.dumps(deny).encode())) == []
    if "$" not in prefix:
        allowed = json.dumps(allow).encode()
        assert problems(allowed, logs_in=False, ObjectPrefix=None) == []


@pytest.mark.parametrize(
    "template",
    [
        pytest.param(policy(OBJECTS + "users/$USER_ID/*"), id="a resource"),
        pytest.param(policy(OBJECTS + "$USER_ID/*"), id="at the top of a bucket"),
        pytest.param(policy(OBJECTS + "users/$USER_ID/me.jpg"), id="an object"),
        pytest.param(policy(OBJECTS + "users/$USER_ID/$USER_ID/*"), id="twice"),
        pytest.param(policy(OBJECTS + "users/$USER_ID/$USER_ID*"), id="twice, *"),
        pytest.param(lists("users/$USER_ID/*"), id="a condition"),
        pytest.param(lists(["$USER_ID/", "$USER_ID/x*"], "StringEquals"), id="a list"),
        pytest.param(
            policy(OBJECTS + "users/$USER_ID/private/*", Effect="Deny"), id="Deny"
        ),
    ],
)
def test_a_template_with_whole_folders_is_accepted(template: bytes) -> None:
    call = load(template).grants["/"].call_for("张三").complete()

    assert json.loads(call.policy or "") == json.loads(
        template.decode().replace("$BUCKET_NAME", BUCKET).replace("$USER_ID", "张三")
    )


def test_a_deny_limits_only_the_user_it_is_filled_in_for() -> None:
    statements = [
        json.loads(policy(OBJECTS + path, Effect=effect))["Statement"][0]
        for path, effect in [("u/$USER_ID/*", "Allow"), ("u/$USER_ID/p/*", "Deny")]
    ]
    config = load(json.dumps({"Version": "1", "Statement": statements}).encode())
    token = Token(config, "alice")

    assert token.may("oss:GetObject", BUCKET, "u/alice/x")
    assert not token.may("oss:GetObject", BUCKET, "u/alice/p/x")
    assert not token.may("oss:GetObject", BUCKET, "u/bob/x")


def test_a_policy_must_fit_for_the_longest_user() -> None:
    padding = (
        2048
        - MAX_USER_BYTES
        - len(Token(load(policy(OBJECTS + "$USER_ID/", "")), "a").text[1:])
    )

    fits = load(policy(OBJECTS + "$USER_ID/", "x" * padding))
    (problem,) = problems(policy(OBJECTS + "$USER_ID/", "x" * (padding + 1)))

    for user in ("a" * MAX_USER_BYTES, "张" * 42 + "aa"):
        assert len(Token(fits, user).text.encode()) == 2048
    assert len(Token(fits, "a").text) < 2048 - 100
    assert problem == (
        "p: has up to 2049 bytes with its values filled in; a session policy may have "
        "2048"
    )


# --- Grants ---------------------------------------------------------------------

NO_PATH = (
    "c: Grants: {} is not a path for a grant; it must be one such as /avatars or "
    "/albums/read, and not begin with /credentials, /upload-config, /healthz, "
    "/readyz, /favicon.ico"
)
WRITE = policy(OBJECTS + "$OBJECT_PREFIX*", "oss:PutObject")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "avatars",
        "*",
        "//",
        "//avatars",
        "/a//b",
        "/a/",
        "/.",
        "/..",
        "/a/../b",
        "/./a",
        "/a/..",
        "/a?b",
        "/a#b",
        "/%61",
        "/a%2Fb",
        "/a b",
        "/a\\b",
        "/a;b",
        "/credentials",
        "/credentials/a",
        "/credentials2",
        "/healthz",
        "/readyz/a",
        "/favicon.ico",
        "http://h/a",
    ],
)
def test_what_is_no_path_is_no_grant(path: str) -> None:
    bad, good = {path: dict[str, Any]()}, {"/good": dict[str, Any]()}

    assert problems(WRITE, Grants=bad | good) == [NO_PATH.format(path)]


@pytest.mark.parametrize(("path", "shown"), [("/é", "/\\xe9"), ("/a\n", "/a\\n")])
def test_a_path_is_shown_on_one_line(path: str, shown: str) -> None:
    assert problems(WRITE, Grants={path: {}}) == [NO_PATH.format(shown)]


@pytest.mark.parametrize("path", ["/", "/a", "/a/b", "/.well-known", "/a..b", "/~x/_"])
def test_a_path_is_a_grant(path: str) -> None:
    assert list(load(WRITE, Grants={path: {}}).grants) == [path]


NO_OBJECTS: list[Any] = [None, 5, "p", [], True]


@pytest.mark.parametrize(
    ("grants", "expected"),
    [
        pytest.param(
            {}, "c: Grants is empty; leave it out to serve any path", id="empty"
        ),
        pytest.param(
            {f"/{n}": {} for n in range(101)},
            "c: Grants has more than 100 paths",
            id="too many",
        ),
        *(
            pytest.param(
                {"/a": value},
                "c: Grants: /a must be an object, {...}",
                id=f"a grant that is {json.dumps(value)}",
            )
            for value in NO_OBJECTS
        ),
        *(
            pytest.param(
                {"/a": {key: "x"}}, f"c: Grants: /a: {key} is not a setting", id=key
            )
            for key in ("RoleArn", "RoleSessionName", "AccessKeySecret", "Grants")
        ),
        *(
            pytest.param(
                {"/a": {key: {}}}, f"c: Grants: /a: {key} is not a setting", id=key
            )
            for key in ("Authentication", "AllowedOrigins")
        ),
        *(
            pytest.param(
                {"/a": {wrong: "x/"}},
                f"c: Grants: /a: {wrong} is not a setting; did you mean {right}?",
                id=wrong,
            )
            for wrong, right in (
                ("ObjectPrefx", "ObjectPrefix"),
                ("objectprefix", "ObjectPrefix"),
                ("BucketNames", "BucketName"),
                ("Policy_File", "PolicyFile"),
            )
        ),
        pytest.param(
            {"/a": {"TokenExpireTime": 60}},
            "c: Grants: /a: TokenExpireTime is 60; it must be a whole number of "
            "seconds from 900 to 43200",
            id="a bound",
        ),
        pytest.param(
            {"/a": {"PolicyFile": ""}, "/b": {"ObjectPrefix": "/x"}},
            "c: Grants: /b: ObjectPrefix is '/x'; it must be the beginning of an "
            "object name: no / or \\ first, no control characters, no * or ?, which a "
            "policy takes for wildcards",
            id="the one of two",
        ),
    ],
)
def test_a_wrong_grant_is_named(grants: Any, expected: str) -> None:
    assert problems(WRITE, Grants=grants) == [expected]


def test_grants_are_an_object() -> None:
    for value in NO_OBJECTS[1:]:
        assert "c: Grants must be an object, {...}" in problems(WRITE, Grants=value)


@pytest.mark.parametrize(
    ("key", "common", "own"),
    [
        ("PolicyFile", "p", "q"),
        ("BucketName", BUCKET, "bucket-b"),
        ("ObjectPrefix", "users/$USER_ID/", "avatars/$USER_ID/"),
        ("TokenExpireTime", 1200, "2400"),
    ],
)
def test_a_grant_has_the_common_value_unless_it_has_its_own(
    key: str, common: Any, own: Any
) -> None:
    files = {"p": WRITE, "q": policy(OBJECTS + "$OBJECT_PREFIX*")}
    grants = {"/common": {}, "/own": {key: own}}
    values = {"PolicyFile": "p", key: common}

    found = load(files, Grants=grants, **values).grants
    plain = load(files, **values).grants["/"]
    changed = load(files, **(values | {key: own})).grants["/"]
    only = load(files, Grants={"/own": {key: own}}, **(values | {key: None})).grants

    assert found["/common"].template == plain.template
    assert found["/own"].template == changed.template == only["/own"].template
    assert found["/own"].template != plain.template


def test_a_grant_without_a_policy_anywhere_is_refused() -> None:
    assert problems(Grants={"/a": {}}, PolicyFile=None) == [
        "c: Grants: /a: PolicyFile is missing; it must name a session policy template, "
        "such as policy/bucket_write_policy.txt"
    ]


def test_the_reuse_time_fits_the_expire_time_of_each_grant() -> None:
    short = {"/long": {}, "/short": {"TokenExpireTime": 900}}
    own = {"/long": {}, "/short": {"TokenExpireTime": 900, "TokenReuseTime": 600}}
    times: dict[str, Any] = {"TokenExpireTime": 3600, "TokenReuseTime": 1000}

    assert problems(WRITE, Grants=short, **times) == [
        "c: TokenReuseTime is 1000; it must be a whole number of seconds from 0 to 600"
    ]
    grants = load(WRITE, Grants=own, **times).grants
    assert {p: g.token_reuse_seconds for p, g in grants.items()} == {
        "/long": 1000,
        "/short": 600,
    }
    grants = load(WRITE, Grants=short, **(times | {"TokenReuseTime": None})).grants
    assert {p: g.token_reuse_seconds for p, g in grants.items()} == {
        "/long": 1200,
        "/short": 300,
    }


@pytest.mark.parametrize(
    "key", ["Authentification", "authentication", "Authentication ", "Auth", "Login"]
)
def test_a_misspelt_authentication_is_no_open_server(key: str) -> None:
    section = {"Issuer": "https://login.example.com/", "Audience": "app"}

    (problem,) = problems(WRITE, logs_in=False, ObjectPrefix="x/", **{key: section})

    assert problem.startswith(f"c: {key} is not a setting")


@pytest.mark.parametrize("value", [None, {}, [], "on", True, False, 0])
def test_an_authentication_that_says_nothing_is_no_open_server(value: Any) -> None:
    content = json.loads(json.dumps(working_settings(PolicyFile="p")))
    content["Authentication"] = value
    files = {Path("c"): json.dumps(content).encode(), Path("p"): WRITE}

    with pytest.raises(ConfigError, match="Authentication"):
        load_config(Path("c"), files.__getitem__)


# --- Grants over HTTP -----------------------------------------------------------


@pytest.fixture
def server(make_server: MakeServer, tmp_path: Path) -> RunningServer:
    """A token server for users, with two grants."""
    return make_server(
        Authentication=authentication(tmp_path),
        ObjectPrefix="users/$USER_ID/",
        TokenReuseTime=None,
        Grants={
            "/avatars": {
                "ObjectPrefix": "avatars/$USER_ID/",
                "CredentialsUri": True,
            },
            "/albums/read": {
                "PolicyFile": str(POLICY_DIRECTORY / "bucket_read_policy.txt"),
                "TokenExpireTime": 1800,
            },
        },
    )


def resources_of(sts: StsStandIn, document: Any) -> Any:
    """Return what the token in *document* is for, as STS was told."""
    token = sts.issued(document["SecurityToken"])
    assert token
    assert token.policy
    (statement,) = json.loads(token.policy)["Statement"]
    return statement["Resource"], statement["Action"][0], token.role_session_name


def test_each_grant_has_a_token_of_its_own_for_each_user(
    server: RunningServer, sts: StsStandIn
) -> None:
    found = {
        (user, path): resources_of(sts, server.request(path, headers=bearer(user)).json)
        for user in ("alice", "bob")
        for path in ("/avatars", "/albums/read")
        for _ in range(3)
    }

    start = f"acs:oss:*:*:{BUCKET}"
    assert found == {
        ("alice", "/avatars"): ([f"{start}/avatars/alice/*"], "oss:PutObject", "alice"),
        ("alice", "/albums/read"): (
            [f"{start}/users/alice/*"],
            "oss:GetObject",
            "alice",
        ),
        ("bob", "/avatars"): ([f"{start}/avatars/bob/*"], "oss:PutObject", "bob"),
        ("bob", "/albums/read"): ([f"{start}/users/bob/*"], "oss:GetObject", "bob"),
    }
    assert sts.received == 4
    durations = [request.params["DurationSeconds"] for request in sts.requests]
    assert durations == ["900", "1800"] * 2


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/avatar",
        "/avatars/",
        "/avatars/x",
        "/Avatars",
        "//avatars",
        "/albums",
        "/albums/read/",
        "/albums/./read",
        "/x/../avatars",
        "/avatars%00",
        "/avatars%20",
        "/avatars;x",
        "/%61vatars",
        "/albums%2Fread",
        "/albums/%72ead",
        "/credentials",
        "/credentials/",
        "/credentials/albums/read",
        "/credentials/%61vatars",
        "/%63redentials/avatars",
        "/credentials%2Favatars",
        "/credentials/avatar",
        "/credentials//avatars",
        "/credentials/avatars/",
        "/credentials/credentials/avatars",
        "/credentialsavatars",
    ],
)
def test_other_paths_hand_out_nothing(
    server: RunningServer, sts: StsStandIn, path: str, method: str
) -> None:
    reply = server.request(path, method, bearer("alice"))

    assert reply.status == 404
    if method != "HEAD":
        assert reply.json["ErrorCode"] == "NotFound"
    assert server.request(path, "OPTIONS").status == 204
    assert sts.received == 0


@pytest.mark.parametrize(
    ("path", "is_uri"),
    [("/avatars", False), ("/credentials/avatars", True), ("/albums/read", False)],
)
def test_a_grant_is_a_credentials_uri_only_if_it_asks_for_it(
    server: RunningServer, sts: StsStandIn, path: str, is_uri: bool
) -> None:
    reply = server.request(path, headers=bearer("alice"))

    assert reply.status == 200
    assert resources_of(sts, reply.json)[2] == "alice"
    assert ("Code" in reply.json) == is_uri
    assert server.request(path, "HEAD", bearer("alice")).status == 200
    assert server.request(path).status == 401


def test_the_grant_at_the_root_has_the_plain_credentials_uri(
    make_server: MakeServer, sts: StsStandIn
) -> None:
    server = make_server(
        CredentialsUri=True, Grants={"/": {}, "/a": {"ObjectPrefix": "a/"}}
    )

    found = {
        path: resources_of(sts, server.request(path).json)[0][0].partition("/")[2]
        for path in ("/", "/credentials", "/credentials/", "/a", "/credentials/a")
    }

    assert found == {
        "/": "photos/*",
        "/credentials": "photos/*",
        "/credentials/": "photos/*",
        "/a": "a/*",
        "/credentials/a": "a/*",
    }
    assert server.request("/b").status == 404


def test_without_grants_any_path_hands_out_the_same(
    make_server: MakeServer, sts: StsStandIn
) -> None:
    server = make_server()

    for path in ("/", "/sts/getsts", "/a//b", "/credentials/a", "/credentials2"):
        document = server.request(path).json
        assert document["StatusCode"] == 200
        assert resources_of(sts, document)[2] == "client_name"
    assert server.request("/credentials").json["Code"] == "Success"


def test_an_edit_adds_and_removes_a_grant(
    make_server: MakeServer, tmp_path: Path
) -> None:
    running = make_server(Grants={"/a": {}})

    def paths() -> list[int]:
        running.look()
        return [running.request(path).status for path in ("/", "/a", "/b")]

    config = tmp_path / "config.json"
    content = json.loads(config.read_text("utf-8"))
    seen = [paths()]
    edits: list[Any] = [{"/a": {}, "/b": {}}, {"/b": {}}, {"/b": 5}, None]
    for grants in edits:
        edited = content | {"Grants": grants}
        if grants is None:
            del edited["Grants"]
        config.write_text(json.dumps(edited), "utf-8")
        seen.append(paths())

    assert seen == [
        [404, 200, 404],
        [404, 200, 200],
        [404, 404, 200],
        [404, 404, 200],  # the wrong edit changes nothing
        [200, 200, 200],
    ]


def test_two_users_at_once_do_not_share_a_call(
    server: RunningServer, sts: StsStandIn
) -> None:
    users = [f"user-{n}" for n in range(4)] * 4
    with ThreadPoolExecutor(len(users)) as pool, sts.held():
        asked = [
            pool.submit(server.request, "/avatars", headers=bearer(user))
            for user in users
        ]
        sts.wait_for_requests(4)
        time.sleep(0.1)  # lets the others arrive; without it the test is only weaker

    for user, reply in zip(users, asked, strict=True):
        assert resources_of(sts, reply.result().json) == (
            [f"acs:oss:*:*:{BUCKET}/avatars/{user}/*"],
            "oss:PutObject",
            user,
        )
    assert sts.received == 4
