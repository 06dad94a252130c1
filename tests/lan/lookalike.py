"""A machine that looks like a clinic's hub in everything but its keys, and writes down all that it is told.

`python lookalike.py CHAIN KEY FILE ANNOUNCEMENT [ADDRESS …]` serves TLS on 8443 and announces itself. FILE gets the
application data of everybody who went on after seeing its certificate, and a line in FILE.met for each who connected.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID

from tests.lan.hosts import Host
from tests.system.hub_process import wait_until

PORT: Final = 8_443
ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
_TIMEOUT_S: Final = 5.0


class LookAlike:
    """It shows what the real hub shows, forged: the same names, numbers and dates, of a CA of the same name."""

    def __init__(self, host: Host, folder: Path, real: bytes, txt: dict[str, str]) -> None:
        folder.mkdir()
        self._file = folder / "heard"
        chain, key = folder / "chain.pem", folder / "key.pem"
        _forge(x509.load_der_x509_certificate(real), chain, key)
        self.host = host
        self.process: subprocess.Popen[bytes] = host.start(
            sys.executable, "-m", "tests.lan.lookalike", chain, key, self._file, json.dumps(txt), host.address,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def heard(self) -> bytes:
        """All that anybody told it under TLS."""
        return self._file.read_bytes()

    def met(self) -> int:
        """How many connected."""
        return len(self._file.with_suffix(".met").read_text().splitlines())

    def until_met(self) -> None:
        wait_until(lambda: self.met() > 0, "somebody to connect")


def shown_by(host: Host, address: str) -> bytes:
    """The certificate that a server shows, as anybody can see it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        host.namespace.entered(),
        socket.create_connection((address, PORT), _TIMEOUT_S) as raw,
        context.wrap_socket(raw, server_hostname=address) as connection,
    ):
        return connection.getpeercert(binary_form=True) or b""


def _forge(real: x509.Certificate, chain: Path, key: Path) -> None:
    own, authority = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer_key_id = real.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    root = _builder(real, real.issuer, real.issuer, authority.public_key())
    root = root.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    if issuer_key_id is not None:
        root = root.add_extension(x509.SubjectKeyIdentifier(issuer_key_id), critical=False)
    leaf = _builder(real, real.subject, real.issuer, own.public_key())
    for extension in real.extensions:
        if extension.oid != ExtensionOID.SUBJECT_KEY_IDENTIFIER:
            leaf = leaf.add_extension(extension.value, extension.critical)
    signed = [builder.sign(authority, hashes.SHA256()) for builder in (leaf, root)]
    chain.write_bytes(b"".join(one.public_bytes(serialization.Encoding.PEM) for one in signed))
    key.write_bytes(
        own.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


def _builder(
    real: x509.Certificate, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(real.serial_number)
        .not_valid_before(real.not_valid_before_utc)
        .not_valid_after(real.not_valid_after_utc)
    )


# ------------------------------------------------------------------------------------------- the program


def main(chain: str, key: str, file: str, announcement: str, *addresses: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    heard, met = Path(file), Path(file).with_suffix(".met")
    heard.touch()
    met.touch()
    _announce(json.loads(announcement), addresses)
    with socket.create_server(("0.0.0.0", PORT), reuse_port=True) as listening:
        print("ready", flush=True)
        while True:
            raw, _ = listening.accept()
            threading.Thread(target=_listen, args=(context, raw, heard, met), daemon=True).start()


def _listen(context: ssl.SSLContext, raw: socket.socket, heard: Path, met: Path) -> None:
    with met.open("a") as file:
        file.write(f"{time.time()}\n")
    raw.settimeout(_TIMEOUT_S)
    with contextlib.suppress(OSError), raw, context.wrap_socket(raw, server_side=True) as connection:
        while told := connection.recv(65_536):
            with heard.open("ab") as file:
                file.write(told)
            connection.sendall(ANSWER)


def _announce(txt: dict[str, Any], addresses: tuple[str, ...]) -> None:
    """For as long as this process lives."""
    from zeroconf import ServiceInfo, Zeroconf

    service = "_medxz-sync._tcp.local."
    Zeroconf().register_service(
        ServiceInfo(
            service, f"medxz-{txt['id'][-8:]}.{service}", port=PORT, properties=txt, server="medxz.local.",
            addresses=[socket.inet_aton(address) for address in addresses],
        ),
        allow_name_change=True,
    )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
