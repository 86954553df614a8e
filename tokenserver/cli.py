"""A token server for apps that upload to Alibaba Cloud OSS.

An app must not hold an AccessKey pair.  It asks this server for a temporary
credential, talks to OSS directly with it, and asks again before it expires.
The server holds the pair, or runs under a RAM role, and asks STS on the app's
behalf: AssumeRole(RoleArn, RoleSessionName, DurationSeconds, Policy) returns an
AccessKeyId that starts with "STS.", an AccessKeySecret, a SecurityToken and their
Expiration.  Such a token may do what the role may do *and* the session policy
sent with the call allows; a session policy never adds anything to a role.

One request passes through these modules.  sts_http accepts it and reads it strictly.
sts_login says whose login token it has, if users have to log in.  sts_config says what
this path hands out now, and fills the user into its session policy.  sts_tokens has a
token for that already, or shares one call among all who ask, or calls AssumeRole within
the quota of STS.  One JSON document goes back in one send.  What is wrong with a call,
sts_check says in words; sts_metrics shows what was counted.  This module is the command
line, and what stands between HTTP and the others.

    python sts_server.py 7080

Sources: "Set up direct data transfer for mobile apps" (OSS documentation),
"AssumeRole" (STS API reference, version 2015-04-01), RFC 9110 and RFC 9112 (HTTP).
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import json
import logging
import os
import re
import signal
import socket
import sys
import threading
import time
from datetime import datetime, timezone
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import parse_qs, unquote

from tokenserver.check import report as sts_check
from tokenserver.config.load import (
    RESERVED_PATHS,
    AssumeRoleCall,
    Config,
    ConfigError,
    FileWatch,
    Grant,
    LiveConfig,
    LiveTls,
    UserCall,
    load_config,
    read_file,
)
from tokenserver.httpd.server import (
    IDLE_SECONDS,
    JAVASCRIPT_TYPE,
    JSON_TYPE,
    Document,
    HttpSettings,
    ReplyLine,
    RequestError,
    Stopped,
    StrictHandler,
    StrictServer,
    encode,
    error_document,
)
from tokenserver.login import verifier as sts_login
from tokenserver.login.verifier import KeysUnavailable, LoginError, UserNotAllowed
from tokenserver.sts.tokens import (
    FAILURE_SECONDS,
    INTERNAL,
    StsClient,
    StsError,
    Token,
    TokenCache,
)

__version__ = "0.1.0"

logger = logging.getLogger("sts_server")

# --- Constants ------------------------------------------------------------------

DEFAULT_PORT = 7080  # the port of the reference servers
FIRST_FREE_PORT = 1024  # for everybody on Unix
FREE_PORTS = (
    f"ports below {FIRST_FREE_PORT} need root or CAP_NET_BIND_SERVICE "
    f"(AmbientCapabilities= in a systemd unit), so take {DEFAULT_PORT} and let a proxy "
    "forward to it"
)
DRAIN_SECONDS = 10.0  # for requests in flight when the server is told to stop
URI_PATH = "/credentials"
READY_SECONDS = 0.8  # for a trial of /readyz; Kubernetes waits for 1 s
SAMPLE_USER = "sample-user"  # whom --check and --once act for, unless told otherwise
READY_USER = "readyz"  # whom such a trial is made for, when there are users
CALLBACK = re.compile(r"[A-Za-z_$][\w$.]{0,63}", re.ASCII)

# --- HTTP server and handler ----------------------------------------------------


def token_error(error: StsError) -> Document:
    """Return what the reference servers send when AssumeRole failed."""
    return error_document(500, error.code, error.message)


def uri_error(error: StsError) -> Document:
    """Return what the SDKs expect of one: any Code but Success."""
    return {"Code": error.code, "Message": error.message}


class TokenServer(StrictServer):
    """Serves tokens as *config* has them now."""

    def __init__(
        self,
        bind: str | None,
        port: int,
        config: LiveConfig,
        tokens: TokenCache,
        tls: LiveTls | None = None,
    ) -> None:
        """Listen on *port* of the address *bind*, by default of every address.

        Raises OSError.
        """
        self.config = config
        self.config.on_new = self._forget_denied
        self.tokens = tokens
        self.hints = sts_check.HintLog()
        self._ready_for: Config | None = None  # the one that a token was had with last
        self._trying = threading.Lock()  # held by the one thread that tries
        self._next_trial = -float("inf")  # monotonic, after one that failed
        super().__init__(bind, port, TokenRequestHandler, tls.current if tls else None)

    def http_settings(self) -> HttpSettings:
        """Return what is configured now."""
        return self.config.current().http

    def _forget_denied(self, before: Config, now: Config) -> None:
        """Keep no token of those who are shut out from *now* on.

        If only logins before some time are, a later one shall have a new token.
        """
        self.tokens.forget(
            {user for user in now.denied if now.denied[user] != before.denied.get(user)}
        )

    def token(
        self, config: Config, grant: Grant, call: AssumeRoleCall | UserCall
    ) -> Token:
        """Return a token of *grant* for *call*.  Raises StsError."""
        try:
            token = self.tokens.get(
                call, grant.token_reuse_seconds, config.sts_calls_per_second
            )
        except StsError as error:
            if hint := self.hints.hint(error, call.complete()):
                logger.warning("%s", hint)
            raise
        self._ready_for = config
        return token

    def is_ready(self) -> bool:
        """Return whether a token was had since the last configuration.

        If nobody asked for one yet, try, and wait for a moment.
        """
        if self.is_stopping:
            return False
        config = self.config.current()
        is_time = time.monotonic() >= self._next_trial
        is_ready = self._ready_for is config
        if not is_ready and is_time and self._trying.acquire(blocking=False):
            trial = threading.Thread(target=self._try, args=[config], daemon=True)
            try:
                trial.start()
            except RuntimeError:  # the system has no thread for us
                self._trying.release()
            else:
                trial.join(READY_SECONDS)
        return self._ready_for is config

    def _try(self, config: Config) -> None:
        """Fetch a token for nobody."""
        grant = next(iter(config.grants.values()))
        user = READY_USER if config.login else None
        try:
            self.token(config, grant, grant.call_for(user))
        except Exception as error:
            # Whoever asks costs STS no more calls than this, even without token reuse.
            self._next_trial = time.monotonic() + FAILURE_SECONDS
            if not isinstance(error, StsError):
                logger.exception("failed to try for /readyz")
        finally:
            self._trying.release()


class TokenRequestHandler(StrictHandler):
    """Credentials for the user who asks, or the reason why not."""

    server: TokenServer

    def do_GET(self) -> None:
        """Send credentials in the form that the path asks for."""
        if self.path == "/healthz":
            self.send_probe()
        elif self.path == "/readyz":
            self.send_readiness()
        elif self.path == "/favicon.ico" or self.is_reserved_in_disguise():
            raise RequestError("NotFound")
        else:
            self.send_credentials()

    do_POST = do_GET
    do_HEAD = do_GET

    def send_readiness(self) -> None:
        """Say whether requests for tokens should come here."""
        if not self.server.is_ready():
            raise RequestError("NotReady")
        self.send_probe()

    def send_probe(self) -> None:
        """Say that all is well; not in the log, which would have little else."""
        body = encode({"Status": "OK"})
        self.send_body(HTTPStatus.OK, body, is_logged=False)

    def callback(self, config: Config) -> str:
        """Return the name of the function that the document goes to, mostly none.

        Raises RequestError.
        """
        names = self.parameters("callback")
        if not names:
            return ""
        if config.http.allowed_origins is not None:  # a script may be run by any page
            raise RequestError(
                "InvalidCallback", "JSONP is not served to chosen origins."
            )
        if len(names) > 1 or not CALLBACK.fullmatch(names[0]):
            raise RequestError("InvalidCallback")
        return names[0]

    def parameters(self, name: str) -> list[str]:
        """Return the values that the query has for *name*."""
        if not self.query:
            return []
        return parse_qs(self.query, keep_blank_values=True).get(name, [])

    def is_reserved_in_disguise(self) -> bool:
        """Return whether the path is a reserved one but for its percent-encoding.

        A proxy in front may have rules for the path as it is written, so a path has one
        spelling here: /%63redentials is not /credentials, and nothing else either.
        """
        path = unquote(self.path)
        return path != self.path and path in RESERVED_PATHS

    def grant(self, config: Config) -> tuple[Grant, bool]:
        """Return what the path hands out, and whether as a credentials URI.

        Raises RequestError.
        """
        path, is_uri = self.path, False
        if config.serves_any_path:
            is_uri = path == URI_PATH
        elif f"{path}/".startswith(f"{URI_PATH}/"):
            path, is_uri = path.removeprefix(URI_PATH) or "/", True
        grant = config.grant(path)
        if not grant or (is_uri and not grant.has_credentials_uri):
            raise RequestError("NotFound")
        return grant, is_uri

    def user(self, config: Config) -> str | None:
        """Return who asks, None if nobody has to log in.  Raises RequestError."""
        if config.login is None:
            return None
        try:
            return config.login.user(self.login_token())
        except LoginError as error:
            raise login_refusal(error) from None

    def login_token(self) -> str:
        """Return the login token.  Raises RequestError.

        It comes as RFC 6750 has it: in the Authorization header (section 2.1), or, for
        clients that can be given only a URL, as access_token (section 2.3).
        """
        tokens = self.parameters("access_token")
        scheme, _, credentials = self.fields.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            tokens = [*tokens, credentials.strip(" ")]
        if len(tokens) > 1:
            raise RequestError("AmbiguousLogin", fields=challenge("invalid_request"))
        if not tokens:
            raise RequestError(
                "Unauthenticated", fields=challenge(), detail="no login token"
            )
        return tokens[0]

    def send_credentials(self) -> None:
        """Send a token, or why there is none, in the form that the path asks for."""
        config = self.server.config.current()
        grant, is_uri = self.grant(config)
        user = self.user(config)
        callback = "" if is_uri else self.callback(config)
        content_type = JAVASCRIPT_TYPE if callback else JSON_TYPE
        if self.command == "HEAD":  # no AssumeRole, so its length is not known
            self.log_reply(HTTPStatus.OK)
            self.send_reply(HTTPStatus.OK, f"Content-Type: {content_type}\r\n")
            return
        call = grant.call_for(user)
        status, detail = HTTPStatus.OK, ""
        try:
            token = self.server.token(config, grant, call)
            body = token.uri_document if is_uri else token.document
            outcome, counted = token.access_key_id, "Token"
        except Exception as error:
            if not isinstance(error, StsError):
                logger.exception("failed on a request from %s", self.client)
                error = StsError(*INTERNAL, detail="see above")
            if is_uri:
                status = HTTPStatus.BAD_GATEWAY
            # Else the status is 200: the Android SDK reads no other body.
            body = encode(uri_error(error) if is_uri else token_error(error))
            outcome = counted = error.code
            detail = error.detail
        if callback:
            body = b"%s( %s )" % (callback.encode("ascii"), body)
        self.send_body(
            status,
            body,
            outcome,
            call.role_session_name,
            detail,
            counted=counted,
            content_type=content_type,
        )


def login_refusal(error: LoginError) -> RequestError:
    """Return what a client hears of *error*: nothing that helps to forge a token."""
    if isinstance(error, UserNotAllowed):
        return RequestError("UserNotAllowed", detail=error.reason)
    if isinstance(error, KeysUnavailable):
        fields = "Retry-After: 5\r\n"
        return RequestError("LoginUnavailable", fields=fields, detail=error.reason)
    fields = challenge("invalid_token")
    return RequestError("Unauthenticated", fields=fields, detail=error.reason)


def challenge(error: str = "") -> str:
    """Return the header line that says how to log in (RFC 6750, section 3)."""
    because = f', error="{error}"' if error else ""
    return f'WWW-Authenticate: Bearer realm="sts-server"{because}\r\n'


# --- Command line ---------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """Run the server, or do one of the other things; return the exit status."""
    options = parse_arguments(argv)
    log_to_stderr(options.log_format)
    try:
        tls = live_tls(options)
        if options.check:
            return check(load_config(options.config, read_file), options.user)
        config = LiveConfig(options.config)
        sts = StsClient()
        metrics = options.metrics_port is not None and import_metrics()
    except ConfigError as error:
        for problem in error.problems:
            print(f"sts_server: {problem}", file=sys.stderr)
        return 1 if options.check else 2
    if options.once is not None:
        return print_token(config.current(), sts, options.once, options.user)
    raise_file_limit()
    tokens = TokenCache(sts.assume_role)
    server, port = None, options.port
    try:
        server = TokenServer(options.bind, port, config, tokens, tls)
        if metrics:
            port = options.metrics_port
            metrics.serve(options.bind, port, server, tokens, sts, config)
    except (OSError, UnicodeError) as error:  # the latter for what is no host name
        if server:
            server.server_close()
        place = f"{options.bind or 'all addresses'} port {port}"
        reason = getattr(error, "strerror", None) or error
        if isinstance(error, PermissionError) and port < FIRST_FREE_PORT:
            reason = f"{reason}; {FREE_PORTS}"
        print(f"sts_server: cannot listen on {place}: {reason}", file=sys.stderr)
        return 1
    server.idle_seconds = options.keep_alive
    watch = FileWatch(config, *([tls] if tls else []))
    watch.start()
    return serve(server, welcome(server), watch)


def live_tls(options: argparse.Namespace) -> LiveTls | None:
    """Return the certificate that the options name, if any.  Raises ConfigError."""
    if options.tls_cert:
        return LiveTls(options.tls_cert, options.tls_key or options.tls_cert)
    if options.tls_key:
        raise ConfigError("--tls-key needs --tls-cert, the certificate of that key")
    return None


def import_metrics() -> Any:
    """Return the module for --metrics-port.  Raises ConfigError without its library."""
    try:
        from tokenserver import metrics as sts_metrics
    except ImportError as error:
        raise ConfigError(
            f"--metrics-port: prometheus_client cannot be imported ({error}); "
            "run: pip install prometheus-client"
        ) from None
    return sts_metrics


def check(config: Config, user: str | None) -> int:
    """Print what is configured and what is wrong with it; return the exit status.

    Where users log in it acts for *user*, and says how to shut that one out.
    """
    whom = (user or SAMPLE_USER) if config.login else None
    samples = [
        sts_check.Sample(grant.path, grant.call_for(whom).complete())
        for grant in config.grants.values()
    ]
    epilogue = []
    if user and config.login:
        epilogue = sts_check.how_to_end(user, config.grants.values())
    return sts_check.run_check(
        config.shown, samples, config.warnings, StsClient(), epilogue=epilogue
    )


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Return the options of the command line; they are those of http.server."""
    parser = argparse.ArgumentParser(
        prog="sts_server.py",
        description="Serve temporary credentials for direct uploads to OSS.",
    )
    parser.add_argument(
        "port",
        nargs="?",
        type=port_number,
        default=DEFAULT_PORT,
        help="port to listen on (default: %(default)s; 0 takes any that is free)",
    )
    parser.add_argument(
        "--bind", metavar="ADDRESS", help="address to listen on (default: all)"
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        default=Path("config.json"),
        help="configuration file (default: %(default)s)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="show what is configured, ask STS for a token, say what is wrong; exit",
    )
    parser.add_argument(
        "--once",
        metavar="PATH",
        nargs="?",
        const="/",
        help="print the token document of PATH (default: /) and exit",
    )
    parser.add_argument(
        "--user",
        metavar="ID",
        type=user_id,
        help=f"whom --check and --once act for (default: {SAMPLE_USER}); with --check, "
        "also how to shut this user out",
    )
    parser.add_argument(
        "--tls-cert", metavar="FILE", type=Path, help="serve HTTPS with this PEM chain"
    )
    parser.add_argument(
        "--tls-key", metavar="FILE", type=Path, help="its key, if not in the same file"
    )
    parser.add_argument(
        "--keep-alive",
        metavar="SECONDS",
        type=keep_alive_seconds,
        help=f"how long an idle connection stays open (default: {IDLE_SECONDS:g})",
    )
    parser.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="form of the lines on stderr (default: %(default)s)",
    )
    parser.add_argument(
        "--metrics-port",
        metavar="N",
        type=port_number,
        help="serve metrics for Prometheus on another port, at /metrics",
    )
    parser.add_argument(
        "--version", action="version", version=f"sts-server {__version__}"
    )
    return parser.parse_args(argv)


def port_number(text: str) -> int:
    """Return a port given on the command line.  Raises ArgumentTypeError."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port from 0 to 65535")
    return int(text)


def keep_alive_seconds(text: str) -> int:
    """Return a time given on the command line.  Raises ArgumentTypeError."""
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not from 1 to 3600 seconds")
    return int(text)


def user_id(text: str) -> str:
    """Return a user given on the command line.  Raises ArgumentTypeError."""
    try:
        return sts_login.user_id(text)
    except UserNotAllowed as error:
        raise argparse.ArgumentTypeError(error.reason) from None


def log_to_stderr(log_format: str = "text") -> None:
    """Send our log to stderr, and that of other packages nowhere."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else LogFormatter())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logging.getLogger().addHandler(logging.NullHandler())
    # What no line shows need not be found out ("Optimization", Logging HOWTO).
    logging._srcfile = ""
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


class LogFormatter(logging.Formatter):
    """Lines that begin with local time and its offset."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Return the second of *record*."""
        return log_time(int(record.created))


class JsonFormatter(logging.Formatter):
    """Each line a JSON object: time, level, and a message or the parts of a request."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line for *record*."""
        moment = datetime.fromtimestamp(record.created, timezone.utc)
        time_text = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line: dict[str, Any] = {"time": time_text, "level": record.levelname}
        if isinstance(record.msg, ReplyLine):
            line |= record.msg._asdict()
            line["milliseconds"] = round(record.msg.milliseconds, 1)
        else:
            line["message"] = record.getMessage()
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


@lru_cache(maxsize=2)  # a second has many lines
def log_time(seconds: int) -> str:
    """Return unix *seconds* as the log has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(seconds))


def print_token(config: Config, sts: StsClient, path: str, user: str | None) -> int:
    """Print one token document; return 0, or 1 when it is an error."""
    grant = config.grant(path)
    if grant is None:
        paths = ", ".join(config.grants)
        print(f"sts_server: --once {path}: is none of {paths}", file=sys.stderr)
        return 2
    whom = (user or SAMPLE_USER) if config.login else None
    call = grant.call_for(whom).complete()
    try:
        document = Token(sts.assume_role(call)).document
        status = 0
    except StsError as error:
        logger.error("%s (%s)", error.code, error.detail)
        document = encode(token_error(error))
        status = 1
    print(document.decode("ascii"))
    return status


def raise_file_limit() -> None:
    """Let the process open as many files as it is allowed to, as a JVM does.

    Each connection is one, and often 1024 is the limit that a process starts with.
    """
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return
    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def welcome(server: TokenServer) -> str:
    """Return what is served and where, and who may have it."""
    config = server.config.current()
    lines = [f"sts-server {__version__}: {config.description}"]
    scheme = "https" if server.tls else "http"
    for address in addresses(server.server_address[0]):
        host = f"[{address}]" if ":" in address else address
        lines.append(f"  {scheme}://{host}:{server.server_port}/")
    who = "Whoever reaches this port gets a token."
    if config.login:
        who = "Only users who are logged in get a token."
    return "\n".join([*lines, f"{who} Ctrl-C stops."])


def addresses(bound: Any) -> list[str]:
    """Return the addresses to reach a server at that is bound to *bound*."""
    if not ipaddress.ip_address(bound).is_unspecified:
        return [bound]
    found = ["127.0.0.1"]
    # To "connect" a UDP socket sends nothing; the system only chooses the interface
    # that leads to the address, one of those for documentation.
    families = [(socket.AF_INET, "192.0.2.1")]
    if ":" in bound:
        families.append((socket.AF_INET6, "2001:db8::1"))
    for family, anywhere in families:
        with (
            contextlib.suppress(OSError),
            socket.socket(family, socket.SOCK_DGRAM) as probe,
        ):
            probe.connect((anywhere, 9))
            found.append(probe.getsockname()[0])
    return found


def serve(server: TokenServer, message: str, watch: FileWatch) -> int:
    """Print *message* and serve until SIGINT or SIGTERM; then finish and return 0.

    A second of these ends the process at once.  SIGHUP, which a closed terminal sends
    too, has the files looked at now.
    """

    def stop(_signal: int, _frame: FrameType | None) -> None:
        if server.is_stopping:
            os._exit(0)
        server.is_stopping = True  # the accepting thread looks twice a second

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    if hasattr(signal, "SIGHUP"):  # not on Windows
        signal.signal(signal.SIGHUP, lambda _signal, _frame: watch.ask())
    with contextlib.suppress(OSError):  # a full disk
        print(message, flush=True)
    with contextlib.suppress(Stopped):
        server.serve_forever()
    server.drain(DRAIN_SECONDS)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
