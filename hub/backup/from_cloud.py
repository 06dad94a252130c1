"""A backup on its way back from the hub's cloud: its own, or that of the hub whose place it took.

The box proves itself by the key of its claim, which lies in the keepsake too: a store that is damaged is no hindrance. Broken off,
the download goes on where it was, also when the command is given anew. Nothing that the cloud says is trusted but how much is
there: what opens is what the hub sealed. Refused: a box that was never claimed, a file that is not what was listed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from hub.backup.folder import ROOM_BYTES
from hub.claimed import CLAIM, Claimed
from hub.clock import HubClock
from hub.identity import load_identity
from hub.recovery.keepsake import read_keepsake
from hub.storage import open_storage
from hub.uplink.peer import CloudPeer, context_of
from hub.uplink.tokens import HubTokens, Signing
from medxz import limits
from medxz.clock import Clock, SystemClock
from medxz.errors import CloudRequired, MedxzError, PeerRefused, PeerUnreachable
from medxz.ids import Ids
from medxz.program.backup_files import MANIFEST, File, check_file
from medxz.program.errors import CommandFailed
from medxz.program.keys import has_content, read_key
from medxz.store.durable import make_directory, sync
from medxz.wire import BACKUP_FILES, BackupsAnswer, LaidDown

if TYPE_CHECKING:
    from hub.backup.checking import Stage
    from hub.config import HubPlaces

IN_VAIN_MAX: Final = 5
PAUSE_S: Final = 1.0
PAGES_MAX: Final = 100
_MANIFEST_BYTES_MAX: Final = 4 * limits.MIB
_FETCHED: Final = ".fetched-"


class Giving(Protocol):
    """A cloud that gives backups back."""

    async def backups(self, cursor: str | None = None) -> BackupsAnswer: ...
    def backup_from(self, backup_id: str, file: str, start: int) -> AsyncGenerator[bytes, None]: ...


async def claim_of(places: HubPlaces, environ: Mapping[str, str]) -> Claimed:
    """By which cloud this box was claimed; CommandFailed where by none."""
    if has_content(places.key_file):
        key = read_key(places.key_file, environ)
        kept = read_keepsake(places.keepsake, key)
        if kept is not None and CLAIM in kept.secrets:
            return Claimed.model_validate_json(bytes.fromhex(kept.secrets[CLAIM]))
        if kept is None and places.store.is_file():  # claimed, and never run
            async with open_storage(places, lambda: key, SystemClock(), lock_wait_s=0) as storage:
                claim = (await load_identity(storage)).claim
            if claim is not None:
                return claim
    raise CommandFailed(
        f"no cloud knows the box of {places.data}: it was not claimed, or nothing of that is left",
        "claim it in the place of the hub that died, then restore: docs/runbooks/restore-a-hub.md",
        "not_claimed",
    )


@asynccontextmanager
async def cloud_of(claim: Claimed, clock: Clock, ids: Ids) -> AsyncIterator[Giving]:
    """The cloud of a hub that does not run; on leaving, its connections are closed."""
    hub_clock = clock if isinstance(clock, HubClock) else HubClock(clock)
    context = context_of(claim, hub_clock)
    to_cloud = partial(
        CloudPeer, claim.cloud_url, hub_clock, cloud_id=claim.cloud_id, ssl_context=context, ids=ids
    )
    anonymous = to_cloud()
    signing = Signing(claim.private_key, claim.hub_id, claim.cloud_id)
    peer = to_cloud(token=HubTokens(anonymous, signing, hub_clock, ids))
    try:
        yield peer
    except PeerUnreachable as error:
        raise CloudRequired(str(error)) from None
    except PeerRefused as refused:
        if refused.status >= 500 or refused.status == 429:
            raise CloudRequired(f"the cloud does not answer now: {refused.message}") from None
        raise CommandFailed(
            f"the cloud refused: {refused.message}", "ask whoever runs the cloud", refused.code
        ) from None
    finally:
        await anonymous.aclose()
        await peer.aclose()


async def all_backups(cloud: Giving) -> list[LaidDown]:
    """Those that this box may have, the newest first."""
    found: list[LaidDown] = []
    cursor: str | None = None
    for _ in range(PAGES_MAX):
        page = await cloud.backups(cursor)
        found += page.backups
        cursor = page.next_cursor
        if cursor is None:
            break
    return found


def choose(found: Sequence[LaidDown], wanted: str | None) -> LaidDown:
    """The one that was named, else the newest."""
    if not found:
        raise CommandFailed("the cloud has no backup of this hub", "see docs/backup.md", "no_backup")
    chosen = next((each for each in found if wanted in {None, each.id}), None)
    if chosen is None:
        raise CommandFailed(
            f"the cloud has no backup {wanted} for this hub", "`--list` shows those that it has", "no_backup"
        )
    names = {file.name for file in chosen.files}
    if not names <= set(BACKUP_FILES) - {MANIFEST}:
        raise CommandFailed("the cloud lists files that no backup has", "ask whoever runs the cloud")
    return chosen


async def fetch(cloud: Giving, chosen: LaidDown, places: HubPlaces, clock: Clock, stage: Stage) -> Path:
    """All of it, in a folder of its own that `forget` removes. What was fetched of another one makes room."""
    folder = places.backups / f"{_FETCHED}{chosen.id}"
    for left in places.backups.glob(f"{_FETCHED}*"):
        if left != folder:
            shutil.rmtree(left)
    make_directory(folder)
    _check_room(chosen, folder)
    for listed in chosen.files:
        file = File(name=listed.name, bytes=listed.bytes, sha256=listed.sha256)
        await _whole(cloud, chosen.id, folder, file, clock, stage)
    (folder / MANIFEST).unlink(missing_ok=True)
    async with aclosing(cloud.backup_from(chosen.id, MANIFEST, 0)) as pieces:
        await _appended(folder / MANIFEST, pieces, _MANIFEST_BYTES_MAX)
    sync(folder)
    return folder


def forget(fetched: Path) -> None:
    """It was brought back: what was fetched for it is worth nothing any more."""
    shutil.rmtree(fetched)


def _check_room(chosen: LaidDown, folder: Path) -> None:
    """For what is fetched still, and for the copy that becomes the hub's."""
    missing = sum(2 * file.bytes - _size(folder / file.name) for file in chosen.files) + ROOM_BYTES
    free = shutil.disk_usage(folder).free
    if free < missing:
        raise CommandFailed(
            f"{folder.parent} has {free // limits.MIB} MiB free, and this backup takes {missing // limits.MIB + 1} MiB",
            "make room there",
            "no_room",
        )


async def _whole(cloud: Giving, backup_id: str, folder: Path, file: File, clock: Clock, stage: Stage) -> None:
    path, in_vain = folder / file.name, 0
    while (have := _size(path)) < file.bytes:
        stage(f"from the cloud: {file.name}", have, file.bytes)
        try:
            async with aclosing(cloud.backup_from(backup_id, file.name, have)) as pieces:
                await _appended(path, pieces, file.bytes)
        except (PeerUnreachable, PeerRefused) as error:
            is_final = isinstance(error, PeerRefused) and error.status < 500
            in_vain = 0 if _size(path) > have else in_vain + 1
            if is_final or in_vain >= IN_VAIN_MAX:
                raise
            await clock.sleep(PAUSE_S * 2**in_vain)
    try:
        check_file(folder, file)
    except MedxzError:
        path.unlink()
        raise CommandFailed(
            f"{file.name} is not what the cloud said", "give the command again: it is fetched anew", "damaged"
        ) from None


async def _appended(path: Path, pieces: AsyncGenerator[bytes, None], bytes_max: int) -> None:
    with path.open("ab") as opened:
        try:
            async for piece in pieces:
                opened.write(piece)
                if opened.tell() > bytes_max:
                    raise PeerUnreachable("the cloud sends more than it said")
        finally:
            opened.flush()
            os.fsync(opened.fileno())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
