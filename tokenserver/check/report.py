"""The report of --check: settings, and results for endpoint, clock and AssumeRole."""

from __future__ import annotations

import enum
import json
import sys
import time
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from tokenserver.check import texts
from tokenserver.check.hints import account_and_role, hint
from tokenserver.check.probe import Answer, Unanswered, probe
from tokenserver.check.texts import Language
from tokenserver.config.grants import AssumeRoleCall, Grant
from tokenserver.config.settings import SDK_REFRESH_MARGIN_SECONDS
from tokenserver.documents import Credentials
from tokenserver.errors import Failure, StsError
from tokenserver.logs import visible
from tokenserver.sts.client import StsClient, instant

SLOW_SECONDS = 1.0
CLOCK_WARNING_SECONDS = 60.0
CLOCK_LIMIT_SECONDS = 15 * 60.0  # beyond, STS refuses ("Signature method", RPC style)
EXPIRATION_TOLERANCE_SECONDS = 60.0  # of a token that was just issued

# --- Diagnosis ------------------------------------------------------------------

OK, WARNING, PROBLEM = "ok", "warning", "problem"


class Kind(enum.Enum):
    """The subject of a finding."""

    ENDPOINT = "the endpoint"
    CLOCK = "our clock"
    ASSUME_ROLE = "the token of a grant"
    BUCKET = "the bucket that clients upload to"
    CALLBACK = "where OSS reports uploads"


class Sample(NamedTuple):
    """A grant for a sample user: its path, and the call for its token."""

    path: str
    call: AssumeRoleCall


class Finding(NamedTuple):
    """The result of one probe, and what to do about it."""

    level: str  # OK, WARNING or PROBLEM
    text: str
    remedy: str = ""
    kind: Kind = Kind.ENDPOINT


@dataclass
class Trouble:
    """A failure, and the paths of the grants that have it."""

    failure: Failure
    remedy: str
    paths: list[str] = field(default_factory=list)

    @property
    def finding(self) -> Finding:
        """The finding that reports it."""
        words = filter(None, (self.failure.code, self.failure.message))
        text = (
            f"AssumeRole for {some_of(self.paths)}: {': '.join(words)} "
            f"({self.failure.detail})"
        )
        return Finding(PROBLEM, text, self.remedy, Kind.ASSUME_ROLE)


def diagnose(
    samples: Sequence[Sample],
    sts: StsClient,
    clock: Callable[[], float] = time.time,
    language: Language = "en",
) -> Iterator[Finding]:
    """Probe the endpoint and call AssumeRole for each grant; yield the findings.

    All calls go to one endpoint, with one key pair.  Calls that differ only in their
    session name are made once.  If one fails for a reason that concerns all grants, no
    more are made.  Remedies are in *language*.
    """
    offset, findings = look_at_endpoint(samples[0].call, clock, language)
    yield from findings
    troubles: dict[tuple[str, str, str], Trouble] = {}
    hopeless: Trouble | None = None
    for call, paths in distinct(samples):
        if hopeless:
            hopeless.paths += paths
            continue
        begun = time.monotonic()
        try:
            credentials = sts.assume_role(call)
        except StsError as error:
            failure = error.failure
            remedy = remedy_for(failure, call, sts, offset, language)
            key = (failure.code, failure.message, remedy)
            trouble = troubles.setdefault(key, Trouble(failure, remedy))
            trouble.paths += paths
            if not concerns_grant(failure):
                hopeless = trouble
        else:
            took = milliseconds(time.monotonic() - begun)
            text = f"AssumeRole for {some_of(paths)}: {took}"
            now = clock() - (offset or 0.0)
            yield look_at_token(credentials, call, text, now, language)
    for trouble in troubles.values():
        yield trouble.finding


def distinct(
    grants: Sequence[Sample],
) -> list[tuple[AssumeRoleCall, list[str]]]:
    """Return each call that differs in more than its session name, with its paths."""
    found: dict[AssumeRoleCall, tuple[AssumeRoleCall, list[str]]] = {}
    for path, call in grants:
        key = replace(call, role_session_name="")
        found.setdefault(key, (call, []))[1].append(path)
    return list(found.values())


def concerns_grant(failure: Failure) -> bool:
    """Return whether another role, duration or policy could avoid *failure*."""
    kinds = ("NoPermission", "EntityNotExist", "InvalidParameter")
    return failure.code.startswith(kinds)


def remedy_for(
    failure: Failure,
    call: AssumeRoleCall,
    sts: StsClient,
    offset: float | None,
    language: Language,
) -> str:
    """Return what to do about *failure*.

    If that depends on the owner of the key, ask STS for the owner.
    """
    of_anyone = hint(failure, call, language=language)
    if failure.code == "InvalidTimeStamp.Expired" and offset is not None:
        return clock_remedy(offset, language) or of_anyone
    if failure.code not in ("NoPermission", "EntityNotExist.Role"):
        return of_anyone
    try:
        return hint(failure, call, sts.caller_identity(call), language)
    except StsError:
        return of_anyone


def look_at_endpoint(
    call: AssumeRoleCall, clock: Callable[[], float], language: Language
) -> tuple[float | None, list[Finding]]:
    """Return the offset of our clock, if known, and the findings."""
    url = f"endpoint {call.protocol}://{call.endpoint}"
    try:
        answer = probe(call, clock)
    except Unanswered as unanswered:  # what to do follows from AssumeRole
        return None, [Finding(PROBLEM, f"{url}: {unanswered}")]
    text = f"{url}: answered in {milliseconds(answer.seconds)} (HTTP {answer.status})"
    finding = Finding(OK, text)
    if answer.seconds > SLOW_SECONDS:
        finding = Finding(
            WARNING,
            f"{text}, which is slow",
            texts.SLOW_ENDPOINT.said(language, endpoint=call.endpoint),
        )
    return answer.clock_offset_seconds, [finding, look_at_clock(answer, language)]


def look_at_clock(answer: Answer, language: Language) -> Finding:
    """Compare our clock with that of STS."""
    offset = answer.clock_offset_seconds
    if offset is None:
        return Finding(
            WARNING,
            "clock: not compared, because the answer has no Date",
            kind=Kind.CLOCK,
        )
    if abs(offset) <= CLOCK_WARNING_SECONDS:
        text = f"clock: within {CLOCK_WARNING_SECONDS:g} s of that of STS"
        return Finding(OK, text, kind=Kind.CLOCK)
    level = PROBLEM if abs(offset) > CLOCK_LIMIT_SECONDS else WARNING
    text = f"clock: {offset_text(offset)} that of STS"
    return Finding(level, text, clock_remedy(offset, language), Kind.CLOCK)


def clock_remedy(offset: float, language: Language) -> str:
    """Return what to do about a clock that is *offset* seconds ahead, or ""."""
    if abs(offset) <= CLOCK_WARNING_SECONDS:
        return ""
    return texts.CLOCK.said(
        language,
        offset=offset_text(offset, language),
        limit=time_span(CLOCK_LIMIT_SECONDS, language),
    )


def look_at_token(
    credentials: Credentials,
    call: AssumeRoleCall,
    took: str,
    now: float,
    language: Language,
) -> Finding:
    """Return whether a new token is valid for as long as was requested.

    *now* is the time of STS.
    """
    left = instant(credentials.expiration) - now
    text = f"{took}, token {credentials.access_key_id} until {credentials.expiration}"
    if abs(left - call.duration_seconds) <= EXPIRATION_TOLERANCE_SECONDS:
        return Finding(OK, text, kind=Kind.ASSUME_ROLE)
    level = PROBLEM if left < SDK_REFRESH_MARGIN_SECONDS else WARNING
    remedy = texts.LIFETIME.said(
        language,
        left=time_span(max(0.0, left), language),
        seconds=call.duration_seconds,
    )
    return Finding(level, text, remedy, Kind.ASSUME_ROLE)


def some_of(paths: Sequence[str]) -> str:
    """Return the first of *paths*, and how many more there are."""
    shown = ", ".join(paths[:5])
    return shown if len(paths) <= 5 else f"{shown} and {len(paths) - 5} more"


def milliseconds(seconds: float) -> str:
    """Return a short time in milliseconds."""
    return f"{seconds * 1000:.0f} ms"


def time_span(seconds: float, language: Language = "en") -> str:
    """Return a time span in the largest unit of which it has at least two."""
    size = next((size for size in texts.SPANS if seconds >= 2 * size), 1)
    return texts.SPANS[size].said(language, count=f"{seconds / size:.0f}")


def offset_text(offset: float, language: Language = "en") -> str:
    """Return by how much and in which direction a clock is off."""
    text = texts.AHEAD if offset > 0 else texts.BEHIND
    return text.said(language, span=time_span(abs(offset), language))


# --- Report ---------------------------------------------------------------------


def run_check(
    settings: Mapping[str, str],
    grants: Sequence[Sample],
    warnings: Sequence[str],
    findings: Iterable[Finding],
    language: Language = "en",
) -> int:
    """Print what is set and what is wrong.

    Return 0 if each grant got a token and each bucket is there, else 1.  *settings* are
    names and the values to show; *findings* are printed as they come.  The heading of
    the remedies is in *language*, as they are.
    """
    show_line("Settings")
    width = max(map(len, settings), default=0)
    for name, value in settings.items():
        show_line(f"  {name:{width}}  {masked(name, value)}")
    for path, call in grants:
        show_line(f"\nGrant {path}: {call.role_arn}, {call.duration_seconds} s")
        for line in policy_lines(call.policy):
            show_line(f"  {line}")
    if warnings:
        show_line("\nWarnings")
    for warning in warnings:
        show_line(f"  {warning}")
    show_line("\nProbes")
    found = []
    for finding in findings:
        show_line(f"  {finding.level:7}  {visible(finding.text)}")
        found.append(finding)
    remedies = dict.fromkeys(finding.remedy for finding in found if finding.remedy)
    if remedies:
        show_line(f"\n{texts.WHAT_TO_DO.said(language)}")
    for remedy in remedies:
        show_line(f"  - {visible(remedy)}")
    counting = (Kind.ASSUME_ROLE, Kind.BUCKET, Kind.CALLBACK)
    is_right = all(f.level != PROBLEM for f in found if f.kind in counting)
    show_line(f"\n{'Each grant gets a token.' if is_right else 'There are problems.'}")
    return 0 if is_right else 1


def how_to_end(
    user: str, grants: Collection[Grant], language: Language = "en"
) -> list[str]:
    """Return lines, in *language*, on how to make the tokens of *user* useless."""
    denials: list[Any] = []
    for grant in grants:
        denials += [
            denial for denial in grant.own_statements(user) if denial not in denials
        ]
    lines = ["", texts.SHUT_OUT.said(language, user=visible(user))]
    lines += [f"  {texts.NAME_THE_USER.said(language)}"]
    if not denials:
        return [*lines, f"  {texts.NOT_THIS_USERS_ALONE.said(language)}"]
    role = account_and_role(next(iter(grants)).template.role_arn)[1]
    lasting = max(grant.template.duration_seconds for grant in grants)
    policy = json.dumps({"Version": "1", "Statement": denials}, ensure_ascii=False)
    attach = texts.ATTACH_THE_POLICY.said(
        language,
        span=time_span(lasting, language),
        place=texts.ROLE_PERMISSIONS.said(language, role=role),
    )
    lines.append(f"  {attach}")
    return lines + [f"    {line}" for line in policy_lines(policy)]


def masked(name: str, value: str) -> str:
    """Return *value*, or for a secret only whether it is set."""
    if name.endswith("AccessKeySecret") and value not in ("", "set", "not set"):
        return "set"
    return visible(value)


def policy_lines(policy: str | None) -> list[str]:
    """Return the lines of an indented session policy, or what its absence means."""
    if policy is None:
        return ["no session policy: a token may do everything that the role may do"]
    return json.dumps(json.loads(policy), indent=2, ensure_ascii=False).splitlines()


def show_line(line: str) -> None:
    """Print *line*, with escapes for characters that stdout cannot show."""
    encoding = sys.stdout.encoding or "ascii"
    print(line.encode(encoding, "backslashreplace").decode(encoding), flush=True)
