"""Checkers 4 to 6 on small worlds: clinics apart, no edit gone, audits whole."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from medxz.op import Operation
from tests.simulation.checkers.apart import check_apart
from tests.simulation.checkers.audits import check_audits
from tests.simulation.checkers.edits import check_edits
from tests.simulation.checkers.holding import Audit, HeldConflict, HeldSide
from tests.simulation.ledger import Ledger
from tests.simulation.making import (
    CLOUD_ID,
    EPOCH,
    OTHER_CLINIC,
    TABLET_ID,
    followed,
    made,
    new_id,
    refused,
    safe,
    shown,
    stands,
)

# ------------------------------------------------------------------------------------- 4: clinics apart


def of_other_clinic(op: Operation) -> Operation:
    return msgspec.structs.replace(
        op, clinic_id=OTHER_CLINIC, op_id=new_id(), entity_id=new_id(), device_id=new_id(), user_id=new_id()
    )


def test_an_op_of_another_clinic_is_nowhere() -> None:
    """An op of one clinic in the log of another is a violation."""
    op, foreign = made(), of_other_clinic(made())
    check_apart(Ledger(), [stands("cloud", [op]), stands("cloud", [foreign], clinic_id=OTHER_CLINIC)])
    found = refused(check_apart, Ledger(), [
        stands("cloud", [op, foreign]), stands("hub", [], clinic_id=OTHER_CLINIC, server_id=new_id())
    ], "log of cloud")  # fmt: skip
    assert OTHER_CLINIC in found.ops


@pytest.mark.parametrize("place", ["states", "conflicts", "directory", "audit", "log"])
def test_no_word_of_another_clinic_is_anywhere(place: str) -> None:
    """An id of one clinic in what another shows, lists, notes or says in a payload is a violation."""
    op, foreign = made(), of_other_clinic(made())
    word = foreign.entity_id
    changed = {
        "states": stands("hub", [op], [(op, shown({"note": f'"{word}"'}, op))]),
        "conflicts": stands("hub", [op], conflicts={"c": word.encode()}),
        "directory": stands("hub", [op], directory=word.encode()),
        "audit": stands("hub", [op], audit=Audit(1, None, word.encode())),
        "log": stands("hub", [made(f'{{"note":"{word}"}}')], []),
    }[place]
    ledger = Ledger()
    ledger.authored(foreign, "tablet-b", 1.0)
    assert refused(check_apart, ledger, [changed], place).ops == [word]


def test_a_reader_is_given_one_clinic() -> None:
    """A reader that was given ops of two clinics is a violation."""
    op, foreign = made(), of_other_clinic(made())
    ledger = Ledger()
    ledger.authored(op, "tablet", 1.0)
    ledger.authored(foreign, "tablet-b", 1.0)
    ledger.read(
        "reader", "cloud", CLOUD_ID, EPOCH, after=None, cursor="2", ops=[(op.op_id, 1), (foreign.op_id, 2)]
    )
    refused(check_apart, ledger, [], "two clinics")


# -------------------------------------------------------------------------------------------- 5: edits


def test_a_value_that_was_overwritten_behind_its_authors_back_is_missed() -> None:
    """Of two concurrent edits of a field, one that is neither shown nor in a conflict is a violation."""
    base = made('{"phone":"1","name":"a"}')
    one, other = followed(base, '{"phone":"2"}'), followed(base, '{"phone":"3"}')
    ops = [base, one, other]
    lost = shown({"phone": '"3"', "name": '"a"'}, one, other)
    found = refused(check_edits, Ledger(), [stands("hub", ops, [(base, lost)])], "phone")
    assert found.ops == [one.op_id]
    sides = tuple(HeldSide(op.op_id, {"phone": value}) for op, value in ((one, b'"2"'), (other, b'"3"')))
    torn = HeldConflict("c", "edit", ("phone",), (one.op_id, other.op_id), sides)
    check_edits(Ledger(), [stands("hub", ops, [(base, dataclasses.replace(lost, conflicts=(torn,)))])])


def test_what_a_descendant_wrote_anew_need_not_be_shown() -> None:
    """An edit that a later one names, or that an amend leaves out, has not disappeared."""
    base = made('{"phone":"1","name":"a"}')
    later = followed(base, '{"phone":"2"}')
    check_edits(
        Ledger(), [stands("hub", [base, later], [(base, shown({"phone": '"2"', "name": '"a"'}, later))])]
    )
    whole = followed(later, '{"name":"b"}', op_type="amend")
    check_edits(Ledger(), [stands("hub", [base, later, whole], [(base, shown({"name": '"b"'}, whole))])])


def test_a_removal_is_an_edit() -> None:
    """A field that an op removed and that is still shown is a violation."""
    base = made('{"phone":"1","name":"a"}')
    gone = followed(base, '{"phone":null}')
    refused(
        check_edits, Ledger(),
        [stands("hub", [base, gone], [(base, shown({"phone": '"1"', "name": '"a"'}, gone))])], "phone",
    )  # fmt: skip
    check_edits(Ledger(), [stands("hub", [base, gone], [(base, shown({"name": '"a"'}, gone))])])


def test_a_retract_shows() -> None:
    """A retract that is neither marked, nor in a conflict, nor amended is a violation."""
    base = made('{"name":"a"}')
    back = followed(base, '{"reason":"wrong patient"}', op_type="retract")
    refused(
        check_edits,
        Ledger(),
        [stands("hub", [base, back], [(base, shown({"name": '"a"'}, back))])],
        "retract",
    )
    marked = shown({"name": '"a"', "retracted": "{}"}, back)
    check_edits(Ledger(), [stands("hub", [base, back], [(base, marked)])])
    again = followed(back, '{"name":"b"}', op_type="amend")
    check_edits(Ledger(), [stands("hub", [base, back, again], [(base, shown({"name": '"b"'}, again))])])


def test_a_resolve_settles_both_sides() -> None:
    """After a resolve that names the field neither side need be shown; its reason is no field."""
    base = made('{"phone":"1"}')
    one, other = followed(base, '{"phone":"2"}'), followed(base, '{"phone":"3"}')
    end = followed(one, '{"phone":"3","_resolve":{"reason":"asked"}}', op_type="resolve", also=[other])
    check_edits(Ledger(), [stands("hub", [base, one, other, end], [(base, shown({"phone": '"3"'}, end))])])


def test_heads_are_nobodys_parents() -> None:
    """Heads that the graph does not have are a violation; a parent that is not there hides nobody."""
    base = made('{"phone":"1"}')
    later = followed(base, '{"phone":"2"}')
    refused(
        check_edits,
        Ledger(),
        [stands("hub", [base, later], [(base, shown({"phone": '"2"'}, base))])],
        "heads",
    )
    check_edits(Ledger(), [stands("hub", [later], [(later, shown({"phone": '"2"'}, later))])])


def test_ops_in_a_circle_are_beside_each_other() -> None:
    """Where each of two ops is behind the other, neither has written the other's edit anew."""
    one = made('{"phone":"1"}')
    other = followed(one, '{"phone":"2"}')
    one = msgspec.structs.replace(one, op_type="update", parents=(other.op_id,))
    refused(
        check_edits, Ledger(), [stands("hub", [one, other], [(one, shown({"phone": '"2"'}, one, other))])]
    )


def test_an_entity_with_ops_is_shown() -> None:
    """An entity that a party has ops of and does not show is a violation."""
    refused(check_edits, Ledger(), [stands("hub", [made()], [])], "no such entity")


# ------------------------------------------------------------------------------------------- 6: audits


def test_the_audit_verifies() -> None:
    """A chain that does not hold is a violation, on whatever party; so is a party that nobody asked."""
    op = made()
    for party in ("cloud", "hub", "tablet"):
        broken = stands(party, [op], audit=Audit(3, "entry 2", op.op_id.encode()))
        refused(check_audits, safe(op), [broken], party, "entry 2")
        refused(check_audits, safe(op), [stands(party, [op], audit=None)], "nobody asked")


def test_a_device_has_noted_what_it_recorded() -> None:
    """An op without a note of it, on the tablet that made it, is a violation."""
    op = made()
    assert op.device_id == TABLET_ID
    silent = stands("tablet", [op], audit=Audit(1, None, b""))
    refused(check_audits, safe(op), [silent], "does not say")
