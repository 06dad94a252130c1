"""`medxz-hub renew` on a hub that was claimed: its certificate is the cloud's to renew."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509

import hub.config
import hub.tls
import hub.uplink.certificate
from hub.ask import Json, ask
from medxz.program.errors import CommandFailed
from tests.uplink.conftest import Box, Relay, until


@dataclass
class SecureBox(Box):
    """One that serves TLS."""

    @property
    def settings(self) -> hub.config.Settings:
        flags = {"data": self.folder, "host": "127.0.0.1", "port": self.port, "mdns": False}
        return hub.config.load_settings(flags, {})

    async def renew(self) -> Json:
        return await asyncio.to_thread(ask, self.settings.places.socket, "renew")

    async def shown(self) -> x509.Certificate:
        """What whoever connects is shown."""
        pem = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", self.port))
        return x509.load_pem_x509_certificate(pem.encode())


async def test_what_is_due_is_renewed_by_the_cloud(
    relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Due and cut off, `renew` needs the cloud and the old one goes on; as soon as it is there, a new one is shown."""
    box = SecureBox(tmp_path / "box")
    await box.claim(relay, "North")
    await box.start()
    try:
        first = await box.shown()
        assert (await box.renew())["by"] == "cloud"
        assert await box.shown() == first
        for module in (hub.tls, hub.uplink.certificate):
            monkeypatch.setattr(module, "needs_renewal", lambda held, _: held == first)
        await relay.stop()
        with pytest.raises(CommandFailed) as refused:
            await box.renew()
        assert refused.value.code == "cloud_required"
        assert await box.shown() == first
        await relay.start()
        await until(lambda: renewed(box), "that the cloud renews it")
        assert await box.shown() != first
    finally:
        await box.stop()


async def renewed(box: SecureBox) -> bool:
    try:
        return bool((await box.renew())["by"] == "cloud")
    except CommandFailed:
        return False
