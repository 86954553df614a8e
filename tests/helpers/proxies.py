"""nginx and HAProxy in front of a token server."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from helpers.machine import find_program
from helpers.server import RunningServer

# Three ports, one small pool of connections to the server.  On the first, nginx passes
# on what comes as unchanged and as soon as it can; on the second, as most people set it
# up.  Hostile clients use these two, and read until nginx loses its patience, which is
# short.  The third is for ordinary clients.  Only root can, and must, name a user.
NGINX_CONF = """
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
    """A token server with a proxy in front of it, and the ports of that."""

    server: RunningServer
    hostile_ports: list[int]
    ordinary_port: int


@contextlib.contextmanager
def proxy_in_front(
    name: str, server: RunningServer, folder: Path
) -> Iterator[list[int]]:
    """Run nginx or HAProxy in front of *server*; return the ports it listens on."""
    program = find_program(name)
    with contextlib.ExitStack() as stack:
        # Both can take over sockets, nginx as in an upgrade those that NGINX lists: no
        # other process can get hold of their ports, and a connection finds them open.
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=511))
            for _ in range(3)
        ]
        ports = [listening.getsockname()[1] for listening in sockets]
        descriptors = [listening.fileno() for listening in sockets]
        conf = {"nginx": NGINX_CONF, "haproxy": HAPROXY_CONF}[name]
        conf = conf.format(server=server.port, ports=ports, descriptors=descriptors)
        (folder / "conf").write_text(conf)
        arguments = {"nginx": ["-p", str(folder), "-c", "conf"], "haproxy": ["-db"]}
        process = subprocess.Popen(
            [program, *arguments[name], *(["-f", "conf"] * (name == "haproxy"))],
            cwd=folder,
            env={"NGINX": "".join(f"{number};" for number in descriptors)},
            pass_fds=descriptors,
        )
    try:
        yield ports
    finally:
        process.terminate()
        process.wait()
