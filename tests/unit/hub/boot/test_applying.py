"""What the card says is what a start goes by; what is wrong there never cuts a box off."""

from __future__ import annotations

import configparser
import os
from pathlib import Path

import pytest

from hub.boot.applying import apply_card, forget_code, write_reports
from hub.boot.card import write_report
from hub.boot.file import NetworkPart, WifiPart
from hub.boot.network import CABLE, WIFI, networks, supplicant
from hub.boot.places import BootPlaces
from hub.boot.records import ClaimOrder, Found, State
from tests.making import HandClock
from tests.unit.hub.boot.test_file import CODE, KEY, WHOLE


@pytest.fixture
def places(tmp_path: Path) -> BootPlaces:
    places = BootPlaces(tmp_path)
    places.card.mkdir(parents=True)
    (tmp_path / "dev").mkdir()
    places.screen.touch()
    return places


def applied(places: BootPlaces, text: str | None = None) -> Found:
    if text is not None:
        places.file.write_text(text)
    names: list[str] = []
    found = apply_card(places, group=os.getgid(), set_hostname=names.append).found
    assert len(names) == 1
    assert Found.read(places.found) == found
    (places.run / "hostname").write_text(names[0])
    return found


def read(text: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser


def test_a_whole_file_takes_effect(places: BootPlaces) -> None:
    """Wi-Fi, address, key, name, time zone and claim: each where the next one looks for it, and secrets for few."""
    applied(places, WHOLE)
    wifi = read((places.networkd / WIFI).read_text())
    assert wifi["Network"]["Address"] == "192.168.1.20/24"
    assert wifi["Route"]["Gateway"] == "192.168.1.1"
    assert wifi["Network"]["DNS"] == "192.168.1.1"
    assert read((places.networkd / CABLE).read_text())["Network"]["DHCP"] == "yes"
    assert places.authorized_keys.read_text() == KEY + "\n"
    assert (places.settings / "localtime").readlink() == Path("/usr/share/zoneinfo/Europe/Berlin")
    assert (places.run / "locale.conf").read_text() == "LANG=de_DE.UTF-8\n"
    assert (places.run / "hostname").read_text() == "front-desk"
    order = ClaimOrder.read(places.order)
    assert order is not None
    assert (order.cloud_url, order.code, order.name) == (
        "https://cloud.example",
        CODE.replace("-", ""),
        "Reception",
    )
    assert places.order.stat().st_mode & 0o777 == 0o640
    for secret in (places.run / "wpa_supplicant.conf", places.authorized_keys, places.kept):
        assert secret.stat().st_mode & 0o777 == 0o600


def test_an_empty_card_is_a_cable(places: BootPlaces) -> None:
    """Without a file: an address by the router, no Wi-Fi, no SSH, nobody to be claimed by."""
    found = applied(places)
    assert (found.has_card, found.has_file, found.problems) == (True, False, ())
    assert read((places.networkd / CABLE).read_text())["Network"]["DHCP"] == "yes"
    for file in (places.run / "wpa_supplicant.conf", places.authorized_keys, places.order):
        assert not file.exists()
    assert (places.run / "hostname").read_text() == "medxz"


def test_a_fixed_address_without_wifi_is_the_cables(places: BootPlaces) -> None:
    """The section [network] is of the one network that there is."""
    applied(places, '[network]\naddress = "10.1.2.3/8"\ndns = ["9.9.9.9", "fd00::1"]\n')
    text = (places.networkd / CABLE).read_text()
    assert "Address=10.1.2.3/8\n" in text
    assert "DNS=9.9.9.9\nDNS=fd00::1\n" in text
    assert "DHCP" not in text


def test_what_is_taken_out_is_off_again(places: BootPlaces) -> None:
    """SSH, Wi-Fi and a fixed address end with their sections, at the next start."""
    applied(places, WHOLE)
    applied(places, "[system]\n")
    assert not places.authorized_keys.exists()
    assert not (places.run / "wpa_supplicant.conf").exists()
    assert not places.order.exists()
    assert read((places.networkd / WIFI).read_text())["Network"]["DHCP"] == "yes"


@pytest.mark.parametrize("harm", ["gone", "garbled", "mistake", "no card"])
def test_a_slip_does_not_cut_a_box_off(places: BootPlaces, harm: str) -> None:
    """With a file that is gone, no text, or wrong in one section, what was right before still holds; and it is told."""
    applied(places, WHOLE)
    match harm:
        case "gone":
            places.file.unlink()
        case "garbled":
            places.file.write_bytes(b"\xff\xfe\x00\xd8" * 50)
        case "mistake":
            places.file.write_text(WHOLE.replace('country = "de"', "country = de"))
        case "no card":
            places.file.unlink()
            places.card.rmdir()
    found = applied(places)
    assert "wifi" in found.kept
    assert found.wifi == "Clinic"
    assert 'psk="a "quoted" \\ one"' in (places.run / "wpa_supplicant.conf").read_text()
    assert places.authorized_keys.exists() is (
        harm == "mistake"
    )  # a door is open only while the card says so
    assert bool(found.problems) is (harm in {"garbled", "mistake"})
    if harm == "mistake":
        assert ClaimOrder.read(places.order) is not None
    if harm in {"gone", "garbled"}:
        assert not places.order.exists()  # a code is of the card that it stands on


def test_kept_settings_hold_no_claim(places: BootPlaces) -> None:
    """Neither a code nor a recovery key is copied to the data partition."""
    applied(places, WHOLE + f'\n[data]\nrecovery_key = "{"-".join(["cbdefghi"] * 8)}"\n')
    kept = places.kept.read_text()
    assert CODE.replace("-", "") not in kept
    assert "cbdefghi" not in kept


def test_the_kept_settings_may_rot(places: BootPlaces) -> None:
    """A damaged copy is as good as none."""
    applied(places, WHOLE)
    places.kept.write_bytes(b'{"wifi": {"country"')
    places.file.unlink()
    assert applied(places).kept == ()


def test_a_file_of_another_name_is_told_of(places: BootPlaces) -> None:
    """What Windows makes of the name is found, and told with what to do."""
    (places.card / "medxz-hub.toml.txt").write_text(WHOLE)
    assert applied(places).misnamed == "medxz-hub.toml.txt"
    text, _ = write_reports(places, screen=False)
    assert "rename it to medxz-hub.toml" in text


@pytest.mark.parametrize(
    "name",
    ['";}\nnetwork={', "Über uns", "a\tb", "x" * 32, "#x"],
    ids=["code", "umlaut", "tab", "long", "comment"],
)
def test_a_networks_name_is_never_part_of_the_settings(name: str) -> None:
    """Whatever characters a network's name has, wpa_supplicant gets that name and nothing else."""
    text = supplicant(WifiPart(country="DE", name=name, password="long enough"))
    [line] = [line.strip() for line in text.splitlines() if line.strip().startswith("ssid=")]
    assert bytes.fromhex(line.removeprefix("ssid=")).decode() == name
    assert text.count("network={") == 1


def test_a_ready_made_key_of_a_wifi_is_one() -> None:
    """64 hexadecimal digits are the key itself and stand without quotes; an open network has no key."""
    assert f"    psk={'ab' * 32}\n" in supplicant(WifiPart(country="DE", name="a", password="ab" * 32))
    assert "key_mgmt=NONE" in supplicant(WifiPart(country="DE", name="a", open=True))


def test_networkd_reads_what_is_written() -> None:
    """Each file is a lawful one: sections with settings, and nothing twice that may stand once."""
    fixed = NetworkPart(address="192.168.1.20/24", router="192.168.1.1")
    for text in [*networks(None, None).values(), *networks(fixed, None).values()]:
        parser = read(text)
        assert set(parser.sections()) <= {"Match", "Link", "Network", "DHCPv4", "IPv6AcceptRA", "Route"}
        assert "Type" in parser["Match"]


def test_the_used_code_leaves_the_card(places: BootPlaces) -> None:
    """The one line is taken out and says so; all else stays to the byte, and this start's order goes too."""
    text = "# mine\r\n" + WHOLE.replace("\n", "\r\n")
    places.file.write_bytes(text.encode())
    apply_card(places, set_hostname=lambda _: None)
    assert forget_code(places, HandClock())
    after = places.file.read_bytes().decode()
    assert CODE.lower() not in after
    assert CODE.replace("-", "").lower() not in after.lower()
    changed = [(a, b) for a, b in zip(text.split("\n"), after.split("\n"), strict=True) if a != b]
    assert len(changed) == 1
    assert changed[0][1].startswith("# code: used on 2026-")
    assert not places.order.exists()
    assert not forget_code(places, HandClock())
    assert apply_card(places, set_hostname=lambda _: None).found.problems == ()


def test_a_power_cut_after_the_claim_leaves_no_code(places: BootPlaces) -> None:
    """A box that is a hub, and was cut off before its code was taken out, does so at its next start."""
    places.file.write_text(WHOLE)
    places.hub.mkdir(parents=True)
    kept = ClaimOrder(cloud_url="https://cloud.example", code=CODE.replace("-", ""), name="Reception")
    kept.write(places.hub.with_name("hub.claim"))
    applied(places)
    assert CODE.lower() in places.file.read_text()  # not a hub yet
    (places.hub / "hub.db").touch()
    applied(places)
    assert CODE.lower() not in places.file.read_text()
    assert not places.hub.with_name("hub.claim").exists()
    order = ClaimOrder.read(places.order)
    assert order is not None
    assert order.code is None


def test_another_code_is_left_alone(places: BootPlaces) -> None:
    """A code that somebody wrote there meanwhile is not the one that was used."""
    apply_card(places, set_hostname=lambda _: None)
    places.file.write_text(WHOLE)
    ClaimOrder(cloud_url="https://cloud.example", code="9" * 20, name="x").write(places.order)
    assert not forget_code(places, HandClock())
    assert places.file.read_text() == WHOLE


def test_the_report_says_all_and_no_secret(places: BootPlaces) -> None:
    """Card and screen show each mistake by its line, and no code, password or key."""
    places.file.write_text(WHOLE + "\n[sistem]\n")
    applied(places)
    State(phase="waiting", detail="the cloud can't be reached: \x1b[31mno route", hint="wait", cloud_url="https://c",
          addresses=("192.168.1.20",), port=80, host="medxz.local").write(places.state)  # fmt: skip
    text, written = write_reports(places, screen=True)
    assert written
    on_card, on_screen = places.report.read_bytes().decode(), places.screen.read_text()
    assert on_card == text.replace("\n", "\r\n")
    for shown in (on_card, on_screen):
        assert "[sistem] is no section; did you mean system?" in shown
        assert "no route" in shown
        assert "http://medxz.local or http://192.168.1.20" in shown
        assert CODE.lower() not in shown.lower()
        assert "quoted" not in shown
    assert "\x1b[31m" not in on_screen


def test_a_report_is_written_once(places: BootPlaces) -> None:
    """A card wears: the same text is not written again, and a card that can't be written stops nothing."""
    assert write_report(places, "a\n")
    assert not write_report(places, "a\n")
    assert write_report(places, "b\n")
    places.report.unlink()
    places.report.mkdir()
    assert not write_report(places, "c\n")
