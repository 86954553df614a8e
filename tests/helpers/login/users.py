"""User IDs made up by Hypothesis."""

from __future__ import annotations

import unicodedata

from hypothesis import strategies as st

from tokenserver.errors import UserNotAllowed
from tokenserver.login.users import user_id


def accepted(texts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return the *texts* that are valid user IDs."""

    def is_accepted(text: str) -> bool:
        try:
            return user_id(text) == text
        except UserNotAllowed:
            return False

    return texts.map(lambda text: unicodedata.normalize("NFKC", text)).filter(
        is_accepted
    )


USERS = accepted(st.text("aAée\u0301\u0327張张.@-_%|+ÅΩ가ㄱ\u1100\u1161", min_size=1))
ANY_USERS = accepted(st.text(st.characters(codec="utf-8"), min_size=1, max_size=40))
