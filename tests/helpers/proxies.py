"""nginx and HAProxy in front of a token server."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from helpers.machine import find_program
from helpers.server import RunningServer

# Only root can, and must, name a user.
NGINX_TOP = """
daemon off;
user root;
worker_processes 1;
pid nginx.pid;
error_log stderr crit;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
"""

# Three ports, one small pool of connections to the server.  On the first, nginx passes
# on what comes as unchanged and as soon as it can; on the second, as most people set it
# up.  Hostile clients use these two, and read until nginx loses its patience, which is
# short.  The third is for ordinary clients.
NGINX_CONF = (
    NGINX_TOP
    + """
    client_header_timeout 300ms;
    client_body_timeout 300ms;
    keepalive_timeout 50ms;
    lingering_timeout 50ms;
    client_max_body_size 0;
    large_client_header_buffers 4 128k;
    merge_slashes off;
    upstream token_server {{
        server 127.0.0.1:{server};
        keepalive 4;
    }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    server {{
        listen 127.0.0.1:{ports[0]};
        ignore_invalid_headers off;
        underscores_in_headers on;
        location / {{
            proxy_pass http://token_server;
            proxy_request_buffering off;
            proxy_buffering off;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
        }}
    }}
    server {{
        listen 127.0.0.1:{ports[1]};
        location / {{ proxy_pass http://token_server; }}
    }}
    server {{
        listen 127.0.0.1:{ports[2]};
        client_header_timeout 60s;
        keepalive_timeout 60s;
        location / {{ proxy_pass http://token_server; }}
    }}
}}
"""
)


# The same with HAProxy, which on the first port takes what HTTP does not allow, too.
HAPROXY_CONF = """
global
    maxconn 512
defaults
    mode http
    timeout client 300ms
    timeout http-request 300ms
    timeout http-keep-alive 50ms
    timeout connect 10s
    timeout server 20s
    option http-keep-alive
    http-reuse always
frontend as_it_comes
    option accept-invalid-http-request
    bind fd@{descriptors[0]}
    default_backend token_server
frontend usual
    bind fd@{descriptors[1]}
    default_backend token_server
frontend ordinary
    timeout client 60s
    timeout http-request 60s
    timeout http-keep-alive 60s
    bind fd@{descriptors[2]}
    default_backend token_server
backend token_server
    option accept-invalid-http-response
    server server 127.0.0.1:{server}
"""


@dataclass(frozen=True)
class Proxied:
    """A token server behind a proxy, and the ports of the proxy."""

    server: RunningServer
    hostile_ports: list[int]
    ordinary_port: int


@contextlib.contextmanager
def nginx(folder: Path, location: str) -> Iterator[int]:
    """Run nginx with a server that has *location*; give its port."""
    with taking_over("nginx", folder, 1) as (ports, start):
        server = f"    server {{ listen 127.0.0.1:{ports[0]}; {location} }}\n}}\n"
        start(NGINX_TOP.format() + server)
        yield ports[0]


@contextlib.contextmanager
def proxy_in_front(
    name: str, server: RunningServer, folder: Path
) -> Iterator[list[int]]:
    """Run nginx or HAProxy in front of *server*; yield the ports of the proxy."""
    with taking_over(name, folder, 3) as (ports, start):
        conf = {"nginx": NGINX_CONF, "haproxy": HAPROXY_CONF}[name]
        start(conf, server=server.port, ports=ports)
        yield ports


@contextlib.contextmanager
def taking_over(
    name: str, folder: Path, count: int
) -> Iterator[tuple[list[int], Callable[..., None]]]:
    """Yield *count* ports, and a function that starts nginx or HAProxy on them.

    Both can take over sockets, nginx as in an upgrade those that NGINX lists: no other
    process can get hold of their ports, and a connection finds them open.
    """
    program = find_program(name)
    arguments = {"nginx": ["-p", str(folder), "-c"], "haproxy": ["-db", "-f"]}[name]
    started: list[subprocess.Popen[bytes]] = []
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=511))
            for _ in range(count)
        ]
        descriptors = [listening.fileno() for listening in sockets]

        def start(conf: str, **values: object) -> None:
            if values:
                conf = conf.format(descriptors=descriptors, **values)
            (folder / "conf").write_text(conf)
            started.append(
                subprocess.Popen(
                    [program, *arguments, "conf"],
                    cwd=folder,
                    env={"NGINX": "".join(f"{number};" for number in descriptors)},
                    pass_fds=descriptors,
                )
            )
            stack.close()  # they are the program's now

        try:
            yield [listening.getsockname()[1] for listening in sockets], start
        finally:
            for process in started:
                process.terminate()
                process.wait()
