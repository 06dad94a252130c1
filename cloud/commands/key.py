"""`medxz-cloud key …` and `ca …`: the keys that sign tokens, the cloud's own root, and the clinics' CAs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from cloud.options import PATH, At, at_cloud, clinic_option
from medxz import limits
from medxz.commandline import Example, Examples
from medxz.program.errors import CommandFailed
from medxz.store.durable import write_new

if TYPE_CHECKING:
    from cloud.office import Office

_ROOT_BYTES_MAX: Final = 64 * limits.KIB


@click.group(cls=Examples, example="medxz-cloud key rotate --data /var/lib/medxz-cloud")
def key() -> None:
    """The keys that sign this cloud's access tokens."""


@key.command(cls=Example, example="medxz-cloud key rotate --data /var/lib/medxz-cloud")
@at_cloud
@click.option(
    "--at-once",
    is_flag=True,
    help="Forget the key of now: somebody else may have it. Everybody logs in anew.",
)
def rotate(at: At, at_once: bool) -> None:
    """Sign with the next key from now on. The one before it verifies until its last token has ended."""

    async def act(office: Office) -> str:
        return await office.admin.keys.rotate(at_once=at_once)

    kid = at.run(act)
    at.tell({"kid": kid}, f"Tokens are signed with {kid} from now on.")


@click.group(
    cls=Examples, example="curl --cacert <(medxz-cloud ca show --data DIR) https://localhost:8443/v1/info"
)
def ca() -> None:
    """The cloud's own root, which clients of it trust, and the CA of each clinic, which its hubs are certified by."""


@ca.command(cls=Example, example="medxz-cloud ca show --data /var/lib/medxz-cloud > cloud-ca.pem")
@at_cloud
def show(at: At) -> None:
    """The root by which this cloud serves where no --tls-cert is given: for `medxz-hub claim --cloud-ca FILE`."""
    from medxz.trust.certificates import ca_fingerprint

    async def act(office: Office) -> dict[str, Any]:
        root = office.store.root
        fingerprint = ca_fingerprint(root.certificate)
        return {"ca_certificate": root.certificate_pem.decode(), "ca_fingerprint": fingerprint}

    answer = at.run(act)
    at.tell(answer, answer["ca_certificate"].rstrip())


@ca.command(
    "export-root",
    cls=Example,
    example="medxz-cloud ca export-root --data /var/lib/medxz-cloud --out /media/safe/root.pem",
)
@at_cloud
@clinic_option
@click.option(
    "--out", "file", type=PATH, required=True, help="A new file, of mode 0600, on what goes into a safe."
)
@click.option(
    "--remove", is_flag=True, help="Then take the key away from here, so that the file has the only one."
)
def export_root(at: At, clinic: str | None, file: Path, remove: bool) -> None:
    """Write a clinic's root with its key into a file. Hubs are certified by its intermediate, with or without it."""

    async def act(office: Office) -> None:
        clinic_id = await office.clinic(clinic)
        exported = await office.admin.cas.export_root(clinic_id)
        _write(file, exported)
        if remove:
            await office.admin.cas.remove_root(clinic_id, exported)

    at.run(act)
    kept = "It is not here any more." if remove else "It is here still: --remove takes it away."
    at.tell({"file": str(file), "removed": remove}, f"The clinic's root and its key are in {file}. {kept}")


@ca.command(
    "import-root",
    cls=Example,
    example="medxz-cloud ca import-root --data /var/lib/medxz-cloud --in /media/safe/root.pem",
)
@at_cloud
@clinic_option
@click.option("--in", "file", type=PATH, required=True, help="The file that `export-root` wrote.")
def import_root(at: At, clinic: str | None, file: Path) -> None:
    """Renew a clinic's intermediate with the root's key, which is used for this once and not kept."""
    exported = _read(file)

    async def act(office: Office) -> None:
        await office.admin.cas.renew(await office.clinic(clinic), exported)

    at.run(act)
    at.tell({"renewed": True}, "The clinic has a new intermediate certificate.")


def _write(file: Path, content: bytes) -> None:
    """On the disk before anything is taken away."""
    try:
        write_new(file.absolute(), content)
    except OSError as error:
        raise CommandFailed(f"{file} can't be made: {error.strerror}", "name a new file with --out") from None


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(_ROOT_BYTES_MAX)
    except OSError as error:
        raise CommandFailed(f"{file}: {error.strerror}", "name the file that export-root wrote") from None
