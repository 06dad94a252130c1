"""What a single value of the card's file must look like. Each takes it as typed, gives it as meant, or says what it must be.

A message never quotes what may be a secret.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import ssl
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from medxz import limits
from medxz.loopback import is_loopback

# as medxz/accounts/codes.py makes them, which is not asked: it takes a second to load on a Pi, before there is a network
CODE_CHARS: Final = 20
CODE_ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZ"

ZONES: Final = Path("/usr/share/zoneinfo")
WIFI_NAME_BYTES_MAX: Final = 32
WIFI_PASSWORD_CHARS: Final = range(8, 64)
HOSTNAME_CHARS_MAX: Final = 63

_SSH_KINDS: Final = frozenset({
    "ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com",
})  # fmt: skip


def cloud_url(text: str) -> str:
    text = text.strip()
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise ValueError("this is no address; one looks like https://cloud.example") from None
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ValueError("must begin with https://, or the code would be open to everybody on the way")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be the cloud's whole address, as in https://cloud.example")
    if parts.username or parts.query or parts.fragment or parts.path.strip("/"):
        raise ValueError("must be the address alone, with nothing behind its name and port")
    if not re.fullmatch(r"[A-Za-z0-9.:\[\]-]+", parts.netloc):
        raise ValueError("this is no address; one looks like https://cloud.example")
    return f"{parts.scheme}://{parts.netloc}"


def hub_code(text: str) -> str:
    code = plain_code(text)
    if len(code) != CODE_CHARS:
        raise ValueError(
            f"a hub's code has {CODE_CHARS} letters and digits, and here are {len(code)}: is it whole?"
        )
    if not set(code) <= set(CODE_ALPHABET):
        raise ValueError(
            "there are letters or digits that no code has (0, 1, I, L, O and U never stand in one)"
        )
    return code


def plain_code(typed: str) -> str:
    """Groups, spaces and case mean nothing."""
    return "".join(letter for letter in typed.upper() if letter.isalnum())


def shown_name(text: str) -> str:
    name = text.strip()
    if not name or len(name) > limits.NAME_CHARS_MAX or not name.isprintable():
        raise ValueError(f"must be a name of up to {limits.NAME_CHARS_MAX} characters")
    return name


def file_on_card(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,99}", text):
        raise ValueError("must be the name of a file on this card, without a folder")
    return text


def pem(content: bytes, name: str) -> str:
    try:
        text = content.decode("ascii")
        ssl.create_default_context(cadata=text)
    except (ValueError, ssl.SSLError):
        raise ValueError(
            f"{name} has no certificate in it (a PEM file, as `medxz-cloud ca show` writes it)"
        ) from None
    return text


def country(text: str) -> str:
    if not re.fullmatch("[A-Za-z]{2}", text):
        raise ValueError('must be the two letters of your country, as in "DE"; Wi-Fi needs it by law')
    return text.upper()


def wifi_name(text: str) -> str:
    if not 1 <= len(text.encode()) <= WIFI_NAME_BYTES_MAX or "\0" in text:
        raise ValueError("must be the network's name as it is shown in a list of networks, 32 bytes at most")
    return text


def wifi_password(text: str) -> str:
    is_key = re.fullmatch("[0-9A-Fa-f]{64}", text) is not None
    is_ascii = text.isascii() and text.isprintable()
    if not is_key and (not is_ascii or len(text) not in WIFI_PASSWORD_CHARS):
        raise ValueError(
            "a Wi-Fi password has 8 to 63 letters, digits and signs without accents; this one has not"
        )
    return text


def address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        raise ValueError("must be an address, as in 192.168.1.1") from None


def address_with_mask(text: str) -> str:
    text = text.strip()
    try:
        found = ipaddress.ip_interface(text)
    except ValueError:
        raise ValueError("must be an address with the length of its network, as in 192.168.1.20/24") from None
    if "/" not in text:
        raise ValueError(f"the length of the network is missing: {text}/24 in most clinics")
    is_edge = found.version == 4 and found.network.prefixlen < 31 and found.ip in {
        found.network.network_address, found.network.broadcast_address,
    }  # fmt: skip
    if is_edge or found.is_multicast or found.is_loopback or found.is_unspecified:
        raise ValueError(f"no machine can have the address {found.ip} in the network {found.network}")
    return str(found)


def check_router(own: str, router: str | None) -> None:
    """ValueError where the one does not go with the other."""
    if router is None:
        return
    mine, other = ipaddress.ip_interface(own), ipaddress.ip_address(router)
    if mine.version != other.version or (not other.is_link_local and other not in mine.network):
        raise ValueError(f"the router {router} is not in the network {mine.network} of the address")
    if mine.ip == other:
        raise ValueError("the router is the address of this hub itself; it is the router's own")


def ssh_key(text: str) -> str:
    line = text.strip()
    if "PRIVATE KEY" in line:
        raise ValueError(
            "this is a private key, which must never leave your computer: give the line of its .pub file"
        )
    kind, _, rest = line.partition(" ")
    blob, _, comment = rest.strip().partition(" ")
    if kind not in _SSH_KINDS or "\n" in line or not line.isprintable():
        raise ValueError('must be the one line of a .pub file, as in "ssh-ed25519 AAAA… you@laptop"')
    try:
        raw = base64.b64decode(blob, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    length = int.from_bytes(raw[:4], "big")
    if raw[4 : 4 + length] != kind.encode() or len(raw) < 4 + length + 32:
        raise ValueError("the key is not whole: copy the whole line of the .pub file")
    return f"{kind} {blob} {comment}".strip()


def hostname(text: str) -> str:
    name = text.strip().lower()
    if len(name) > HOSTNAME_CHARS_MAX or not re.fullmatch("[a-z0-9]([a-z0-9-]*[a-z0-9])?", name):
        raise ValueError("may have letters, digits and hyphens, 63 at most, as in reception-hub")
    return name


def language(text: str) -> str:
    if not re.fullmatch(r"[a-z]{2,3}_[A-Z]{2}(\.UTF-8)?|C\.UTF-8", text):
        raise ValueError('must be a language and a country, as in "de_DE"')
    return text if text.endswith(".UTF-8") else f"{text}.UTF-8"


def time_zone(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}", text):
        raise ValueError('must be a time zone, as in "Europe/Berlin"')
    if ZONES.is_dir() and not (ZONES / text).is_file():
        raise ValueError(f'there is no time zone "{text}"; one is called "Europe/Berlin"')
    return text


def recovery_key(text: str) -> str:
    key = "".join(text.lower().split())
    if not re.fullmatch("[a-z]{8}(-[a-z]{8}){7}", key):
        raise ValueError("a recovery key has eight groups of eight letters with hyphens between them")
    return key
