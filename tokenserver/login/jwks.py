"""Keys that the login service publishes at a URL, a JWK set (RFC 7517)."""

from __future__ import annotations

import http.client
import logging
import math
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.error import HTTPError, URLError

from jwt import PyJWK

from tokenserver.background import before_waiting, in_background, within
from tokenserver.errors import ConfigError, KeysUnavailable, NotAuthenticated
from tokenserver.hosts import is_loopback, parse_authority
from tokenserver.login.keys import ACCEPTED_KEYS, Key, algorithm_of
from tokenserver.login.strict_json import NotStrict, parse_object

logger = logging.getLogger(__name__)

ALGORITHM_OF_KTY = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}
FETCH_SECONDS = 5.0  # for a whole answer of the URL, however slowly it drips
FETCH_PAUSE_SECONDS = 5.0  # after one fetch, before a token can cause another
MAX_FETCHES = 4  # at once in the process, those counted that are overdue
REFRESH_SECONDS = 600.0  # the age at which keys are fetched anew
KEYS_SECONDS = 24 * 3600.0  # the age at which keys are used no longer
# Some hosts refuse the User-Agent Python-urllib.
FETCH_HEADERS = {"Accept": "application/json", "User-Agent": "sts-server"}
MAX_JWKS_BYTES = 1 << 20
MAX_JWKS_KEYS = 100
URL = re.compile(r"(https?)://([^/?]*)([/?][!\"$-~]*)?")  # no user, and no fragment


class FetchError(Exception):
    """The JWKS URL gave no keys; the text says why, without any part of the URL."""


NamedKey = tuple["str | None", Key]  # with its kid


def key_of_jwk(jwk: Any) -> NamedKey | None:
    """Return the key in a JWK, or None if it cannot be used (RFC 7517 section 5)."""
    try:
        algorithm = ALGORITHM_OF_KTY[jwk["kty"]]  # none for oct: a secret is not public
        kid, operations = jwk.get("kid"), jwk.get("key_ops", ["verify"])
        if (
            jwk.get("use", "sig") != "sig"
            or not isinstance(operations, list)
            or "verify" not in operations
            or jwk.get("alg", algorithm) != algorithm
            or not isinstance(kid, str | None)
        ):
            return None
        key = PyJWK(jwk, algorithm).key  # with "d" a private one, which is no use
        return (kid, Key(algorithm, key)) if algorithm_of(key) else None
    except Exception:  # of PyJWT and cryptography; the other keys are still good
        return None


def keys_of_set(content: bytes) -> tuple[NamedKey, ...]:
    """Return the usable keys of a JWK set.  Raises FetchError if there are none."""
    try:
        jwks = parse_object(content).get("keys")
    except NotStrict as error:
        raise FetchError(f"the answer {error.kind}") from None
    if not isinstance(jwks, list) or len(jwks) > MAX_JWKS_KEYS:
        raise FetchError(f"the answer has no list of at most {MAX_JWKS_KEYS} keys")
    found = (key_of_jwk(jwk) for jwk in jwks)
    keys = tuple(key for key in found if key)
    if not keys:
        raise FetchError(f"the answer has no key to verify with ({ACCEPTED_KEYS})")
    return keys


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Does not follow redirects: they are answers other than 200."""

    def redirect_request(self, *_args: Any) -> None:
        """Return None: no new request."""


def read_url(url: str) -> bytes:
    """Return the answer of *url*.  Raises FetchError, OSError or HTTPException.

    The time limit starts again with each part that arrives; see fetch().
    """
    deadline = time.monotonic() + FETCH_SECONDS
    handlers: list[urllib.request.BaseHandler] = [NoRedirect()]
    if url.startswith("http:"):  # to this machine, and so not through a proxy
        handlers.append(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers=FETCH_HEADERS)
    opener = urllib.request.build_opener(*handlers)
    content = b""
    try:
        with opener.open(request, timeout=FETCH_SECONDS) as response:
            if response.status != http.client.OK:
                raise FetchError(f"HTTP {response.status}")
            while time.monotonic() < deadline:
                part: bytes = response.read1(1 << 16)
                content += part
                if not part:
                    return content
                if len(content) > MAX_JWKS_BYTES:
                    raise FetchError(f"more than {MAX_JWKS_BYTES} bytes")
    except HTTPError as error:
        error.close()
        raise FetchError(f"HTTP {error.code}") from None
    raise TimeoutError


_fetches = threading.BoundedSemaphore(MAX_FETCHES)


def fetch(url: str) -> bytes:
    """Return the answer of *url* within FETCH_SECONDS, whatever it does.

    Raises what read_url() raises.
    """
    if not _fetches.acquire(blocking=False):
        raise FetchError(f"{MAX_FETCHES} fetches are still under way")
    try:
        return within(FETCH_SECONDS, partial(read_url, url), _fetches.release)
    except TimeoutError:
        raise FetchError(f"no answer within {FETCH_SECONDS:g} s") from None


def failure_text(error: BaseException) -> str:
    """Return why a fetch failed, one line without the URL."""
    if isinstance(error, FetchError):
        return str(error)
    if isinstance(error, URLError) and isinstance(error.reason, Exception):
        error = error.reason
    text = getattr(error, "strerror", None) or type(error).__name__
    return ascii(text)[1:-1][:200]


class JwksKeys:
    """The keys that the login service publishes at *url*, a JWK set (RFC 7517).

    Keys are fetched when the first token comes.  They are fetched again in the
    background when they are REFRESH_SECONDS old, and when no key fits a token, but at
    most once in FETCH_PAUSE_SECONDS: tokens that need the fetch share it, and those
    that come after it are refused at once.  If a fetch fails, or has no usable key, the
    old keys are used until they are KEYS_SECONDS old.  Cache-Control is ignored.

    The alg of a token and its kid, if there is one, must select exactly one key.  If
    two keys share a kid and type, neither is used: their order in the set must not
    matter. The headers jku, jwk, x5u and x5c are ignored.

    Raises ConfigError unless *url* is https, or http to this machine.
    """

    algorithms = frozenset(ALGORITHM_OF_KTY.values())

    def __init__(
        self,
        url: str,
        fetch: Callable[[str], bytes] = fetch,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = checked_url(url)
        self._place = url.partition("?")[0]  # a query may hold a secret
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()  # guards all below, not held during a fetch
        self._keys: tuple[NamedKey, ...] = ()
        self._fetched_at = -math.inf
        self._fetch_again_at = -math.inf
        self._flight: threading.Event | None = None  # set when it has ended
        self._failure = ""  # of the last fetch, or empty

    def find(self, header: Mapping[str, Any]) -> Key:
        """Return the one key for a token with this header.

        Raises NotAuthenticated, or KeysUnavailable if there are no keys at all.
        """
        led = None
        with self._lock:
            now = self._clock()
            key = self._match(header)
            is_due = key is None or now - self._fetched_at >= REFRESH_SECONDS
            flight = self._flight
            if is_due and flight is None and now >= self._fetch_again_at:
                led = flight = self._flight = threading.Event()
        if flight and not key:
            before_waiting()
        if led and key:
            in_background("login keys", partial(self._lead, led))
        elif led:
            self._lead(led)
        if key:
            return key
        if flight:
            flight.wait(FETCH_SECONDS)
        with self._lock:
            key = self._match(header)
            has_keys, failure = self._has_keys(), self._failure
        if key:
            return key
        if has_keys:
            raise NotAuthenticated("its kid and alg do not select one key of the set")
        raise KeysUnavailable(f"no keys from {self._place}: {failure or 'too slow'}")

    def _has_keys(self) -> bool:
        return self._clock() - self._fetched_at < KEYS_SECONDS

    def _match(self, header: Mapping[str, Any]) -> Key | None:
        """Return the one key that *header* selects now."""
        kid = header.get("kid")
        found = [
            key
            for name, key in self._keys
            if key.algorithm == header["alg"] and (kid is None or kid == name)
        ]
        return found[0] if len(found) == 1 and self._has_keys() else None

    def _lead(self, flight: threading.Event) -> None:
        """Fetch the keys and end *flight* whatever happens, so that no waiter hangs."""
        started_at = self._clock()
        keys: tuple[NamedKey, ...] = ()
        failure = ""
        try:
            keys = keys_of_set(self._fetch(self._url))
        except BaseException as error:
            failure = failure_text(error)
        with self._lock:
            if keys:
                self._keys, self._fetched_at = keys, started_at
            self._fetch_again_at = self._clock() + FETCH_PAUSE_SECONDS
            is_news = bool(failure) != bool(self._failure)
            self._failure, self._flight = failure, None
        if is_news and failure:
            logger.warning(
                "no keys from %s: %s; the previous keys are used for %g hours",
                self._place,
                failure,
                KEYS_SECONDS / 3600,
            )
        elif is_news:
            logger.warning("keys from %s again", self._place)
        flight.set()


def checked_url(url: str) -> str:
    """Return *url* if it is allowed to give keys.  Raises ConfigError."""
    match = URL.fullmatch(url)
    try:
        host = parse_authority(match[2])[0] if match else ""
    except ValueError:
        host = ""
    if not match or not host:
        raise ConfigError("is not a URL such as https://login.example.com/jwks.json")
    if match[1] == "http" and not is_loopback(host):
        raise ConfigError(
            "is plain HTTP; anyone on the network could replace the keys: use https"
        )
    return url
