"""User IDs that can stand in a path and a policy, and what STS calls them."""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from typing import Any
from urllib.parse import unquote

import pytest
from helpers.examples import examples
from helpers.login.users import ANY_USERS, USERS, accepted
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tokenserver.errors import UserNotAllowed
from tokenserver.login import users as login_users
from tokenserver.login.users import role_session_name, user_id

# --- Users ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "user",
    [
        "a",
        "alice",
        "auth0|5f7c8ec7c33c6c004bbafe82",
        "google-oauth2|103547991597142817347",
        "00u1abcDEF_ghi-JKL",
        "550e8400-e29b-41d4-a716-446655440000",
        "first.last+tag@example.com",
        "O\u2019Brien",
        "张三",
        "한국어",
        "いろは",
        "René",
        "สวัสดี",
        "नमस्ते",
        "urn:example:user#1",
        "a%2Fb",
        "a,b;c=d&e<f>g(h)!i~j^k[l]",
        ".a",
        "a.",
        "...",
        "..a",
        "\U0001f600",
        "a" * 128,
        "张" * 42,
    ],
)
def test_users_of_usual_forms_are_accepted(user: str) -> None:
    assert user_id(user) == user


@pytest.mark.parametrize(
    "user",
    [
        "",
        ".",
        "..",
        "../bob",
        *(f"a{character}b" for character in "/\\*?${}\"'`"),
        *(f"a{chr(code)}b" for code in range(0x21)),
        *(f"a{chr(code)}b" for code in range(0x7F, 0xA1)),
        *(
            f"a{chr(code)}b"
            for code in (
                0x00AD,  # soft hyphen
                0x034F,  # combining grapheme joiner
                0x061C,  # Arabic letter mark
                0x115F,  # Hangul fillers
                0x1160,
                0x3164,
                0xFFA0,
                0x1680,  # Ogham space mark
                0x17B4,  # Khmer inherent vowels
                0x17B5,
                *range(0x180B, 0x1810),  # Mongolian selectors
                *range(0x2000, 0x2010),  # spaces, joiners, directions
                *range(0x2028, 0x2030),
                *range(0x205F, 0x2070),
                0x2800,  # Braille blank
                0x3000,  # ideographic space
                0xD800,
                0xDFFF,
                0xE000,  # private use
                *range(0xFE00, 0xFE10),  # variation selectors
                0xFEFF,
                *range(0xFFF9, 0xFFFE),  # annotation, lost characters
                0xFFFF,
                0x13441,
                0x16FE4,
                0x1D159,
                0x1D173,
                0xE0001,
                0xE0041,  # tags
                0xE0100,
                0xE01EF,
                0xF0000,
                0x10FFFF,
                0x0378,  # not assigned
            )
        ),
        "\uff41lice",
        "ﬁne",
        "Rene\u0301",
        "\u212bngström",
        "1\u2044\uff0f2",
        "\u1100\u1161",
        "\u0301alice",
        "\u0338x",
        "a" * 129,
        "张" * 43,
    ],
    ids=lambda user: ascii(user)[:20],
)
def test_users_that_a_path_or_a_policy_would_misread_are_refused(user: str) -> None:
    with pytest.raises(UserNotAllowed) as caught:
        user_id(user)

    assert caught.value.reason.isascii()
    assert caught.value.reason.isprintable()


@pytest.mark.parametrize("user", [None, 5, b"alice", ["alice"], True])
def test_a_user_is_text(user: Any) -> None:
    with pytest.raises(UserNotAllowed):
        user_id(user)


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=60))
@examples(150)
def test_an_accepted_user_is_visible_and_of_one_folder(text: str) -> None:
    try:
        user = user_id(text)
    except UserNotAllowed:
        return

    assert user == text
    assert 1 <= len(user.encode()) <= 128
    assert not set(user) & set("/\\*?${}\"'`")
    assert user not in (".", "..")
    assert user.isprintable()
    assert len(user.split()) == 1


@given(st.from_regex(login_users.USUAL, fullmatch=True))
@example("a" * 128)
def test_a_usual_user_has_nothing_that_is_refused(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(login_users, "USUAL", re.compile("(?!)"))
        assert user_id(text) == text


@given(USERS, USERS)
@examples(100)
def test_users_stay_apart_in_every_normal_form(one: str, other: str) -> None:
    assume(one != other)

    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        one_folder = unicodedata.normalize(form, f"photos/{one}/")
        other_folder = unicodedata.normalize(form, f"photos/{other}/")
        assert not one_folder.startswith(other_folder)


# --- Session names --------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "name"),
    [
        ("alice", "alice"),
        ("ab", "ab"),
        ("a.b@c-d", "a.b@c-d"),
        ("auth0|5f7c", "auth0_7C5f7c"),
        ("a_b", "a_5Fb"),
        ("a+b%", "a_2Bb_25"),
        ("张三", "_E5_BC_A0_E4_B8_89"),
        ("_", "_5F"),
        ("a" * 64, "a" * 64),
    ],
)
def test_a_session_name_is_the_user_escaped(user: str, name: str) -> None:
    assert role_session_name(user) == name


@pytest.mark.parametrize(
    ("user", "start"),
    [
        ("a", "a"),
        ("a" * 65, "a" * 30),
        ("a" * 28 + "|" * 20, "a" * 28),
        ("a" * 29 + "|" * 20, "a" * 29),
        ("a" * 27 + "|" * 20, "a" * 27 + "_7C"),
        ("张" * 8, "_E5_BC_A0_E5_BC_A0_E5_BC_A0_E5"[:30]),
    ],
)
def test_a_session_name_that_does_not_fit_ends_in_a_hash(user: str, start: str) -> None:
    digest = base64.b32encode(hashlib.sha256(user.encode()).digest())[:32].decode()

    assert role_session_name(user) == f"{start}__{digest.lower()}"


SESSION_NAME = re.compile(r"[A-Za-z0-9.@_-]{2,64}")  # as STS has it
HASHED = re.compile(r"(?:[A-Za-z0-9.@-]|_[0-9A-F]{2}){1,30}__[a-z2-7]{32}")


@given(ANY_USERS | accepted(st.text("aB1.@-_|张", min_size=1, max_size=100)))
@example("a" * 64)
@example("a" * 65)
@example("|" * 21)
@example("|" * 22)
@examples(150)
def test_a_session_name_is_valid_and_says_who(user: str) -> None:
    name = role_session_name(user)

    assert SESSION_NAME.fullmatch(name)
    assert name == role_session_name(user)
    if "__" in name:
        assert HASHED.fullmatch(name)
        start = name.rpartition("__")[0].replace("_", "%")
        assert user.encode().startswith(unquote(start, "latin-1").encode("latin-1"))
    else:
        assert unquote(name.replace("_", "%")) == user


def test_users_that_are_nearly_equal_have_names_of_their_own() -> None:
    long = "auth0|" + "x" * 80
    users = {
        "a", "aa", "A", "AA", "a_b", "a_5Fb", "a%5Fb", "a|b", "a_7Cb", "a__b", "_5F",
        "_", "__", "a_", "_a", "a%7Cb", "é", "_C3_A9", "张", "张张", long, long + "x",
        long.upper(), long[:-1] + "y", "a" * 64, "a" * 65, "a" * 66, "|" * 21, "|" * 22,
    }  # fmt: skip
    users |= {role_session_name(user) for user in users}
    users |= {role_session_name(user) for user in users}
    users = {user_id(user) for user in users}

    assert len({role_session_name(user) for user in users}) == len(users)


@given(st.sets(USERS | ANY_USERS, min_size=2, max_size=8))
@examples(100)
def test_different_users_have_different_names(users: set[str]) -> None:
    users = users | set(map(role_session_name, users))

    assert len({role_session_name(user) for user in users}) == len(users)
