"""The address on which the servers of a cloud listen, and their URLs for clients.

By default it is 127.0.0.1.  For a phone in the same network it is this machine's
address there.  Browsers and apps allow some things only over HTTPS, so TLS is
available, with a certificate that is made here.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path

LOOPBACK = "127.0.0.1"
EVERYWHERE = "0.0.0.0"
WHITE_ON_BLACK, AS_BEFORE = "\x1b[97;40m", "\x1b[0m"
VALID_DAYS = 90  # Apple's devices accept at most 825


@dataclass(frozen=True)
class Network:
    """The address to listen on, and the host and protocol for clients."""

    bind: str = LOOPBACK
    host: str = LOOPBACK
    tls: ssl.SSLContext | None = None

    def url(self, port: int) -> str:
        """Return the URL of the server at *port*, without a slash at its end."""
        return f"{'https' if self.tls else 'http'}://{self.host}:{port}"

    def origins(self, port: int) -> list[str]:
        """Return the origins that browsers send for a page from *port*."""
        scheme, usual = ("https", 443) if self.tls else ("http", 80)
        suffix = "" if port == usual else f":{port}"  # browsers omit the usual port
        hosts = dict.fromkeys([LOOPBACK, "localhost", self.host])
        return [f"{scheme}://{host}{suffix}" for host in hosts]


def make_tls(folder: Path, host: str) -> ssl.SSLContext:
    """Make a certificate for *host* and this machine; return a TLS context with it.

    *folder* gets certificate.pem, for clients to trust, and the private key.pem.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localcloud")])
    addresses = dict.fromkeys([LOOPBACK, host])
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    names += [x509.IPAddress(ip_address(address)) for address in addresses]
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # a phone's clock may be slow
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    certificate_file, key_file = folder / "certificate.pem", folder / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(pem))
    key_file.touch(mode=0o600)
    key_file.write_bytes(
        key.private_bytes(
            pem,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate_file, key_file)
    return context


def qr_code(url: str, *, is_unicode: bool) -> str:
    """Return *url* as a QR code for a terminal; without Unicode it is twice as large.

    It sets its own colours, because not every phone reads one with inverted colours, as
    it would be in a light terminal.
    """
    import io

    import segno

    text = io.StringIO()
    code = segno.make(url, micro=False)
    code.terminal(out=text, border=2, compact=is_unicode)
    if not is_unicode:
        return text.getvalue()
    lines = text.getvalue().splitlines()
    return "".join(f"{WHITE_ON_BLACK}{line}{AS_BEFORE}\n" for line in lines)
