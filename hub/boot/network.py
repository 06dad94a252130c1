"""The card's settings in the words of what carries them out: systemd-networkd and wpa_supplicant. Pure text."""

from __future__ import annotations

from typing import Final

from hub.boot.file import NetworkPart, WifiPart

_HEAD: Final = "# made at each start from medxz-hub.toml on the card: change it there\n"

CABLE: Final = "20-medxz-cable.network"
WIFI: Final = "20-medxz-wifi.network"


def networks(network: NetworkPart | None, wifi: WifiPart | None) -> dict[str, str]:
    """networkd's files by name. A fixed address is the Wi-Fi's where there is one; the other asks for its own."""
    return {
        CABLE: _network("Type=ether\nName=en* eth*", network if wifi is None else None, metric=100),
        WIFI: _network("Type=wlan", network if wifi is not None else None, metric=600),
    }


def _network(match: str, fixed: NetworkPart | None, *, metric: int) -> str:
    """Nothing waits for an interface that has no plug in it."""
    lines = [_HEAD + f"[Match]\n{match}\n", "[Link]\nRequiredForOnline=no\n", "[Network]"]
    if fixed is None:
        lines += ["DHCP=yes", "LinkLocalAddressing=yes", "IPv6AcceptRA=yes", ""]
        lines += [
            f"[DHCPv4]\nRouteMetric={metric}\nUseDomains=yes\n",
            f"[IPv6AcceptRA]\nRouteMetric={metric}\n",
        ]
        return "\n".join(lines)
    lines += [f"Address={fixed.address}", "LinkLocalAddressing=ipv6"]
    servers = fixed.dns or ([fixed.router] if fixed.router is not None else [])
    lines += [f"DNS={server}" for server in servers]
    if fixed.router is not None:
        lines += ["", f"[Route]\nGateway={fixed.router}\nMetric={metric}"]
    return "\n".join([*lines, ""])


def supplicant(wifi: WifiPart) -> str:
    """wpa_supplicant's file: the country first, without which it may not send. WPA3 where both have it, else WPA2.

    The name is written as hexadecimal digits, so that no character of it can be taken for something else.
    """
    lines = [
        _HEAD + "ctrl_interface=/run/wpa_supplicant",
        "update_config=0",
        f"country={wifi.country}",
        "network={",
        f"    ssid={wifi.name.encode().hex()}",
        f"    scan_ssid={int(wifi.hidden)}",
    ]
    if wifi.password is None:
        lines.append("    key_mgmt=NONE")
    else:
        is_key = len(wifi.password) == 64
        lines += [
            "    key_mgmt=WPA-PSK" if is_key else "    key_mgmt=SAE WPA-PSK WPA-PSK-SHA256",
            "    ieee80211w=1",
            f"    psk={wifi.password}" if is_key else f'    psk="{wifi.password}"',
        ]
    return "\n".join([*lines, "}", ""])
