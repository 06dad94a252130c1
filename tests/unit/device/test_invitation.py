"""Enrolling over TLS: a hub is known by its CA's fingerprint before it is told the code; a look-alike is told nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from medxz.clock import SystemClock
from medxz.device.device import Device
from medxz.device.invitation import look_at, read_invitation
from medxz.device.reach import of_clinic
from medxz.device.sessions import Compare
from medxz.errors import ConfigurationError, PeerRefused, PeerUnreachable, PeerUntrusted
from medxz.peer import Peer
from medxz.trust import certificates
from medxz.trust.certificates import Credential, ca_fingerprint, to_compare
from medxz.trust.clinic_ca import make_clinic_root
from tests.making import CLINIC, DEVICE, fixed_id
from tests.unit.device.scripted import KEY

NOW_MS = SystemClock().now_ms()
HUB, OTHER_HUB = fixed_id(0xA1), fixed_id(0xA2)
CA = make_clinic_root(CLINIC, NOW_MS)
FINGERPRINT = ca_fingerprint(CA.certificate)
CA_PEM = CA.certificate_pem.decode()

Serve = Callable[[Credential], Awaitable[tuple[str, list[str]]]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """A server with this credential that enrols everybody: its address, and the codes that it was told."""
    runners = []

    async def start(credential: Credential) -> tuple[str, list[str]]:
        codes: list[str] = []

        async def enrol(request: web.Request) -> web.Response:
            codes.append((await request.json())["code"])
            return web.json_response(
                {
                    "device_id": DEVICE, "clinic_id": CLINIC, "site_id": fixed_id(5), "scope": "full",
                    "ca_certificates": [CA_PEM], "targets": [],
                }
            )  # fmt: skip

        application = web.Application()
        application.router.add_post("/v1/enroll", enrol)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        runners.append(runner)
        context = certificates.server_context(credential)
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        return f"https://127.0.0.1:{runner.addresses[0][1]}", codes

    yield start
    for runner in runners:
        await runner.cleanup()


def hub_certificate(server_id: str = HUB, root: Credential = CA) -> Credential:
    return certificates.issue_server(root, server_id, NOW_MS)


async def test_a_hub_that_shows_the_ca(tmp_path: Path, serve: Serve) -> None:
    """By the QR's fingerprint alone the hub is trusted with the code, and its CA is kept."""
    url, codes = await serve(hub_certificate())
    async with await Device.enrol(tmp_path / "d", key=KEY, code=f"{url}/#c=CODE&fp={FINGERPRINT}") as device:
        identity = device._store.identity()
    assert codes == ["CODE"]
    assert (identity.tls, identity.ca_pem, identity.server_url) == ("hub", CA_PEM, url)


async def test_a_ca_that_is_given(tmp_path: Path, serve: Serve) -> None:
    """The CA itself is as good as its fingerprint."""
    url, codes = await serve(hub_certificate())
    async with await Device.enrol(tmp_path / "d", key=KEY, code="CODE", server=url, ca_pem=CA_PEM):
        assert codes == ["CODE"]


async def test_look_alikes(tmp_path: Path, serve: Serve) -> None:
    """Another CA, or another's leaf with the right CA shown beside it, is told nothing; nor a hub that nobody named."""
    theirs = certificates.make_root(OTHER_HUB, NOW_MS)
    another = hub_certificate(root=theirs)
    dressed_up = Credential(another.certificate_pem + CA.certificate_pem, another.key_pem)
    for number, credential in enumerate((another, dressed_up)):
        url, codes = await serve(credential)
        with pytest.raises(PeerUntrusted):
            await Device.enrol(
                tmp_path / str(number), key=KEY, code="CODE", server=url, fingerprint=FINGERPRINT
            )
        assert codes == []
    url, codes = await serve(hub_certificate())
    with pytest.raises(ConfigurationError, match=f"--fp '{to_compare(FINGERPRINT)}'"):
        await Device.enrol(tmp_path / "none", key=KEY, code="CODE", server=url)
    assert codes == []


@pytest.mark.parametrize(
    "written",
    [lambda text: text, to_compare, lambda text: to_compare(text).upper()],
    ids=["bare", "groups", "capitals"],
)
async def test_the_characters_by_the_code(
    tmp_path: Path, serve: Serve, written: Callable[[str], str]
) -> None:
    """The sixteen characters that stand by a code are as good as the fingerprint; another CA's are not."""
    given = written(FINGERPRINT[:16])
    url, codes = await serve(hub_certificate())
    async with await Device.enrol(tmp_path / "d", key=KEY, code="CODE", server=url, fingerprint=given):
        assert codes == ["CODE"]
    url, codes = await serve(hub_certificate(root=certificates.make_root(HUB, NOW_MS)))
    with pytest.raises(PeerUntrusted):
        await Device.enrol(tmp_path / "e", key=KEY, code="CODE", server=url, fingerprint=given)
    assert codes == []


async def test_a_person_compares(tmp_path: Path, serve: Serve) -> None:
    """A typed code is sent once a person has seen these characters and said yes; by a no, nothing is told or kept."""
    url, codes = await serve(hub_certificate())
    shown: list[tuple[str, int]] = []

    def saying(answer: bool) -> Compare:
        async def compare(characters: str) -> bool:
            shown.append((characters, len(codes)))
            return answer

        return compare

    with pytest.raises(PeerUntrusted, match="not sent"):
        await Device.enrol(tmp_path / "d", key=KEY, code="CODE", server=url, compare=saying(False))
    assert codes == []
    async with await Device.enrol(
        tmp_path / "d", key=KEY, code="CODE", server=url, compare=saying(True)
    ) as device:
        assert device._store.identity().ca_pem == CA_PEM
    assert codes == ["CODE"]
    assert shown == [(to_compare(FINGERPRINT), 0)] * 2


async def test_who_dresses_up_for_a_comparison(tmp_path: Path, serve: Serve) -> None:
    """Who shows the clinic's CA beside a certificate that is not of it is told nothing, though a person said yes."""
    another = hub_certificate(root=certificates.make_root(OTHER_HUB, NOW_MS))
    url, codes = await serve(Credential(another.certificate_pem + CA.certificate_pem, another.key_pem))

    async def agree(_characters: str) -> bool:
        return True

    with pytest.raises(PeerUntrusted):
        await Device.enrol(tmp_path / "d", key=KEY, code="CODE", server=url, compare=agree)
    assert codes == []


async def test_a_server_that_is_no_hub(tmp_path: Path, serve: Serve) -> None:
    """Who shows no hub's certificate counts by the address and by the system's CAs, or those that are given."""
    ca, leaf = a_web_server()
    url, codes = await serve(leaf)
    with pytest.raises(PeerUntrusted):
        await Device.enrol(tmp_path / "a", key=KEY, code="CODE", server=url, fingerprint=FINGERPRINT)
    assert codes == []
    async with await Device.enrol(
        tmp_path / "b", key=KEY, code="CODE", server=url, fingerprint=FINGERPRINT, ca_pem=ca
    ) as device:
        assert device._store.identity().tls == "address"
    assert codes == ["CODE"]


async def test_any_hub_of_the_clinic_and_nothing_else(serve: Serve) -> None:
    """A hub that took another's place is taken, what the CA signed for another purpose is not."""
    url, _ = await serve(hub_certificate(OTHER_HUB))
    assert await reaches(url)
    url, _ = await serve(not_a_hub())
    assert not await reaches(url)


async def test_a_hub_that_began_alone_proves_itself_alone(serve: Serve) -> None:
    """The CA that a hub brought along is no CA of the clinic's other hubs: a stolen box can't stand in for them."""
    brought = certificates.make_root(OTHER_HUB, SystemClock().now_ms())
    known = CA_PEM + brought.certificate_pem.decode()
    url, _ = await serve(certificates.issue_server(brought, OTHER_HUB, SystemClock().now_ms()))
    assert await reaches(url, known)
    url, _ = await serve(certificates.issue_server(brought, HUB, SystemClock().now_ms()))
    assert not await reaches(url, known)


async def reaches(url: str, ca_pem: str = CA_PEM) -> bool:
    peer = Peer(url, ssl_context=of_clinic(ca_pem))
    try:
        await peer.info()
    except PeerUntrusted:
        return False
    except (PeerRefused, PeerUnreachable):
        return True  # it was asked
    finally:
        await peer.aclose()
    return True


async def test_looking_at_nobody() -> None:
    """An address without a server is unreachable, and plain HTTP shows nothing."""
    with pytest.raises(PeerUnreachable):
        look_at("https://127.0.0.1:1")
    assert look_at("http://127.0.0.1:1").chain == ()


def a_web_server() -> tuple[str, Credential]:
    import trustme

    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    return authority.cert_pem.bytes().decode(), Credential(chain, issued.private_key_pem.bytes())


def not_a_hub() -> Credential:
    """Of the clinic's CA, for this address, and no hub's."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )

    like = hub_certificate().certificate
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder(
        issuer_name=like.issuer, subject_name=like.subject, public_key=key.public_key(),
        serial_number=x509.random_serial_number(), not_valid_before=like.not_valid_before_utc,
        not_valid_after=like.not_valid_after_utc,
    )  # fmt: skip
    for extension in like.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            named = x509.SubjectAlternativeName([x509.DNSName("localhost")])
            builder = builder.add_extension(named, extension.critical)
        elif isinstance(extension.value, x509.SubjectKeyIdentifier):
            own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
            builder = builder.add_extension(own, extension.critical)
        else:
            builder = builder.add_extension(extension.value, extension.critical)
    signer = load_pem_private_key(CA.key_pem, None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    leaf = builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM)
    return Credential(
        leaf + CA.certificate_pem,
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


async def test_a_qrs_text_as_the_server() -> None:
    """Of the text that `medxz-hub pair --json` tells as its url only the address is the server's: no code is kept with it."""
    text = f"https://192.0.2.2:8443/#c=7KQ2M9XF&fp={FINGERPRINT}"
    invitation = read_invitation("7KQ2M9XF", text, FINGERPRINT)
    assert invitation.server_url == read_invitation(text, None, None).server_url == "https://192.0.2.2:8443"
