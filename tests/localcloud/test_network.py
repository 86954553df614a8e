"""Where the servers of a cloud listen, and the certificate they make."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from helpers.machine import PATIENCE_SECONDS

from localcloud import LocalCloud
from localcloud.network import Network, make_tls, qr_code
from localcloud.page import UploadPage


@pytest.fixture
def page(tmp_path: Path) -> Iterator[UploadPage]:
    """A page over HTTPS."""
    with UploadPage({}, network=Network(tls=make_tls(tmp_path, "127.0.0.1"))) as page:
        yield page


def status(page: UploadPage, certificate: Path, host: str) -> int:
    """Return the status of the page for a client that trusts *certificate*."""
    context = ssl.create_default_context(cafile=str(certificate))
    connection = http.client.HTTPSConnection(
        host, page.port, timeout=PATIENCE_SECONDS, context=context
    )
    try:
        connection.request("GET", "/")
        reply = connection.getresponse()
        reply.read()
        return reply.status
    finally:
        connection.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_certificate_is_that_of_this_machine(
    page: UploadPage, tmp_path: Path, host: str
) -> None:
    assert status(page, tmp_path / "certificate.pem", host) == 200
    assert (tmp_path / "key.pem").stat().st_mode & 0o077 == 0


def test_the_certificate_names_the_address_for_phones(tmp_path: Path) -> None:
    make_tls(tmp_path, "192.168.1.5")

    pem = (tmp_path / "certificate.pem").read_bytes()
    names = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    addresses = names.value.get_values_for_type(x509.IPAddress)
    assert [str(address) for address in addresses] == ["127.0.0.1", "192.168.1.5"]


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", id="plain HTTP"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_who_does_not_speak_tls_harms_nobody(
    page: UploadPage,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    sent: bytes,
) -> None:
    with socket.create_connection(("127.0.0.1", page.port)) as silent:
        silent.sendall(sent)
        with pytest.raises(ssl.SSLCertVerificationError):
            ssl.create_default_context().wrap_socket(
                socket.create_connection(("127.0.0.1", page.port)),
                server_hostname="localhost",
            )
        assert status(page, tmp_path / "certificate.pem", "127.0.0.1") == 200

    assert capfd.readouterr().err == ""


def test_a_cloud_over_https_hands_out_tokens(tmp_path: Path) -> None:
    network = Network(tls=make_tls(tmp_path, "127.0.0.1"))
    with LocalCloud(network=network) as cloud:
        assert cloud.token_url.startswith("https://127.0.0.1:")
        assert cloud.endpoint.startswith("https://127.0.0.1:")
        assert cloud.token()["StatusCode"] == 200


def test_a_page_knows_its_origins_by_all_its_names() -> None:
    network = Network("0.0.0.0", "192.168.1.5")

    assert network.url(7092) == "http://192.168.1.5:7092"
    assert network.origins(80) == [
        "http://127.0.0.1",
        "http://localhost",
        "http://192.168.1.5",
    ]
    assert Network().origins(7092) == ["http://127.0.0.1:7092", "http://localhost:7092"]


def test_a_qr_code_is_dark_on_light_in_every_terminal() -> None:
    url = "http://192.168.1.5:7092/"
    for line in qr_code(url, is_unicode=True).splitlines():
        assert line.startswith("\x1b[97;40m")
        assert line.endswith("\x1b[0m")
    assert qr_code(url, is_unicode=False).isascii()
