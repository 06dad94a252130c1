"""The courier's call at a cloud, where one of the hubs on the stick can't be answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from cloud.courier import round as rounds
from cloud.courier.round import Round, take_in
from medxz.clock import SystemClock, format_time
from medxz.courier.content import HubState, Ops
from medxz.courier.envelope import Header, Slice, Unlocked
from medxz.courier.slices import Making, SetWriter, clear_superseded, find_slices
from medxz.errors import CourierRefused, Invalid, PeerRefused, PeerUnreachable
from medxz.ids import RandomIds
from medxz.work import InlineWorker

IDS = RandomIds()
CLOUD, HUB = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
CLINIC, CLOUD_ID = IDS.uuid7(), IDS.uuid7()


class Couriers:
    """Opens what was wrapped for the cloud; who signed it is not what is tested."""

    cloud_id = CLOUD_ID

    async def opened(self, found: Slice) -> Unlocked:
        return found.unlocked([CLOUD])


async def files_of(hub_id: str, folder: Path) -> Header:
    header = Header(
        way="up",
        clinic_id=CLINIC,
        hub_id=hub_id,
        cloud_id=CLOUD_ID,
        set_id=IDS.uuid7(),
        number=1,
        made_at=format_time(0),
    )
    writer = SetWriter(Making(folder, header, CLOUD.public_key(), HUB), InlineWorker())
    await writer.add(Ops([]))
    await writer.add(HubState(epoch=IDS.uuid7(), cloud_epoch=None, cursor=None, have={}))
    await writer.end_slice()
    return header


def a_round(folder: Path) -> Round:
    return Round(cast(Any, Couriers()), cast(Any, None), folder, SystemClock(), IDS, 1 << 20)


@pytest.mark.parametrize(
    "error",
    [
        CourierRefused("the cloud refused it"),
        Invalid("is no address", field="url"),
        PeerRefused(409, "epoch_changed", "elsewhere", None),
        ValueError("numbers"),
    ],
)
async def test_one_hub_keeps_no_other_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The files of a hub that can't be answered are left with a line that says why; the others' are taken."""
    first, second = sorted(IDS.uuid7() for _ in range(2))
    for hub_id in (first, second):
        await files_of(hub_id, tmp_path)

    async def answered(_at: Round, _clinic: str, hub_id: str, *_more: object) -> dict[str, Any]:
        if hub_id == first:
            raise error
        return {"hub_id": hub_id}

    monkeypatch.setattr(rounds, "_answer", answered)
    called = await take_in(a_round(tmp_path), tmp_path, None)
    assert called.hubs == [{"hub_id": second}]
    [told] = called.refused
    assert first in told


async def test_a_cloud_that_is_gone_answers_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the cloud itself does not answer the call ends, and can be repeated."""
    await files_of(IDS.uuid7(), tmp_path)

    async def answered(*_: object) -> dict[str, Any]:
        raise PeerUnreachable("nobody there")

    monkeypatch.setattr(rounds, "_answer", answered)
    with pytest.raises(PeerUnreachable):
        await take_in(a_round(tmp_path), tmp_path, None)


async def test_what_is_not_ours_stays_on_the_stick(tmp_path: Path) -> None:
    """Of what a stick holds older files of the hub go, and those of ours that were not finished; nothing else does."""
    header = await files_of(IDS.uuid7(), tmp_path)
    [made] = [found.path for found in find_slices(tmp_path, "up").slices]
    left = made.with_name(made.name + ".unfinished")
    for path in (left, tmp_path / "thesis.unfinished", tmp_path / "photo.courier"):
        path.write_bytes(b"x")
    gone = clear_superseded([], tmp_path, lambda other: other.hub_id == header.hub_id)
    assert gone == [made]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo.courier", "thesis.unfinished"]
