"""What a push keeps of what it refuses: whose number a dead letter settles, and what it says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pytest

from medxz import limits
from medxz.service.entities import _fitting
from medxz.service.judge import Judge
from medxz.service.plan import Plan
from medxz.service.push_body import examine
from medxz.store.base import DeadLetter
from medxz.store.directory import DeviceEntry, Directory, User
from tests.making import CLINIC, DEVICE, OTHER_DEVICE, USER, fixed_id, make_op

HUB = fixed_id(0xB1)
DIRECTORY = Directory(
    users={USER: User(USER, frozenset({"clinician"}))},
    devices={one: DeviceEntry(one, "full", authors=frozenset({USER})) for one in (DEVICE, OTHER_DEVICE)},
)


@dataclass(frozen=True)
class Asking:
    """What a plan looks at of its caller."""

    clinic_id: str = CLINIC
    device_id: str | None = DEVICE
    hub_id: str | None = None

    @property
    def name(self) -> str:
        return self.device_id or HUB


BY_HUB = Asking(device_id=None, hub_id=HUB)


def plan_of(caller: Any, *ops: Any, directory: Directory = DIRECTORY) -> Plan:
    offered = [msgspec.Raw(op.json()) for op in ops]
    return Plan(caller, Judge(caller, directory, require_signed_ops=False), examine(offered))


def letter(code: str, message: str, seq: int | None, *, settles: bool, **more: Any) -> dict[str, Any]:
    told = {"device_id": DEVICE, "device_seq": seq, "code": code, "message": message, "settles": settles}
    return told | {"field": None} | more


def told(dead: DeadLetter) -> dict[str, Any]:
    names = ("device_id", "device_seq", "code", "message", "settles", "field")
    return {name: getattr(dead, name) for name in names}


def test_a_rejected_op_settles_its_own_device_s_number() -> None:
    """With the code, the field and the words that are answered; the number of somebody else's op settles nothing."""
    bad = make_op(3, entity_type="lower")
    plan = plan_of(Asking(), bad)
    [dead], [result] = plan.append.dead_letters, plan.results
    assert result is not None
    assert (result.status, result.code, result.field, result.op_id) == (
        "rejected",
        "invalid",
        "entity_type",
        bad.op_id,
    )
    assert told(dead) == letter("invalid", str(result.message), 3, settles=True, field="entity_type")
    assert (dead.op_id, plan.has_work) == (bad.op_id, True)
    [others] = plan_of(Asking(), make_op(4, device_id=OTHER_DEVICE)).append.dead_letters
    assert (others.device_id, others.code, others.settles) == (DEVICE, "wrong_device", False)


def test_what_has_no_number_settles_none() -> None:
    """An op whose device or number can't be read is kept under who pushed it."""
    nameless = msgspec.Raw(make_op(5).json().replace(b'"device_seq":5', b'"device_seq":0'))
    plan = Plan(Asking(), Judge(Asking(), DIRECTORY, require_signed_ops=False), examine([nameless]))  # type: ignore[arg-type]
    [dead] = plan.append.dead_letters
    assert (dead.device_id, dead.device_seq, dead.settles) == (DEVICE, None, False)


def test_an_op_of_another_form_settles_its_number() -> None:
    """Where it is no operation but says whose it is and which, that is kept."""
    op = make_op(5)
    formless = msgspec.Raw(op.json().replace(b'{"', b'{"unheard":1,"', 1))
    plan = Plan(Asking(), Judge(Asking(), DIRECTORY, require_signed_ops=False), examine([formless]))  # type: ignore[arg-type]
    [dead] = plan.append.dead_letters
    assert (dead.device_id, dead.device_seq, dead.op_id, dead.settles) == (DEVICE, 5, op.op_id, True)


def test_a_hub_s_rejections_settle_the_numbers_of_its_devices() -> None:
    """In its own clinic; an op of another clinic settles nothing there, and is kept under the hub's name."""
    [dead] = plan_of(BY_HUB, make_op(6, entity_type="lower")).append.dead_letters
    assert (dead.device_id, dead.device_seq, dead.settles) == (DEVICE, 6, True)
    [strange] = plan_of(BY_HUB, make_op(7, clinic_id=fixed_id(9))).append.dead_letters
    assert (strange.device_id, strange.code, strange.settles) == (HUB, "wrong_clinic", False)


@pytest.mark.parametrize(
    ("wrong", "code"),
    [({"clinic_id": fixed_id(9)}, "wrong_clinic"), ({"hash": "0" * 64}, "bad_hash")],
)
def test_one_wrong_op_among_a_hub_s_is_found(wrong: dict[str, Any], code: str) -> None:
    """What many ops of several devices have in common is looked at once; one that is not like them is judged."""
    fine = [make_op(1), make_op(1, device_id=OTHER_DEVICE)]
    assert plan_of(BY_HUB, *fine).append.ops == fine
    plan = plan_of(BY_HUB, *fine, make_op(2, **wrong))
    assert (plan.append.ops, [dead.code for dead in plan.append.dead_letters]) == (fine, [code])


def test_a_device_hands_in_its_own_ops_alone() -> None:
    """Among several too."""
    plan = plan_of(Asking(), make_op(1), make_op(1, device_id=OTHER_DEVICE))
    assert [dead.code for dead in plan.append.dead_letters] == ["wrong_device"]


def test_what_a_hub_acknowledged_is_kept_and_marked() -> None:
    """Where the author was disabled since: from a hub it is stored and reviewed, from a device refused for good."""
    disabled = replace(DIRECTORY, users={USER: User(USER, frozenset({"clinician"}), disabled=True)})
    by_hub = plan_of(BY_HUB, make_op(8), make_op(9), directory=disabled).append
    assert ([op.device_seq for op in by_hub.ops], list(by_hub.reviews)) == (
        [8, 9],
        [(0, "forbidden"), (1, "forbidden")],
    )
    by_device = plan_of(Asking(), make_op(8), directory=disabled).append
    assert [told(dead) for dead in by_device.refused.values()] == [
        letter("forbidden", "the author was disabled", 8, settles=True)
    ]
    assert not by_device.reviews


@pytest.mark.parametrize(
    ("sizes", "fit"), [([1], 1), ([2, 1], 1), ([1, 0.5], 1), ([0.5, 0.5], 2), ([0.5, 0.5, 0.1], 2)]
)
def test_a_page_holds_one_at_least(sizes: list[float], fit: int) -> None:
    """As many as fit, exactly full ones too; one that is longer than a page stands alone."""
    assert _fitting([bytes(int(size * limits.PULL_PAGE_BYTES_MAX)) for size in sizes]) == fit
