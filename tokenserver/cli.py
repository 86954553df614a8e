"""The command: serve until a signal, or do what --init, --check or --once says."""

from __future__ import annotations

import argparse
import contextlib
import gc
import ipaddress
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterable
from itertools import chain
from types import FrameType, ModuleType
from typing import Any

from tokenserver import __version__
from tokenserver.config.files import FileWatch, read_file
from tokenserver.config.load import Config, LiveConfig, load_config
from tokenserver.config.tls import LiveTls
from tokenserver.documents import Token, token_error
from tokenserver.errors import ConfigError, StsError
from tokenserver.hosts import own_address
from tokenserver.httpd.server import Stopped, StrictServer
from tokenserver.logs import log_to_stderr
from tokenserver.options import DEFAULT_PORT, SAMPLE_USER, parse_arguments, program

DRAIN_SECONDS = 10.0  # for requests in flight when the server is told to stop
FIRST_FREE_PORT = 1024  # that any user may listen on, on Unix
FREE_PORTS = (
    f"ports below {FIRST_FREE_PORT} need root or CAP_NET_BIND_SERVICE "
    f"(AmbientCapabilities= in a systemd unit); use {DEFAULT_PORT}, and let a proxy "
    "forward to it"
)

logger = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> int:
    """Run the server, or do what another option says; return the exit status.

    It is 0 for success, 1 for failure, 2 for a wrong configuration or command line.
    """
    options = parse_arguments(argv)
    try:
        status = do(options)
        sys.stdout.flush()
    except BrokenPipeError:  # who reads stdout has ended, as in --check | head
        # What is left is flushed at the end of the process, and would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def do(options: argparse.Namespace) -> int:
    """Do what *options* say; return the exit status."""
    if options.init is not None:
        return init(options)
    log_to_stderr(options.log_format)
    try:
        if options.check:
            return check(options)
        if options.once is not None:
            return print_token(options)
        return run(options)
    except ConfigError as error:
        complain(error.problems)
        return 1 if options.check else 2


def complain(problems: Iterable[str]) -> None:
    """Print each problem on a line of stderr."""
    for problem in problems:
        print(f"{program()}: {problem}", file=sys.stderr)


# --- Instead of serving ---------------------------------------------------------


def init(options: argparse.Namespace) -> int:
    """Write the files that a new operator edits; return the exit status."""
    from tokenserver.starter import write_starter_files

    try:
        written = write_starter_files(options.init)
    except OSError as error:
        complain([f"--init {options.init}: {error.strerror or error}"])
        return 1
    for path, is_new in written.items():
        print(path if is_new else f"{path} exists and was left as it is")
    return 0


def check(options: argparse.Namespace) -> int:
    """Print the configuration and what is wrong with it; return the exit status.

    Where users log in, it acts for the user of --user, and says how to shut that user
    out.  Raises ConfigError.
    """
    live_tls(options)
    config = load_config(options.config, read_file)
    import_sdk()
    from tokenserver.check import report
    from tokenserver.check.bucket import look_at_buckets
    from tokenserver.check.callback import look_at_callback
    from tokenserver.sts.client import StsClient

    user = whom(config, options)
    samples = [
        report.Sample(grant.path, grant.call_for(user).complete())
        for grant in config.grants.values()
    ]
    language = options.language
    buckets = {grant.bucket for grant in config.grants.values() if grant.bucket}
    findings = chain(
        report.diagnose(samples, StsClient(), language=language),
        look_at_buckets(buckets, config.http.allowed_origins, language),
        look_at_callback(config.callback, language),
    )
    status = report.run_check(
        config.shown, samples, config.warnings, findings, language
    )
    if options.user and config.login:
        for line in report.how_to_end(options.user, config.grants.values(), language):
            report.show_line(line)
    return status


def print_token(options: argparse.Namespace) -> int:
    """Print one token document; return 0, or 1 if it is an error.

    Raises ConfigError.
    """
    config = LiveConfig(options.config).current()
    import_sdk()
    from tokenserver.sts.client import StsClient

    grant = config.grant(options.once)
    if grant is None:
        complain([f"--once {options.once}: is not one of {', '.join(config.grants)}"])
        return 2
    if grant.terms:  # the token behind them is not for anybody to see
        complain([f"--once {options.once}: hands out {grant.what}, and no token"])
        return 2
    call = grant.call_for(whom(config, options)).complete()
    try:
        document = Token(StsClient().assume_role(call)).document
        status = 0
    except StsError as error:
        logger.error("%s (%s)", error.failure.code, error.failure.detail)
        document = token_error(error.failure)
        status = 1
    print(document.decode("ascii"))
    return status


def whom(config: Config, options: argparse.Namespace) -> str | None:
    """Return the user to act for, None if nobody logs in."""
    return (options.user or SAMPLE_USER) if config.login else None


# --- Serving --------------------------------------------------------------------


def run(options: argparse.Namespace) -> int:
    """Serve until a signal; return the exit status.  Raises ConfigError."""
    tls = live_tls(options)
    config = LiveConfig(options.config)
    metrics = import_metrics() if options.metrics_port is not None else None
    import_sdk()
    from tokenserver.app import TokenServer
    from tokenserver.sts.client import StsClient
    from tokenserver.sts.tokens import TokenCache

    sts = StsClient(lambda: config.current().sts_calls_per_second)
    tokens = TokenCache(sts.assume_role)
    raise_file_limit()
    address = options.bind, options.port
    try:
        server = TokenServer(
            address, config, tokens, tls.current if tls else None, options.keep_alive
        )
    except (OSError, UnicodeError) as error:
        return cannot_listen(*address, error)
    if metrics:
        counters = metrics.Counters(
            replies=server.replies,
            tokens=tokens.uses,
            signed=server.signed,
            calls=sts.calls,
            latency=sts.latency,
            calls_in_flight=sts.calls_in_flight,
            connections=server.connections,
            generation=lambda: config.generation,
            age_seconds=config.age_seconds,
            uploads=server.uploads,
        )
        try:
            metrics.serve(options.bind, options.metrics_port, counters)
        except OSError as error:
            server.server_close()
            return cannot_listen(options.bind, options.metrics_port, error)
    watch = FileWatch(config, *([tls] if tls else []))
    watch.start()
    gc.freeze()  # what is there now stays; the collector need not look at it again
    return serve(server, welcome(server, config.current()), watch)


def cannot_listen(bind: str | None, port: int, error: Exception) -> int:
    """Print why the server cannot listen on an address; return the exit status."""
    reason = getattr(error, "strerror", None) or error  # UnicodeError: not a host name
    if isinstance(error, PermissionError) and port < FIRST_FREE_PORT:
        reason = f"{reason}; {FREE_PORTS}"
    complain([f"cannot listen on {bind or 'all addresses'} port {port}: {reason}"])
    return 1


def live_tls(options: argparse.Namespace) -> LiveTls | None:
    """Return the certificate that the options name, if any.  Raises ConfigError."""
    if options.tls_cert:
        return LiveTls(options.tls_cert, options.tls_key or options.tls_cert)
    if options.tls_key:
        raise ConfigError("--tls-key needs --tls-cert, the certificate for the key")
    return None


def import_sdk() -> None:
    """Import the STS SDK.  Raises ConfigError if it is missing or too old.

    The import takes most of the time that the server needs to start, so a wrong
    configuration is reported before it.
    """
    try:
        import tokenserver.sts.client  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"the STS SDK cannot be imported ({error}); "
            "run: pip install -U 'alibabacloud-sts20150401>=1.2.0'"
        ) from None


def import_metrics() -> ModuleType:
    """Return the module for --metrics-port.  Raises ConfigError without its library."""
    try:
        from tokenserver import metrics
    except ImportError as error:
        raise ConfigError(
            f"--metrics-port: prometheus_client cannot be imported ({error}); "
            "run: pip install prometheus-client"
        ) from None
    return metrics


def raise_file_limit() -> None:
    """Raise the limit on open files to the maximum allowed, as a JVM does.

    Each connection needs one, and a process often starts with a limit of 1024.
    """
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return
    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def welcome(server: StrictServer, config: Config) -> str:
    """Return lines for the operator: tokens, addresses, and who gets a token."""
    lines = [f"sts-server {__version__}: {config.description}"]
    scheme = "https" if server.tls else "http"
    for address in addresses(server.server_address[0]):
        host = f"[{address}]" if ":" in address else address
        lines.append(f"  {scheme}://{host}:{server.server_port}/")
    who = "Anyone who can reach this port gets a token."
    if config.login:
        who = "Only users who are logged in get a token."
    return "\n".join([*lines, f"{who} Ctrl-C stops."])


def addresses(bound: Any) -> list[str]:
    """Return the addresses of a server that is bound to *bound*."""
    if not ipaddress.ip_address(bound).is_unspecified:
        return [bound]
    found = ["127.0.0.1"]
    families = [socket.AF_INET, socket.AF_INET6] if ":" in bound else [socket.AF_INET]
    for family in families:
        with contextlib.suppress(OSError):
            found.append(own_address(family))
    return found


def serve(server: StrictServer, message: str, watch: FileWatch) -> int:
    """Print *message* and serve until SIGINT or SIGTERM; then finish and return 0.

    A second such signal ends the process at once.  SIGHUP, which a closed terminal also
    sends, makes the server look at its files now.
    """

    def stop(_signal: int, _frame: FrameType | None) -> None:
        if server.is_stopping:
            os._exit(0)
        server.is_stopping = True  # serve_forever() looks twice a second

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
