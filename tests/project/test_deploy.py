"""What deploy/ relies on is what the server has, and its command lines run."""

from __future__ import annotations

import configparser
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from argparse import Namespace
from contextlib import AbstractContextManager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from helpers.client import request
from helpers.machine import PATIENCE_SECONDS, wait_until
from helpers.processes import running
from helpers.settings import (
    ACCESS_KEY_ID,
    ACCESS_KEY_SECRET,
    POLICY_DIRECTORY,
    ROLE_ARN,
    ROOT,
    settings,
    write_config,
)

from localcloud.sts import StsStandIn
from tokenserver import cli
from tokenserver import errors as errors_module
from tokenserver import options as options_module
from tokenserver.config import files as config_files
from tokenserver.config import load as config_load
from tokenserver.config import settings as config_settings
from tokenserver.httpd import request as httpd_request
from tokenserver.sts import client as sts_client_module

DEPLOY = ROOT / "deploy"
SERVER = ROOT / "sts_server.py"
DOCKERFILE = DEPLOY / "Dockerfile"
UNIT = DEPLOY / "sts-server.service"

# --- What the files say ---------------------------------------------------------


def setup() -> configparser.ConfigParser:
    """Return setup.cfg."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def instructions(name: str) -> list[str]:
    """Return the arguments of each instruction *name* of the Dockerfile, in order."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text("utf-8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [line.split(None, 1)[1] for line in lines if line.startswith(f"{name} ")]


def health_check() -> list[str]:
    """Return the command of the image's health check, which is in exec form."""
    command: list[str] = json.loads(instructions("HEALTHCHECK")[-1].split(" CMD ")[1])
    return command


def image_line() -> list[str]:
    """Return the command line that the image runs, both parts in exec form."""
    entrypoint: list[str] = json.loads(instructions("ENTRYPOINT")[-1])
    command: list[str] = json.loads(instructions("CMD")[-1])
    return entrypoint + command


def documents() -> dict[str, Any]:
    """Return the Kubernetes objects by kind."""
    text = (DEPLOY / "kubernetes.yaml").read_text("utf-8")
    found = list(yaml.safe_load_all(text))
    assert len({document["kind"] for document in found}) == len(found)
    return {document["kind"]: document for document in found}


def pod() -> dict[str, Any]:
    """Return the PodSpec of the Deployment."""
    spec: dict[str, Any] = documents()["Deployment"]["spec"]["template"]["spec"]
    return spec


def container() -> dict[str, Any]:
    """Return the one container of the pod."""
    (only,) = pod()["containers"]
    found: dict[str, Any] = only
    return found


def function() -> dict[str, Any]:
    """Return the properties of the function of Function Compute."""
    text = (DEPLOY / "function-compute" / "s.yaml").read_text("utf-8")
    properties: dict[str, Any] = yaml.safe_load(text)["resources"]["sts_server"][
        "props"
    ]
    return properties


def function_line() -> list[str]:
    """Return the command line that Function Compute runs."""
    custom = function()["customRuntimeConfig"]
    line: list[str] = custom["command"] + custom["args"]
    return line


def unit(key: str) -> list[str]:
    """Return the values of *key* in the unit, in order."""
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text("utf-8"), re.MULTILINE)


def unit_line() -> list[str]:
    """Return the command line of the unit."""
    (line,) = unit("ExecStart")
    return shlex.split(line)


LINES = {
    "image": image_line(),
    "pod": image_line()[:1] + container()["args"],
    "function": function_line(),
    "unit": unit_line(),
}
PORTS = {
    "image": int(instructions("EXPOSE")[-1]),
    "pod": container()["ports"][0]["containerPort"],
    "function": function()["customRuntimeConfig"]["port"],
    "unit": options_module.DEFAULT_PORT,
}
each_line = pytest.mark.parametrize("name", LINES)
CONFIGS = {
    "pod": documents()["Secret"]["stringData"]["config.json"],
    "function": (DEPLOY / "function-compute" / "config.json").read_text("utf-8"),
}
each_config = pytest.mark.parametrize("name", CONFIGS)


def arguments(line: list[str]) -> list[str]:
    """Return what *line* gives the server, less the program and its script."""
    return line[2:] if line[1].endswith(".py") else line[1:]


def options(name: str) -> Namespace:
    """Return the options of a command line as the server reads them."""
    return options_module.parse_arguments(arguments(LINES[name]))


# --- Running a command line -----------------------------------------------------


def running_line(
    name: str, config: Path, **environment: str
) -> AbstractContextManager[tuple[subprocess.Popen[str], int]]:
    """Run a command line on a free port of 127.0.0.1; give its process and port.

    Only the program, the port and the place of the configuration are others.
    """
    _port, *line = arguments(LINES[name])
    line[line.index("--config") + 1] = str(config)
    return running(*line, stderr=subprocess.DEVNULL, environment=environment)


def run_health_check(port: int) -> int:
    """Run the image's health check on *port*, with a proxy set that answers nobody."""
    proxy = dict.fromkeys(("HTTP_PROXY", "http_proxy"), "http://127.0.0.1:9")
    python, *rest = health_check()
    assert python == "python"
    return subprocess.run(
        [sys.executable, *(part.replace("7080", str(port)) for part in rest)],
        stderr=subprocess.DEVNULL,
        env=os.environ | proxy | {"no_proxy": ""},
        timeout=PATIENCE_SECONDS,
        check=False,
    ).returncode


def filled_in(name: str, sts: StsStandIn, **changes: Any) -> str:
    """Return a config.json of deploy/ as its operator would fill it in."""
    values = json.loads(CONFIGS[name])
    for key, value in settings().items():
        if "<" in str(values.get(key)):
            values[key] = value
    return json.dumps(values | {"StsEndpoint": sts.url} | changes)


def project(folder: Path, sts: StsStandIn) -> Path:
    """Lay the pod's volume out in *folder* as the kubelet does; return what ..data is.

    The files are in a hidden folder; ..data is a link to it, and the only thing that
    is replaced at an update (Kubernetes, pkg/volume/util/atomic_writer.go).
    """
    (volume,) = pod()["volumes"]
    contents = {
        "secret": {"config.json": filled_in("pod", sts)},
        "configMap": documents()["ConfigMap"]["data"],
    }
    data = folder / "..2026_01_02"
    for source in volume["projected"]["sources"]:
        ((kind, projection),) = source.items()
        named = documents()["Secret" if kind == "secret" else "ConfigMap"]
        assert projection["name"] == named["metadata"]["name"]
        for item in projection["items"]:
            path = data / item["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(contents[kind][item["key"]], "utf-8")
            path.chmod(volume["projected"]["defaultMode"])
    (folder / "..data").symlink_to(data.name)
    for path in data.iterdir():
        (folder / path.name).symlink_to(f"..data/{path.name}")
    return data


def configuration(name: str, folder: Path, sts: StsStandIn) -> Path:
    """Return a configuration for a command line, at the place that it names."""
    if name == "function":
        shutil.copytree(POLICY_DIRECTORY, folder / "policy")
        path = folder / "config.json"
        path.write_text(filled_in(name, sts), "utf-8")
        return path
    path = write_config(folder, StsEndpoint=sts.url)
    path.chmod(0o400)  # as systemd leaves a credential
    return path


# --- Tests ----------------------------------------------------------------------


@each_line
def test_the_server_takes_the_command_line(name: str) -> None:
    assert options(name).port == PORTS[name]
    assert options(name).config.name == "config.json"
    assert options(name).bind is None  # so that who asks from elsewhere is heard


def test_function_compute_is_told_the_port_that_it_expects() -> None:
    assert PORTS["function"] == 9000


@pytest.mark.parametrize("name", ["image", "unit"])
@pytest.mark.process
def test_a_command_line_serves_tokens_until_sigterm(
    name: str, tmp_path: Path, sts: StsStandIn
) -> None:
    config = configuration(name, tmp_path, sts)

    with running_line(name, config) as (process, port):
        token = request(port).json
        process.send_signal(signal.Signals[instructions("STOPSIGNAL")[-1]])
        status = process.wait(PATIENCE_SECONDS)

    assert sts.issued(token["SecurityToken"])
    assert status == 0


@pytest.mark.process
def test_the_pod_takes_up_a_new_secret(tmp_path: Path, sts: StsStandIn) -> None:
    mount = container()["volumeMounts"][0]["mountPath"]
    assert options("pod").config.parent == Path(mount)
    data = project(tmp_path, sts)

    with running_line("pod", tmp_path / "config.json") as (_, port):
        before = request(port).json
        changed = data.with_name("..2026_01_03")
        shutil.copytree(data, changed)
        (changed / "config.json").chmod(0o600)
        text = filled_in("pod", sts, RoleSessionName="new_name")
        (changed / "config.json").write_text(text, "utf-8")
        (tmp_path / "..data_tmp").symlink_to(changed.name)
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (after := request(port).json) == before:
            assert time.monotonic() < deadline, "the edit is not taken up"
            time.sleep(0.1)

    sessions = [
        issued.role_session_name
        for token in (before, after)
        if (issued := sts.issued(token["SecurityToken"]))
    ]
    assert sessions == ["client_name", "new_name"]


@pytest.mark.process
def test_a_function_assumes_the_role_with_the_credentials_of_its_own(
    tmp_path: Path, sts: StsStandIn
) -> None:
    own_role = ROLE_ARN.replace("app-uploader", "sts-server-function")
    sts.add_role(own_role, may_assume=[ROLE_ARN])
    sts.add_role(ROLE_ARN, trusted=[own_role])
    sts.add_user(ACCESS_KEY_ID, ACCESS_KEY_SECRET, may_assume=[own_role])
    platform = tmp_path / "platform"  # which gives the function its credentials
    platform.mkdir()
    first = write_config(platform, StsEndpoint=sts.url, RoleArn=own_role, PolicyFile="")
    result = subprocess.run(
        [sys.executable, str(SERVER), "--once", "--config", str(first)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    own = json.loads(result.stdout)
    config = configuration("function", tmp_path, sts)

    with running_line(
        "function",
        config,
        ALIBABA_CLOUD_ACCESS_KEY_ID=own["AccessKeyId"],
        ALIBABA_CLOUD_ACCESS_KEY_SECRET=own["AccessKeySecret"],
        ALIBABA_CLOUD_SECURITY_TOKEN=own["SecurityToken"],
    ) as (_, port):
        token = request(port).json

    issued = sts.issued(token["SecurityToken"])
    assert issued
    assert issued.role_arn == ROLE_ARN


@each_config
def test_a_configuration_is_right_once_it_is_filled_in(
    name: str, tmp_path: Path, sts: StsStandIn
) -> None:
    shutil.copytree(POLICY_DIRECTORY, tmp_path / "policy")
    path = tmp_path / "config.json"
    path.touch(mode=0o600)
    path.write_text(filled_in(name, sts), "utf-8")

    config = config_load.load_config(path, config_files.read_file)

    assert config.warnings == ()


@each_config
def test_a_configuration_that_nobody_filled_in_is_refused(
    name: str, tmp_path: Path
) -> None:
    shutil.copytree(POLICY_DIRECTORY, tmp_path / "policy")
    path = tmp_path / "config.json"
    path.write_text(CONFIGS[name], "utf-8")

    with pytest.raises(errors_module.ConfigError, match="RoleArn"):
        config_load.load_config(path, config_files.read_file)


def test_the_policy_of_the_config_map_is_that_of_the_server() -> None:
    ((name, text),) = documents()["ConfigMap"]["data"].items()

    assert text == (POLICY_DIRECTORY / name).read_text("utf-8")


def test_all_processes_of_a_rolling_update_share_the_quota_of_sts() -> None:
    deployment = documents()["Deployment"]["spec"]
    surge = deployment["strategy"]["rollingUpdate"]["maxSurge"]
    calls = json.loads(CONFIGS["pod"])["StsCallsPerSecond"]

    processes = deployment["replicas"] + surge
    assert deployment["replicas"] >= 2
    assert (
        processes * calls
        <= config_settings.STS_CALLS_PER_SECOND
        < config_settings.STS_QUOTA
    )


def test_there_is_time_to_drain() -> None:
    sleep = container()["lifecycle"]["preStop"]["exec"]["command"]
    match = re.fullmatch(r"import time; time\.sleep\((\d+)\)", sleep[-1])
    grace = pod()["terminationGracePeriodSeconds"]
    assert sleep[:-1] == ["python", "-c"]
    assert match
    assert grace > int(match[1]) + cli.DRAIN_SECONDS
    assert int(unit("TimeoutStopSec")[0]) > cli.DRAIN_SECONDS


def test_whoever_asks_waits_until_sts_must_have_answered() -> None:
    assert container()["readinessProbe"]["timeoutSeconds"] > (
        sts_client_module.DEADLINE_SECONDS
    )
    assert function()["timeout"] > sts_client_module.DEADLINE_SECONDS


@pytest.mark.process
def test_probes_are_answered_without_a_token(tmp_path: Path, sts: StsStandIn) -> None:
    probes = {
        kind: container()[kind]["httpGet"]["path"]
        for kind in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    probes["function"] = function()["customRuntimeConfig"]["healthCheckConfig"][
        "httpGetUrl"
    ]
    config = configuration("image", tmp_path, sts)

    with running_line("image", config) as (_, port):
        # The first trial has less than a second, which a busy machine may not keep to.
        wait_until(lambda: request(port, probes["readinessProbe"]).status == 200)
        replies = {kind: request(port, path) for kind, path in probes.items()}

    assert {kind: reply.status for kind, reply in replies.items()} == (
        dict.fromkeys(probes, 200)
    )
    assert [kind for kind, reply in replies.items() if b"Token" in reply.body] == []


@pytest.mark.process
def test_the_pod_is_ready_only_when_a_token_can_be_had(
    tmp_path: Path, sts: StsStandIn
) -> None:
    config = write_config(tmp_path, StsEndpoint=sts.url, AccessKeySecret="wrong")
    ready = container()["readinessProbe"]["httpGet"]["path"]
    alive = container()["livenessProbe"]["httpGet"]["path"]

    with running_line("image", config) as (_, port):
        assert request(port, ready).status == 503
        assert request(port, alive).status == 200


@pytest.mark.parametrize("version", ["1.28", "1.37"])
@pytest.mark.parametrize("kind", documents())
def test_kubernetes_knows_every_field(kind: str, version: str) -> None:
    kubernetes_validate.validate(documents()[kind], version, strict=True)


def restricted(spec: dict[str, Any]) -> list[str]:
    """Return what the Pod Security Standard "restricted" forbids in a PodSpec.

    As of Kubernetes 1.37, without the fields that this pod could only have to break it.
    """
    pod_wide = spec.get("securityContext", {})
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"}
    allowed |= {"persistentVolumeClaim", "projected", "secret"}
    found = [
        f"volume {volume['name']}"
        for volume in spec.get("volumes", ())
        if set(volume) - {"name"} - allowed
    ]
    found += [name for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    for each in spec["containers"]:
        own = each.get("securityContext", {})
        both = pod_wide | own
        capabilities = own.get("capabilities", {})
        checks = {
            "runAsNonRoot": both.get("runAsNonRoot") is True,
            "runAsUser": both.get("runAsUser") != 0,
            "seccompProfile": both.get("seccompProfile", {}).get("type")
            in ("RuntimeDefault", "Localhost"),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities": "ALL" in capabilities.get("drop", ())
            and set(capabilities.get("add", ())) <= {"NET_BIND_SERVICE"},
            "privileged": not own.get("privileged"),
            "hostPort": not any(port.get("hostPort") for port in each["ports"]),
        }
        found += [name for name, is_right in checks.items() if not is_right]
    return found


def test_the_pod_is_restricted() -> None:
    assert restricted(pod()) == []
    assert container()["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod()["automountServiceAccountToken"] is False


def test_a_pod_without_its_settings_is_not_restricted() -> None:
    spec = pod()
    del spec["securityContext"], spec["containers"][0]["securityContext"]
    spec["volumes"].append({"name": "host", "hostPath": {"path": "/"}})

    assert restricted(spec) == [
        "volume host",
        "runAsNonRoot",
        "seccompProfile",
        "allowPrivilegeEscalation",
        "capabilities",
    ]


def test_the_kubernetes_objects_belong_together() -> None:
    deployment = documents()["Deployment"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    account = documents()["ServiceAccount"]["metadata"]["name"]
    spreads = pod()["topologySpreadConstraints"]

    assert deployment["selector"]["matchLabels"] == labels
    assert documents()["Service"]["spec"]["selector"] == labels
    assert (
        documents()["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    )
    assert [spread["labelSelector"]["matchLabels"] for spread in spreads] == [
        labels
    ] * 2
    assert pod()["serviceAccountName"] == account
    assert pod()["securityContext"]["fsGroup"]  # else the volume is for root alone
    assert documents()["Service"]["spec"]["ports"][0]["targetPort"] in (
        port["name"] for port in container()["ports"]
    )
    budget = documents()["PodDisruptionBudget"]["spec"]["minAvailable"]
    assert budget < deployment["replicas"]  # else no node can be drained


def test_the_image_has_all_of_the_server_and_no_configuration() -> None:
    copied = [
        pattern
        for arguments in instructions("COPY")
        if "--from" not in arguments
        for pattern in arguments.split()[:-1]
    ]
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    let_in = [line[1:] for line in ignore if line.startswith("!")]

    def is_in(name: str, patterns: list[str]) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in patterns)

    packages = setup()["options.packages.find"]["include"].split(",")
    needed = [packages[0], *setup()["options.data_files"].values()]
    needed = [name.partition("/")[0] for name in needed]
    needed += ["setup.cfg", "pyproject.toml", "README.md", "LICENSE"]
    assert "*" in ignore
    assert [name for name in needed if not is_in(name, copied)] == []
    assert [name for name in needed if not is_in(name, let_in)] == []
    assert not is_in("config.json", copied)
    assert not is_in("config.json", let_in)


def test_the_image_installs_extras_and_a_program_that_exist() -> None:
    (extras,) = re.findall(r'"\.\[(.*?)\]"', instructions("RUN")[0])
    scripts = setup()["options.entry_points"]["console_scripts"]

    assert set(extras.split(",")) <= set(setup()["options.extras_require"])
    for name in ("image", "unit"):
        assert f"{Path(LINES[name][0]).name} = " in scripts


def test_the_image_does_not_run_as_root() -> None:
    user, group = instructions("USER")[-1].split(":")
    context = pod()["securityContext"]

    assert int(user) > 0
    assert (context["runAsUser"], context["runAsGroup"]) == (int(user), int(group))


@pytest.mark.process
def test_the_health_check_tells_a_server_from_none(
    tmp_path: Path, sts: StsStandIn
) -> None:
    config = configuration("image", tmp_path, sts)

    with running_line("image", config) as (process, port):
        assert run_health_check(port) == 0
        process.kill()
        process.wait(PATIENCE_SECONDS)

        assert run_health_check(port) != 0
    assert sts.requests == []


@pytest.mark.process
def test_the_health_check_reads_the_status() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        unwell = threading.Thread(target=answer_503, args=[listener])
        unwell.start()
        status = run_health_check(listener.getsockname()[1])
        unwell.join()

    assert status == 1


def answer_503(listener: socket.socket) -> None:
    """Tell the first who connects that the service is not available."""
    listener.settimeout(PATIENCE_SECONDS)
    with contextlib.suppress(TimeoutError), listener.accept()[0] as connection:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 503 Unwell\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.process
def test_hadolint_finds_nothing() -> None:
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    hadolint = shutil.which("hadolint", path=path)
    if not hadolint:
        pytest.skip("needs hadolint")

    result = subprocess.run([hadolint, DOCKERFILE], capture_output=True, check=False)

    assert (result.returncode, result.stdout) == (0, b"")


# What the component fc3 of Serverless Devs knows, as far as it is used here
# (devsapp/fc3, src/schema.json).  It would ignore a name that it does not know.
FUNCTION_NAMES = {
    "": "region functionName description runtime handler code role cpu memorySize "
    "diskSize timeout instanceConcurrency internetAccess customRuntimeConfig triggers",
    "customRuntimeConfig": "command args port healthCheckConfig",
    "healthCheckConfig": "httpGetUrl initialDelaySeconds periodSeconds timeoutSeconds "
    "failureThreshold successThreshold",
    "triggers": "triggerName triggerType triggerConfig",
    "triggerConfig": "authType methods",
}


def test_function_compute_knows_every_field() -> None:
    unknown: list[str] = []

    def look(name: str, value: Any) -> None:
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, dict):
                unknown.extend(set(part) - set(FUNCTION_NAMES[name].split()))
                for key, below in part.items():
                    look(key, below)

    look("", function())

    assert unknown == []
    assert function()["runtime"] in ("custom.debian11", "custom.debian12")
    assert 1 <= function()["instanceConcurrency"] <= 200
    assert function()["memorySize"] % 64 == 0
    # GB of memory for each vCPU
    assert 1 <= function()["memorySize"] / 1024 / function()["cpu"] <= 4
    (trigger,) = function()["triggers"]
    assert set(trigger["triggerConfig"]["methods"]) == set(
        httpd_request.ALLOWED.split(", ")
    )


def test_the_unit_passes_the_configuration_as_a_credential() -> None:
    names = {value.split(":")[0] for value in unit("LoadCredential")}
    config = LINES["unit"][LINES["unit"].index("--config") + 1]

    assert config == "%d/config.json"
    assert "config.json" in names
    assert unit("RestartPreventExitStatus") == ["2"]  # a wrong configuration


@pytest.mark.process
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze")
    copy = tmp_path / UNIT.name  # with a program that exists here
    text = UNIT.read_text("utf-8").replace(LINES["unit"][0], sys.executable)
    copy.write_text(text, "utf-8")

    for check in (
        ["verify", "--man=no"],
        ["security", "--offline=true", "--no-pager", "--threshold=15"],  # tenths
    ):
        result = subprocess.run(
            ["systemd-analyze", *check, str(copy)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (result.returncode, result.stderr) == (0, "")


def test_the_readme_names_every_file() -> None:
    text = (DEPLOY / "README.md").read_text("utf-8")
    files = [path.relative_to(DEPLOY) for path in DEPLOY.rglob("*") if path.is_file()]
    names = {path.name for path in files if "build" not in path.parts}

    assert sorted(names - {"README.md"} - set(re.findall(r"[\w.-]+", text))) == []
