"""The releases of a cloud: bundles of the hubs' software, each a file named by its SHA-256 and a few words beside it.

They lie in the cloud's directory, whatever database it has: several relays have the same files, each in its own.
Whether a bundle is genuine is judged by the hub that installs it, by a signature that the cloud can't make. Refused: a
bundle that is not what its description says, more of them than there may be, one of a version that is no version.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cloud.downloads import download_of
from cloud.fleet.offers import Offers
from medxz import limits
from medxz.errors import Invalid, NotFound
from medxz.program.errors import CommandFailed
from medxz.service.download import Download
from medxz.service.gate import Caller, require
from medxz.store.durable import make_directory, sync, write_new
from medxz.versions import VERSION_CHARS_MAX, VERSION_PATTERN, Version
from medxz.wire import UpdateAnswer

if TYPE_CHECKING:
    from cloud.fleet.rollout import Wish
    from medxz.work import Worker

_PIECE_BYTES: Final = limits.MIB
_BESIDE: Final = ".raucb"
_UNFINISHED: Final = ".part"
_LEFT_S: Final = 86_400.0
_SPARE_BYTES: Final = limits.DISK_FREE_BYTES_MIN

Progress = Callable[[int, int], None]


class Description(BaseModel):
    """What who made a bundle says of it, in the file beside it. What else stands there is for others."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: str = Field(pattern=f"^{VERSION_PATTERN}$", max_length=VERSION_CHARS_MAX)
    compatible: str = Field(pattern="^[a-z0-9][a-z0-9.-]{0,63}$")
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(gt=0, le=limits.RELEASE_BYTES_MAX)

    @classmethod
    def beside(cls, bundle: Path) -> Self:
        """That of a bundle: `FILE.json`."""
        file = bundle.with_name(bundle.name + ".json")
        try:
            return cls.model_validate_json(file.read_bytes()[: limits.MIB])
        except OSError as error:
            raise CommandFailed(
                f"{file} can't be read: {error.strerror}",
                "it is made with the bundle, and says what that is: bring it along",
            ) from None
        except ValidationError as error:
            names = ", ".join(
                str(problem["loc"][0]) if problem["loc"] else "not JSON" for problem in error.errors()
            )
            raise CommandFailed(
                f"{file} does not describe a bundle: {names}", "make the bundle anew"
            ) from None


class Release(UpdateAnswer):
    """One on the shelf. `held`: it comes to nobody for being the newest, only by a ring or a rollout."""

    held: bool = False


class Shelf:
    """The folder with the releases: `releases/` in the cloud's directory."""

    def __init__(self, data: Path) -> None:
        self._folder: Final = data / "releases"

    def all(self) -> list[Release]:
        """Every release, those of one kind of machine together, the newest first."""
        found = []
        for file in self._folder.glob("*.json"):
            try:
                release = Release.model_validate_json(file.read_bytes())
                Version.read(release.version)
            except (OSError, ValueError):  # it is being removed, or is none of ours
                continue
            if self._bundle(release.sha256).is_file():
                found.append(release)
        found.sort(key=lambda release: Version.read(release.version), reverse=True)
        return sorted(found, key=lambda release: release.compatible)

    def bundle(self, sha256: str) -> tuple[Path, int]:
        """The file and its length; NotFound where there is no such release."""
        file = self._bundle(sha256)
        try:
            return file, file.stat().st_size
        except OSError:
            raise NotFound("there is no such release") from None

    def add(
        self, bundle: Path, told: Description, added_at: str, progress: Progress, *, held: bool = False
    ) -> Release:
        """Take a copy of a bundle in. Repeated, the answer is what there is."""
        release = Release(added_at=added_at, held=held, **told.model_dump())
        for known in self.all():
            if known.sha256 == release.sha256:
                return known
            if (known.compatible, known.version) == (release.compatible, release.version):
                raise CommandFailed(
                    f"there is another {known.version} for {known.compatible} already",
                    f"hubs that have it would not take this one: give it a new version, or remove {known.version} first",
                )
        if len(self.all()) >= limits.RELEASES_MAX:
            raise CommandFailed(f"there are {limits.RELEASES_MAX} releases", "remove old ones first")
        make_directory(self._folder)
        self._clear()
        free = shutil.disk_usage(self._folder).free
        if free < told.size + _SPARE_BYTES:
            raise CommandFailed(
                f"{self._folder} has room for {free} bytes, and this needs {told.size}", "make room"
            )
        self._copy(bundle, told, progress)
        write_new(self._beside(told.sha256), release.model_dump_json().encode())
        return release

    def remove(self, compatible: str, version: str) -> Release:
        """No hub is offered it any more; those that have it keep it."""
        for release in self.all():
            if (release.compatible, release.version) == (compatible, version):
                self._beside(release.sha256).unlink(missing_ok=True)
                self._bundle(release.sha256).unlink(missing_ok=True)
                sync(self._folder)
                return release
        raise NotFound(
            f"there is no release {version} for {compatible}; `medxz-cloud release list` shows them"
        )

    def _clear(self) -> None:
        """What a power cut left of another one long ago."""
        undescribed = [
            file for file in self._folder.glob(f"*{_BESIDE}") if not file.with_suffix(".json").exists()
        ]
        for left in [*self._folder.glob(f".*{_UNFINISHED}"), *undescribed]:
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > _LEFT_S:
                    left.unlink()

    def _copy(self, bundle: Path, told: Description, progress: Progress) -> None:
        unfinished = self._folder / f".{secrets.token_hex(4)}{_UNFINISHED}"
        try:
            with bundle.open("rb") as read, unfinished.open("xb") as written:
                digest = _copied(read.read, written.write, told.size, progress)
                written.flush()
                os.fsync(written.fileno())
            if digest != told.sha256:
                raise CommandFailed(
                    f"{bundle} is not what {bundle.name}.json says: it was changed or cut short",
                    "bring it anew",
                )
            unfinished.rename(self._bundle(told.sha256))
            sync(self._folder)
        finally:
            unfinished.unlink(missing_ok=True)

    def _bundle(self, sha256: str) -> Path:
        return self._folder / f"{sha256}{_BESIDE}"

    def _beside(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.json"


def _copied(
    read: Callable[[int], bytes], write: Callable[[bytes], object], size: int, progress: Progress
) -> str:
    digest, done = hashlib.sha256(), 0
    while piece := read(_PIECE_BYTES):
        digest.update(piece)
        write(piece)
        done += len(piece)
        if done > size:
            break
        progress(done, size)
    return digest.hexdigest()


class Wishing(Protocol):
    """Who knows what is wanted of each hub."""

    async def wanted(self, caller: Caller, kind: str, version: str | None) -> tuple[Wish, frozenset[str]]:
        """What one is to run, and the versions that come to nobody for being the newest."""
        ...


class CloudReleases:
    """`Releases` (medxz/service/releases.py): what is wanted of a hub, for its kind of machine."""

    def __init__(self, shelf: Shelf, worker: Worker, wishing: Wishing) -> None:
        self._shelf: Final = shelf
        self._worker: Final = worker
        self._wishing: Final = wishing

    async def wanted(self, caller: Caller, compatible: str, version: str | None) -> UpdateAnswer | None:
        require(caller, "hub")
        runs = None if version is None else _read(version)
        wish, named = await self._wishing.wanted(caller, compatible, version)
        release = Offers(await self._worker.run(self._shelf.all), named).of(wish, compatible)
        if release is None or (runs is not None and runs == Version.read(release.version)):
            return None
        is_back = runs is not None and Version.read(release.version) < runs
        if is_back and version != wish.instead_of:
            return None
        return UpdateAnswer(**release.model_dump(exclude={"held", "go_back"}), go_back=is_back)

    async def bundle(self, caller: Caller, sha256: str) -> Download:
        require(caller, "hub")
        return download_of(*await self._worker.run(self._shelf.bundle, sha256), self._worker)


def _read(version: str) -> Version:
    try:
        return Version.read(version)
    except ValueError as error:
        raise Invalid(str(error), field="version") from None
