"""No user gets what is another's, whatever they are called and however it is set up.

What a token may do is asked of localcloud.ram, which evaluates policies as RAM
documents it.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from helpers.configuration import (
    BUCKET,
    LIST,
    PREFIXES,
    TEMPLATES,
    UPLOAD_PAGE,
    Token,
    load,
)
from helpers.examples import examples
from helpers.login.users import ANY_USERS, USERS, accepted
from hypothesis import assume, given
from hypothesis import strategies as st

from localcloud import ram
from tokenserver.config import isolation as config_isolation
from tokenserver.config import load_grants
from tokenserver.config import policy as config_policy
from tokenserver.config.load import Config
from tokenserver.config.policy import SessionPolicy
from tokenserver.errors import ConfigError
from tokenserver.login.users import MAX_USER_BYTES


@lru_cache
def shipped(template: Path, prefix: str) -> Config:
    """Return a configuration with a template that is ours."""
    return load(template.read_bytes(), ObjectPrefix=prefix)


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
@examples(20)
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
@examples(20)
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
@examples(20)
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


class Reach:
    """What the tokens of *users* reach, with a grant for each of *rules*."""

    def __init__(
        self, rules: Sequence[Rule], config: Config, users: Sequence[str]
    ) -> None:
        self.rules, self.users = rules, users
        self.tokens = {
            (number, user): Token(config, user, f"/p{number}")
            for number in range(len(rules))
            for user in users
        }
        self.of_users = [
            number
            for number, rule in enumerate(rules)
            if "$USER_ID" in f"{rule.resource}{rule.prefix}"
        ]
        self.of_all = set(range(len(rules))) - set(self.of_users)
        self.folders = [  # bucket, what comes before the user's own, user
            (*own_folder(rules[number]), user)
            for number in self.of_users
            for user in users
        ]
        self.lists = cache(self._lists)
        self.reaches = cache(self._reaches)

    def _lists(
        self, number: int, user: str, bucket: str, beginning: str | None
    ) -> bool:
        """Return whether *user* may list the names with this *beginning*."""
        return self.tokens[number, user].may_list(bucket, beginning)

    def _reaches(self, number: int, user: str, place: str) -> bool:
        """Return whether *user* may read *place*, or sees it in a list."""
        bucket, _, key = place.partition("/")
        if self.rules[number].prefix is None:
            return self.tokens[number, user].may("oss:GetObject", bucket, key)
        # A list shows each name that begins with its prefix.
        beginnings = [None, *(key[:end] for end in range(len(key) + 1))]
        return any(self.lists(number, user, bucket, begin) for begin in beginnings)

    def folders_around(self, place: str) -> Iterator[tuple[str, str, str]]:
        """Yield user, what comes before their folder, and what is in it, of *place*."""
        name, _, key = place.partition("/")
        for bucket, start, user in self.folders:
            if ram.is_like(name, bucket) and key.startswith(f"{start}{user}/"):
                yield user, start, key.removeprefix(f"{start}{user}/")

    def of_another(self, place: str) -> str:
        """Return which user has *place*, which is another's, or ""."""
        owners = {user for user, _, _ in self.folders_around(place)}
        for number, user in itertools.product(self.of_users, self.users):
            if owners - {user} and self.reaches(number, user, place):
                return f"{user} has {place} of {owners}"
        return ""

    def of_one_alone(self, place: str) -> str:
        """Return what all have of one user, and not of each, or ""."""
        bucket, anyone = place.partition("/")[0], self.users[0]
        for number in self.of_all:
            if not self.reaches(number, anyone, place):
                continue
            for _, start, rest in self.folders_around(place):
                for other in self.users:
                    alike = f"{bucket}/{start}{other}/{rest}"
                    if not self.reaches(number, anyone, alike):
                        return f"all have {place}, but not {alike}"
        return ""


def leak(rules: Sequence[Rule], config: Config, users: Sequence[str]) -> str:
    """Return what a user gets that is another's, or ""."""
    reach = Reach(rules, config, users)
    for place in places(rules, users):
        if place.endswith("/") and place.count("/") == 1:
            continue  # the bucket itself
        if found := reach.of_another(place) or reach.of_one_alone(place):
            return found
    return ""


def own_folder(rule: Rule) -> tuple[str, str]:
    """Return the bucket and the folder that the folders of users are in."""
    path = rule.resource.split(":")[-1]
    if rule.prefix is not None:
        path = f"{path}/{rule.prefix}"
    bucket, _, rest = path.partition("$USER_ID")[0].partition("/")
    return bucket, rest


@given(RULES)
@examples(100)
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
    "lists in buckets that two patterns match": [
        Rule("acs:oss:*:*:my-*", "$USER_ID/*"),
        Rule("acs:oss:*:*:*-bucket", "a/$USER_ID/*"),
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
