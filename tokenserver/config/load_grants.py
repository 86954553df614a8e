"""The grants of paths: Grants, or the settings at the top of the file for any path."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from tokenserver.config import settings as table
from tokenserver.config.callback import Callback
from tokenserver.config.grants import RESERVED_PATHS, CallTemplate, Grant
from tokenserver.config.isolation import (
    Place,
    SharedPlace,
    Verdict,
    compare,
    object_place,
    pairs_of,
    places_of,
)
from tokenserver.config.load_bucket import load_bucket
from tokenserver.config.load_terms import lacks_permission, load_terms, void_limits
from tokenserver.config.policy import (
    PLACEHOLDER,
    SETTING_OF,
    USER_MARK,
    PolicyTemplate,
    SessionPolicy,
    left_over,
    unmarked,
)
from tokenserver.config.resources import relative_of
from tokenserver.config.settings import Section
from tokenserver.config.source import Source
from tokenserver.errors import ConfigError
from tokenserver.logs import printable
from tokenserver.oss.bucket import Bucket
from tokenserver.oss.terms import Terms

GRANT_PATH = re.compile(r"/|(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)+")  # as in a URL
MAX_GRANTS = 100
PLACEHOLDER_OF = {
    table.BUCKET.name: "BUCKET_NAME",
    table.OBJECT_PREFIX.name: "OBJECT_PREFIX",
}


def load_grants(
    source: Source, template: CallTemplate, callback: Callback | None = None
) -> list[Grant]:
    """Return what the paths hand out; without Grants, what any path does.

    *template* is what their calls have in common, *callback* how their uploads are
    reported.
    """
    if not source.has_grants:
        grant = load_grant("/", source, source.settings, template, callback)
        grants = [replace(grant, has_credentials_uri=True)]
        if table.CREDENTIALS_URI in source.settings:
            source.warn(
                "CredentialsUri is not used, because without Grants the server always "
                "answers at /credentials"
            )
        warn_of_idle(source, [source.settings])
    else:
        sections = grant_sections(source)
        grants = [
            load_grant(path, source, section, template, callback)
            for path, section in sections.items()
        ]
        if len(grants) > MAX_GRANTS:
            source.settings.note(
                "Grants", f"has {len(grants)} paths; it may have {MAX_GRANTS} at most"
            )
            return grants[:1]
        warn_of_idle(source, [source.settings, *sections.values()])
    if source.has_login:
        check_isolation(source, grants)
    for limited, other in void_limits(grants):
        source.warn(
            f"{limited.path} has limits, but {other.path} lets users upload to the "
            "same folder without them; give one of them another ObjectPrefix",
            f"{source.path}: {table.GRANTS.name}",
        )
    return grants


def grant_sections(source: Source) -> dict[str, Section]:
    """Return the settings of each path in Grants."""
    name = table.GRANTS.name
    where = f"{source.path}: {name}"
    values = source.settings[table.GRANTS]
    if not values:
        source.settings.note(name, "is empty; leave it out to serve any path")
    sections = {}
    for path, own in values.items():
        if not GRANT_PATH.fullmatch(path) or path.startswith(RESERVED_PATHS):
            source.problems.append(
                f"{where}: {printable(path)} cannot be the path of a grant; use one "
                "such as /avatars or /albums/read that does not begin with "
                f"{', '.join(RESERVED_PATHS)}"
            )
        elif not isinstance(own, dict):
            source.problems.append(f"{where}: {path} must be an object, {{...}}")
        else:
            section = sections[path] = Section(
                f"{where}: {path}",
                own,
                (*table.GRANT_SETTINGS, *table.SIGNED_SETTINGS),
                source.problems,
                common=source.settings,
            )
            section.refuse_unknown()
            source.show(section, f"{name}: {path}")
    return sections


def load_grant(
    path: str,
    source: Source,
    settings: Section,
    template: CallTemplate,
    callback: Callback | None,
) -> Grant:
    """Return the grant of *path*."""
    for setting in (
        table.POLICY_FILE,
        table.TOKEN_EXPIRE_TIME,
        table.TOKEN_REUSE_TIME,
        table.CREDENTIALS_URI,
        table.CALLBACK,
    ):
        settings.use(setting)
    duration_seconds = settings[table.TOKEN_EXPIRE_TIME]
    object_prefix = load_object_prefix(source, settings)
    bucket = load_bucket(source, settings)
    terms = None
    if source.has_grants:
        terms = load_terms(settings, bucket, object_prefix, source.has_login)
    policy, policy_file = load_policy(source, settings, object_prefix, bool(terms))
    if terms:
        settings.use(table.BUCKET)
        settings.use(table.OBJECT_PREFIX)
        if policy and bucket:
            check_permission(settings, policy, bucket, object_prefix, terms)
            policy = policy.for_all()
    return Grant(
        path,
        replace(template, duration_seconds=duration_seconds, policy=policy),
        reuse_seconds(settings, duration_seconds, terms),
        policy_file,
        settings[table.CREDENTIALS_URI] and not terms,
        bucket,
        object_prefix,
        grant_callback(source, settings, callback, bucket),
        terms,
    )


def grant_callback(
    source: Source,
    settings: Section,
    callback: Callback | None,
    bucket: Bucket | None,
) -> Callback | None:
    """Return how uploads of a grant are reported, None if they are not."""
    is_own = settings is not source.settings and table.CALLBACK.name in settings.values
    if settings[table.CALLBACK] is None:  # false, or missing everywhere
        return None
    if is_own:
        settings.note(
            table.CALLBACK.name,
            "is an object; it must be false here, or left out: all grants share the "
            "one at the top",
        )
    elif callback and not bucket:
        source.warn(
            "Callback has no effect without Region, because clients are told of it by "
            "/upload-config",
            settings.where,
        )
    return callback


def check_permission(
    settings: Section,
    policy: SessionPolicy,
    bucket: Bucket,
    object_prefix: str,
    terms: Terms,
) -> None:
    """Note a session policy that does not allow what the grant signs."""
    place = f"{bucket.name}/{object_prefix}"
    if lacks_permission(policy, terms.action, place):
        settings.note(
            table.POLICY_FILE.name,
            f"is {settings[table.POLICY_FILE]!r}, which does not allow {terms.action} "
            f"in {unmarked(place)}; OSS would refuse all that Type {terms.type} signs",
        )


def reuse_seconds(settings: Section, duration_seconds: int, terms: Terms | None) -> int:
    """Return TokenReuseTime, which TokenExpireTime bounds.

    What is signed with a token ends before it does.
    """
    setting = table.TOKEN_REUSE_TIME
    margin = terms.seconds if terms else table.SDK_REFRESH_MARGIN_SECONDS
    most = duration_seconds - margin
    if setting not in settings:
        return min(duration_seconds // 3, most)
    bounded = replace(setting, read=table.number(0, most, "of seconds "))
    return settings[bounded]


# --- Session policy -------------------------------------------------------------


def load_policy(
    source: Source, settings: Section, object_prefix: str, is_signed: bool
) -> tuple[SessionPolicy | None, str]:
    """Return the rendered session policy and its file's name, or None and "".

    *is_signed* says that nobody gets the token.
    """
    values = {  # of the placeholders
        "USER_ID": USER_MARK if source.has_login else "",
        # A wrong value is replaced by a valid one: it is reported once already.
        "BUCKET_NAME": settings.get(table.BUCKET, "my-bucket"),
        "OBJECT_PREFIX": object_prefix,
    }
    policy_file = settings[table.POLICY_FILE]
    if table.POLICY_FILE not in settings:
        form = "a session policy template, such as policy/bucket_write_policy.txt"
        settings.note(table.POLICY_FILE.name, f"is missing; it must name {form}")
        return None, ""
    if not policy_file:
        source.warn(
            "PolicyFile is empty; a token may do everything that the role may do",
            settings.where,
        )
        return None, ""
    path = source.beside(policy_file)
    try:
        template = PolicyTemplate(str(path), source.read(path))
        for setting in (table.BUCKET, table.OBJECT_PREFIX):
            if PLACEHOLDER_OF[setting.name] in template.placeholders:
                settings.use(setting)
        policy = template.render(values)
        source.warnings += template.warnings(has_parts=not is_signed)
        return policy, policy_file
    except ConfigError as error:
        source.problems += error.problems
        return None, policy_file


def load_object_prefix(source: Source, settings: Section) -> str:
    """Return ObjectPrefix, with USER_MARK for $USER_ID."""
    prefix = settings.get(table.OBJECT_PREFIX, "photos/")
    problems = []
    for name in PLACEHOLDER.findall(prefix):
        if name != "USER_ID":
            problems.append(f"has ${name}; only $USER_ID may be in it")
        elif not source.has_login:
            problems.append(f"has $USER_ID, but {SETTING_OF['USER_ID']}")
    filled_in = PLACEHOLDER.sub(USER_MARK, prefix)
    problems += filter(None, [left_over(filled_in, "$USER_ID")])
    for problem in problems:
        settings.note(table.OBJECT_PREFIX.name, problem)
    return "photos/" if problems else filled_in


# --- Across grants --------------------------------------------------------------


def warn_of_idle(source: Source, sections: Iterable[Section]) -> None:
    """Warn about settings of grants that are set and have no effect."""
    for section in sections:
        for name, value in section.idle(table.GRANT_SETTINGS):
            text = f"{name} has no effect: each grant has its own"
            if name in PLACEHOLDER_OF:
                text = (
                    f"{name} is {value!r:.100}, but has no effect: no session policy "
                    f"uses ${PLACEHOLDER_OF[name]} from it, so it does not limit tokens"
                )
            source.warn(text, section.where)


def check_isolation(source: Source, grants: Collection[Grant]) -> None:
    """Note if a user can reach the folder of another; warn about what all share."""
    places: dict[object, list[Place]] = {}
    path_of: dict[Place, str] = {}
    for grant in grants:
        if grant.source not in places:
            places[grant.source] = list(places_of_grant(grant))
        path_of |= dict.fromkeys(places[grant.source], grant.path)
    alike = set()
    for one, other in pairs_of(path_of):
        verdict = compare(one, other)
        if verdict is Verdict.UNEQUAL:
            both = [f"{place.text} (path {path_of[place]})" for place in (one, other)]
            names = unmarked(" and ".join(both))
            source.settings.note(
                "$USER_ID",
                f"may be the name of another folder: {names} are the same place for "
                "some user; put $USER_ID into a folder that contains only users, as in "
                "users/$USER_ID/",
            )
            return
        if verdict is Verdict.ALIKE:
            alike |= {one, other}
    for grant in grants:
        where = f"{source.path}"
        if source.has_grants:
            where += f": {table.GRANTS.name}: {grant.path}"
        for warning in sharing_warnings(grant, places[grant.source], alike):
            source.warn(warning, where)


def places_of_grant(grant: Grant) -> Iterator[Place]:
    """Yield what a user of *grant* gets: what its policy allows, or what is signed."""
    if grant.terms is None:
        yield from places_of(grant.template.policy)
    elif relative := relative_of(grant.signed_place):
        yield object_place(relative)


def sharing_warnings(
    grant: Grant, places: Collection[Place], alike: Collection[Place]
) -> Iterator[str]:
    """Yield a warning for each of the *places* of a grant that all users share."""
    shared = [place for place in places if isinstance(place, SharedPlace)]
    if len(shared) == len(places):
        yield (
            "there is Authentication, but no $USER_ID in ObjectPrefix or "
            f"{grant.policy_file or 'a policy'}, so all users have the same permissions"
        )
        return
    for place in shared:
        if place in alike or place.has_a_whole_bucket:
            yield (
                f"there is Authentication, but {grant.policy_file} allows each user "
                f"{place.text}; there all users have the same permissions, unless a "
                "Deny takes them away"
            )
