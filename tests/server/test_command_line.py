"""What an operator sees who runs the server from a shell."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from helpers.client import connect, request
from helpers.login.service import AUDIENCE, ISSUER, service
from helpers.machine import (
    PATIENCE_SECONDS,
    many_files,
    reserved_port,
    wait_until,
)
from helpers.processes import (
    call,
    command,
    read_until,
    run,
    running,
    usage,
    with_limits,
)
from helpers.server import RunningServer
from helpers.settings import (
    ACCESS_KEY_ID,
    ACCESS_KEY_SECRET,
    POLICY_DIRECTORY,
    ROOT,
    settings,
    write_config,
)

import tokenserver
from localcloud.sts import Fail, StsStandIn
from tokenserver import cli
from tokenserver.config.load import LiveConfig
from tokenserver.httpd.server import StrictServer
from tokenserver.options import parse_arguments
from tokenserver.sts.client import StsClient


def ask(port: int, target: str = "/") -> int:
    """Return the StatusCode of the document at *target*."""
    return int(request(port, target).json["StatusCode"])


@pytest.fixture
def config(tmp_path: Path, sts: StsStandIn) -> Path:
    """A working config.json."""
    return write_config(tmp_path, StsEndpoint=sts.url)


@pytest.mark.process
def test_once_prints_one_token_document(config: Path, sts: StsStandIn) -> None:
    result = run("--once", "--config", config)

    assert result.returncode == 0
    document = json.loads(result.stdout)
    assert list(document) == [
        "StatusCode",
        "AccessKeyId",
        "AccessKeySecret",
        "SecurityToken",
        "Expiration",
    ]
    assert sts.issued(document["SecurityToken"])
    assert result.stderr == ""


def test_once_exits_1_for_an_error(config: Path, sts: StsStandIn) -> None:
    sts.always(Fail("NoPermission", "No.", 403))

    result = call("--once", "--config", config)

    assert result.returncode == 1
    assert json.loads(result.stdout)["ErrorCode"] == "NoPermission"
    assert " NoPermission (RequestId " in result.stderr


@pytest.mark.process
def test_version_is_said_with_the_name_of_the_command() -> None:
    assert call("--version").stdout == f"sts_server.py {tokenserver.__version__}\n"
    module = subprocess.run(
        [sys.executable, "-m", "tokenserver", "--version"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert module.stdout == f"python -m tokenserver {tokenserver.__version__}\n"


# --- Init -----------------------------------------------------------------------


def test_init_writes_the_files_of_the_project_and_nothing_over_others(
    tmp_path: Path,
) -> None:
    folder, project = tmp_path / "new", ROOT
    policies = sorted(f"policy/{path.name}" for path in POLICY_DIRECTORY.iterdir())
    names = ["config.json", "role-policy.json", *policies]

    first = call("--init", folder)
    (folder / "config.json").write_text("{}")
    (folder / names[-1]).unlink()
    again = call("--init", folder)

    assert (first.returncode, again.returncode) == (0, 0)
    assert first.stdout.splitlines() == [str(folder / name) for name in names]
    *kept, new = again.stdout.splitlines()
    assert kept == [f"{folder / n} exists and was left as it is" for n in names[:-1]]
    assert new == str(folder / names[-1])
    assert (folder / "config.json").read_text() == "{}"
    assert (folder / "config.json").stat().st_mode & 0o777 == 0o600
    for name in policies:
        assert (folder / name).read_bytes() == (project / name).read_bytes()


def test_init_writes_a_config_json_that_lacks_only_the_operators_values(
    tmp_path: Path, sts: StsStandIn
) -> None:
    call("--init", tmp_path)
    config = tmp_path / "config.json"
    written = json.loads(config.read_text())
    shipped = json.loads((ROOT / "config.json").read_text())
    own = {name: value for name, value in settings().items() if name in written}
    own |= {"PolicyFile": written["PolicyFile"], "Region": "cn-hangzhou"}
    config.write_text(json.dumps(written | own | {"StsEndpoint": sts.url}))

    assert written == shipped | {"Region": ""}
    assert call("--once", "--config", config).returncode == 0


def test_init_writes_a_role_policy_that_allows_what_the_templates_do(
    tmp_path: Path,
) -> None:
    call("--init", tmp_path)

    (allowed,) = json.loads((tmp_path / "role-policy.json").read_text())["Statement"]
    assert allowed["Resource"] == "acs:oss:*:*:my-bucket/*"
    wanted = set()
    for path in POLICY_DIRECTORY.iterdir():
        (statement,) = json.loads(path.read_text())["Statement"]
        actions = statement["Action"]
        wanted |= {actions} if isinstance(actions, str) else set(actions)
    assert set(allowed["Action"]) == wanted


@pytest.mark.process
def test_a_reader_that_ends_is_no_defect(tmp_path: Path) -> None:
    """As in --init | head -1."""
    read_end, write_end = os.pipe()
    os.close(read_end)

    result = subprocess.run(
        command("--init", tmp_path), stdout=write_end, stderr=subprocess.PIPE
    )

    os.close(write_end)
    assert (result.returncode, result.stderr) == (1, b"")
    assert (tmp_path / "config.json").exists()


def test_init_where_nothing_can_be_written_exits_1(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    result = call("--init", tmp_path / "file")

    assert result.returncode == 1
    message = f"--init {tmp_path}/file: Not a directory"
    assert result.stderr == f"sts_server.py: {message}\n"


@pytest.mark.process
def test_by_default_all_addresses_are_served(
    config: Path, free_port: int, tmp_path: Path
) -> None:
    with subprocess.Popen(
        command(str(free_port)),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
        text=True,
    ) as process:
        try:
            assert process.stdout
            first, second = (process.stdout.readline() for _ in range(2))
            assert "tokens of 900 s" in first
            assert second == f"  http://127.0.0.1:{free_port}/\n"
            hosts = ["127.0.0.1"]
            if socket.has_dualstack_ipv6():
                hosts.append("::1")
            for host in hosts:
                assert request(free_port, "/healthz", host=host).status == 200
        finally:
            process.kill()


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port that no other is given."""
    with reserved_port() as port:
        yield port


# Every way not to start is one line on stderr.


def test_a_port_in_use_exits_1(config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = call(str(port), "--bind", "127.0.0.1", "--config", config)

    assert result.returncode == 1
    message = f"cannot listen on 127.0.0.1 port {port}: Address already in use"
    assert result.stderr == f"sts_server.py: {message}\n"


@pytest.mark.parametrize("address", ["192.0.2.1", "a" * 64])
def test_an_address_that_is_not_of_this_machine_exits_1(
    config: Path, address: str
) -> None:
    result = call("0", "--bind", address, "--config", config)

    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert f"cannot listen on {address} port 0" in result.stderr


def test_a_port_without_permission_exits_1(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bind(*_: object) -> NoReturn:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", bind)  # root may use any port

    result = call("80", "--config", config)

    assert result.returncode == 1
    assert result.stderr == (
        "sts_server.py: cannot listen on all addresses port 80: Permission denied; "
        "ports below 1024 need root or CAP_NET_BIND_SERVICE (AmbientCapabilities= in a "
        "systemd unit); use 7080, and let a proxy forward to it\n"
    )


def test_a_broken_configuration_exits_2_with_a_line_for_each_problem(
    tmp_path: Path,
) -> None:
    path = write_config(tmp_path, RoleArn="x", TokenExpireTime=1)

    result = call("--config", path)

    assert result.returncode == 2
    role, duration = result.stderr.splitlines()
    assert role.startswith(f"sts_server.py: {path}: RoleArn is 'x'; it must be ")
    assert duration.startswith(f"sts_server.py: {path}: TokenExpireTime is 1; ")
    assert ACCESS_KEY_SECRET not in result.stderr


def test_a_missing_configuration_exits_2(tmp_path: Path) -> None:
    result = call("--config", tmp_path / "config.json")

    assert result.returncode == 2
    assert result.stderr == (
        f"sts_server.py: {tmp_path}/config.json: cannot be read: "
        "No such file or directory\n"
    )


@pytest.mark.process
def test_a_missing_sdk_exits_2_with_the_command_to_run(
    config: Path, tmp_path: Path
) -> None:
    (tmp_path / "alibabacloud_sts20150401.py").write_text("raise ImportError('gone')")

    result = run("--config", config, PYTHONPATH=str(tmp_path))

    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "pip install -U 'alibabacloud-sts20150401>=1.2.0'" in result.stderr


@pytest.mark.parametrize("port", ["65536", "-1", "http", "7080.0", "\uff17080", ""])
def test_an_odd_port_exits_2(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse_arguments([port])

    assert end.value.code == 2
    assert "port" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["0", "1", "7080", "65535", "00080"])
def test_a_port_is_a_number(port: str) -> None:
    assert parse_arguments([port]).port == int(port)


# How it ends

POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")


SLOW_TO_DRAIN = with_limits(DRAIN_SECONDS=3600)


@POSIX
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.process
def test_a_signal_ends_an_idle_server_with_0(config: Path, number: int) -> None:
    with (
        running("--config", config, beginning=SLOW_TO_DRAIN) as (process, port),
        socket.create_connection(("127.0.0.1", port)) as idle,
    ):
        ask(port)
        process.send_signal(number)
        assert process.wait(PATIENCE_SECONDS) == 0
        assert idle.recv(1) == b""
        assert process.stdout
        assert "Anyone who can reach this port gets a token." in process.stdout.read()


@POSIX
@pytest.mark.process
def test_a_signal_lets_requests_in_flight_finish(config: Path, sts: StsStandIn) -> None:
    answers: list[int] = []
    with running("--config", config, beginning=SLOW_TO_DRAIN) as (process, port):
        asking = threading.Thread(target=lambda: answers.append(ask(port)))
        with sts.held():
            asking.start()
            sts.wait_for_requests(1)
            process.terminate()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=1)
        asking.join()
        assert process.wait(PATIENCE_SECONDS) == 0

    assert answers == [200]


@POSIX
@pytest.mark.process
def test_a_second_signal_ends_it_at_once(config: Path, sts: StsStandIn) -> None:
    with (
        running("--config", config, beginning=SLOW_TO_DRAIN) as (process, port),
        sts.held(),
        socket.create_connection(("127.0.0.1", port)) as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        sts.wait_for_requests(1)
        process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0
        # Had it waited for STS, which ends after 8 s, the client had its error.
        with contextlib.suppress(ConnectionError):
            assert client.recv(1) == b""


@POSIX
@pytest.mark.process
def test_a_hangup_has_the_files_looked_at_and_ends_nothing(
    config: Path, tmp_path: Path, sts: StsStandIn
) -> None:
    with running("--config", config) as (process, port):
        process.send_signal(signal.SIGHUP)
        read_until(process, "looked at the files as asked; nothing has changed")

        write_config(tmp_path, StsEndpoint=sts.url, RoleSessionName="edited")
        process.send_signal(signal.SIGHUP)
        read_until(process, "new configuration: tokens of 900 s")
        ask(port)
        assert sts.requests[-1].params["RoleSessionName"] == "edited"

        config.write_text("{")
        for _ in range(2):
            process.send_signal(signal.SIGHUP)
            log = read_until(process, "the previous configuration remains in force")
            assert f"{config}: is not JSON" in log
        assert ask(port) == 200


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.process
def test_a_full_disk_under_the_log_stops_nothing(config: Path) -> None:
    with (
        Path("/dev/full").open("w") as full,
        running("--config", config, stderr=full.fileno()) as (_, port),
    ):
        assert [ask(port) for _ in range(3)] == [200, 200, 200]


@pytest.mark.process
def test_the_sdk_prints_nothing_of_its_own(config: Path, sts: StsStandIn) -> None:
    """It has loggers with handlers on stderr, and DEBUG=sdk prints signatures."""
    sts.always(Fail("Throttling.User", "Request was denied.", 400))

    result = run("--once", "--config", config, DEBUG="sdk")

    assert len(result.stderr.splitlines()) == 1
    assert "ACS3-HMAC-SHA256" not in result.stderr + result.stdout


@pytest.mark.process
def test_without_any_credentials_one_line_says_what_was_looked_for(
    tmp_path: Path, sts: StsStandIn
) -> None:
    path = write_config(
        tmp_path, AccessKeyID="", AccessKeySecret="", StsEndpoint=sts.url
    )
    environment = {
        "HOME": str(tmp_path),
        "ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true",  # it is not on this machine
        "ALIBABA_CLOUD_ACCESS_KEY_ID": "",
    }

    result = run("--once", "--config", path, **environment)

    assert result.returncode == 1
    assert json.loads(result.stdout)["ErrorCode"] == "SDK.InvalidCredential"
    assert result.stderr.count("\n") == 1
    assert "ALIBABA_CLOUD_ACCESS_KEY_ID" in result.stderr


# What it costs, and what it survives

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@LINUX
@pytest.mark.process
def test_200_connections_that_wait_cost_little(config: Path) -> None:
    limits = with_limits(HEAD_SECONDS=3600)  # longer than anybody waits here
    with running("--config", config, beginning=limits) as (process, port):
        ask(port)
        before = usage(process)
        with contextlib.ExitStack() as stack:
            for _ in range(200):
                client = socket.create_connection(("127.0.0.1", port))
                stack.enter_context(client).sendall(b"GET / HTTP/1.1\r\n")
            assert ask(port) == 200
            during = usage(process)
        wait_until(lambda: usage(process)["threads"] <= before["threads"])

        assert usage(process)["files"] <= before["files"]
    assert before["peak MB"] < 75
    assert during["peak MB"] < 120
    assert during["threads"] > 200


@contextlib.contextmanager
def answered(port: int, number: int, more: bytes) -> Iterator[None]:
    """Hold so many connections open that have had a reply, and send *more*."""
    with contextlib.ExitStack() as stack:
        for _ in range(number):
            address = ("127.0.0.1", port)
            client = socket.create_connection(address, PATIENCE_SECONDS)
            stack.enter_context(client).sendall(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n")
            assert client.recv(65536)
            with contextlib.suppress(ConnectionError):  # it was the last reply
                client.sendall(more)
        yield


@LINUX
@pytest.mark.slow
def test_threads_and_memory_of_1000_connections_are_given_back(
    tmp_path: Path, sts: StsStandIn
) -> None:
    config = write_config(tmp_path, StsEndpoint=sts.url, TokenReuseTime=600)
    with (
        many_files(),
        running("--config", config, stderr=subprocess.DEVNULL) as (process, port),
    ):
        with answered(port, 50, b"G"):  # with what is made once, and kept
            pass
        before = usage(process)
        with answered(port, 1000, b""):
            assert usage(process)["threads"] < 60  # those before may still be there
        for _ in range(2):
            # Many end with their request, because connections get scarce.
            with answered(port, 1000, b"G"):
                wait_until(lambda: usage(process)["threads"] > 500)
            wait_until(lambda: usage(process)["threads"] < 10)
        after = usage(process)

    assert after["files"] <= before["files"]
    assert (
        after["MB"] <= before["MB"] + 15
    )  # parts of pages that have other parts in use


@LINUX
@pytest.mark.process
def test_running_out_of_files_is_survived_and_logged_once(config: Path) -> None:
    import resource

    with running("--config", config) as (process, port):
        ask(port)
        most = usage(process)["files"] + 20
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (most, most))
        with contextlib.ExitStack() as stack:
            for _ in range(40):
                client = socket.create_connection(("127.0.0.1", port))
                stack.enter_context(client).sendall(b"GET / HTTP/1.1\r\n")
            time.sleep(0.5)  # for the server to complain more than once, if it would
        assert ask(port) == 200
        process.terminate()
        assert process.stderr
        log = process.stderr.read()

    assert log.count("cannot accept connections: Too many open files") == 1


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[StrictServer]:
    """The servers that the command would have served with, to a signal."""
    servers: list[StrictServer] = []

    def serve(server: StrictServer, _message: str, _watch: object) -> int:
        servers.append(server)
        server.server_close()
        return 0

    monkeypatch.setattr(cli, "serve", serve)
    return servers


@pytest.mark.parametrize(
    ("options", "seconds"), [((), None), (("--keep-alive", "1"), 1)]
)
def test_the_operator_says_how_long_idle_connections_stay_open(
    config: Path,
    served: list[StrictServer],
    options: tuple[str, ...],
    seconds: int | None,
) -> None:
    result = call("0", "--bind", "127.0.0.1", "--config", config, *options)

    assert result.returncode == 0

    (server,) = served
    assert server.idle_seconds == seconds


def test_idle_connections_stay_open_as_long_as_they_are_told(
    server: RunningServer,
) -> None:
    """By default it is longer than this client waits."""
    server.server.idle_seconds = 1
    with connect(server.port) as client:
        begun = time.monotonic()
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
        assert b"keep-alive" in client.recv(65536)

        assert client.recv(1) == b""
        assert time.monotonic() - begun > 0.9


@pytest.mark.parametrize("value", ["0", "3601", "-1", "x", "1.5"])
def test_a_time_out_of_bounds_is_a_usage_error(
    value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        parse_arguments([f"--keep-alive={value}"])

    assert end.value.code == 2
    assert "is not from 1 to 3600 seconds" in capsys.readouterr().err


# --- Users and grants -----------------------------------------------------------


@pytest.fixture
def config_of_anyone(tmp_path: Path) -> Path:
    """A config.json without logins, in a folder of its own."""
    folder = tmp_path / "anyone"
    folder.mkdir()
    return write_config(folder)


@pytest.fixture
def users(tmp_path: Path, sts: StsStandIn) -> Path:
    """A config.json with a login service and two grants."""
    secret = tmp_path / "login.key"
    secret.touch(mode=0o600)
    secret.write_bytes(service("HS256").file)
    return write_config(
        tmp_path,
        StsEndpoint=sts.url,
        TokenReuseTime=None,
        PolicyFile=None,
        ObjectPrefix=None,
        Authentication={
            "Issuer": ISSUER,
            "Audience": AUDIENCE,
            "SecretFile": "login.key",
        },
        Grants={
            "/avatars": {
                "PolicyFile": str(POLICY_DIRECTORY / "bucket_write_policy.txt"),
                "ObjectPrefix": "avatars/$USER_ID/",
            },
            "/albums/read": {
                "PolicyFile": str(POLICY_DIRECTORY / "bucket_read_policy.txt"),
                "ObjectPrefix": "albums/$USER_ID/",
                "TokenExpireTime": 3600,
            },
        },
    )


def test_once_prints_a_token_of_the_path_and_user_it_is_given(
    users: Path, sts: StsStandIn
) -> None:
    result = call("--once", "/albums/read", "--user", "bob@x", "--config", users)

    issued = sts.issued(json.loads(result.stdout)["SecurityToken"])
    assert result.returncode == 0
    assert issued
    assert issued.role_session_name == "bob@x"
    assert "albums/bob@x/*" in (issued.policy or "")


def test_once_needs_a_path_that_there_is(users: Path, sts: StsStandIn) -> None:
    result = call("--once", "--config", users)

    assert result.returncode == 2
    message = "--once /: is not one of /avatars, /albums/read"
    assert result.stderr == f"sts_server.py: {message}\n"
    assert sts.received == 0


def test_a_user_that_could_not_log_in_cannot_be_acted_for(users: Path) -> None:
    result = call("--check", "--user", "../bob", "--config", users)

    assert result.returncode == 2
    assert "argument --user: user '../bob' has U+002F in it" in result.stderr


def test_start_says_what_is_served_where_and_to_whom(
    users: Path, config_of_anyone: Path, sts_client: StsClient
) -> None:
    said = []
    for path in (users, config_of_anyone):
        server = RunningServer(LiveConfig(path), sts_client)
        with contextlib.closing(server):
            said.append(cli.welcome(server.server, server.server.config.current()))
            assert f"\n  {server.url}/\n" in said[-1]

    for_users, for_anyone = said
    assert for_users.startswith(f"sts-server {tokenserver.__version__}: ")
    assert "Only users who are logged in get a token." in for_users
    assert "Anyone who can reach this port gets a token." in for_anyone


# --- Check ----------------------------------------------------------------------


def test_check_shows_what_is_configured_and_that_it_works(
    users: Path, sts: StsStandIn
) -> None:
    result = call("--check", "--config", users)

    assert result.returncode == 0, result.stdout
    assert "Each grant gets a token." in result.stdout
    assert re.search(rf"^  AccessKeyID +{ACCESS_KEY_ID}$", result.stdout, re.M)
    assert re.search(r"^  AccessKeySecret +set$", result.stdout, re.M)
    assert re.search(
        r'^  Authentication: SecretFile +"login.key"$', result.stdout, re.M
    )
    assert re.search(
        r"^  Grants: /albums/read: TokenExpireTime +3600$", result.stdout, re.M
    )
    assert '"acs:oss:*:*:my-bucket/avatars/sample-user/*"' in result.stdout
    assert "Grant /albums/read: " in result.stdout
    assert ACCESS_KEY_SECRET not in result.stdout + result.stderr
    assert sts.received == 3  # the probe, and a call for each grant


def test_check_says_what_to_do_about_an_error(config: Path, sts: StsStandIn) -> None:
    values = json.loads(config.read_text()) | {"AccessKeySecret": "anotherOne"}
    config.write_text(json.dumps(values))

    result = call("--check", "--config", config)

    assert result.returncode == 1
    assert "SignatureDoesNotMatch" in result.stdout
    assert "AccessKeySecret does not belong to AccessKeyID" in result.stdout
    assert "There are problems." in result.stdout


def test_check_of_a_wrong_configuration_names_each_problem(tmp_path: Path) -> None:
    path = write_config(tmp_path, RoleArn="x", TokenExpireTime=1)

    result = call("--check", "--config", path)

    assert result.returncode == 1
    assert result.stderr.count("\n") == 2


def test_check_shows_warnings_once(config: Path) -> None:
    config.chmod(0o644)

    result = call("--check", "--config", config)

    assert (result.stdout + result.stderr).count("contains a secret") == 1
