"""Each checker says yes to a small world in which nothing is wrong, and no to each that has one thing wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from medxz.op import Operation
from tests.simulation.checkers import Holding, judge
from tests.simulation.checkers.acknowledged import check_acknowledged
from tests.simulation.checkers.agreeing import check_agreeing
from tests.simulation.checkers.holding import HeldConflict
from tests.simulation.checkers.reading import check_reading
from tests.simulation.ledger import Ledger
from tests.simulation.making import (
    EPOCH,
    HUB_ID,
    alone,
    made,
    new_id,
    refused,
    safe,
    shown,
    stands,
)


def all_have(*ops: Operation) -> list[Holding]:
    return [stands(party, ops) for party in ("cloud", "hub", "tablet")]


def test_a_world_in_which_nothing_went_wrong() -> None:
    """All six say yes where everybody has everything."""
    ops = [made(), made(), made()]
    ledger = safe(*ops)
    ledger.read("reader", "hub", HUB_ID, EPOCH, after=None, cursor="1", ops=[(ops[0].op_id, 1)])
    rest = [(op.op_id, seq) for seq, op in enumerate(ops[1:], 2)]
    ledger.read("reader", "hub", HUB_ID, EPOCH, after="1", cursor="3", ops=rest, at_end=True)
    judge(ledger, all_have(*ops))


# ------------------------------------------------------------------------------------- 1: acknowledged


@pytest.mark.parametrize("party", ["cloud", "hub", "tablet"])
def test_what_was_acknowledged_is_there(party: str) -> None:
    """An op that is missing where its level said it was is a violation, whoever else has it."""
    kept, lost = made(), made()
    holdings = [held for held in all_have(kept, lost) if held.party != party]
    found = refused(check_acknowledged, safe(kept, lost), [*holdings, stands(party, [kept])], party)
    assert found.ops == [lost.op_id]


def test_a_hub_that_was_restored_is_filled_again() -> None:
    """What a restored hub lost must come again from whoever has it; what nobody has may be missing."""
    op = made()
    ledger = safe(op)
    ledger.went_back("hub", back_to=0.5, at=5.0)
    refused(check_acknowledged, ledger, [stands("hub", []), stands("cloud", [op])], "not come to hub")
    check_acknowledged(ledger, [stands("hub", [op]), stands("cloud", [op]), stands("tablet", [op])])
    ledger = Ledger()
    ledger.authored(op, "tablet", 1.0)
    ledger.acked(op.op_id, "hub", "hub", HUB_ID, EPOCH, 2.0)
    ledger.went_back("hub", back_to=None, at=5.0)
    ledger.went_back("tablet", back_to=None, at=6.0)
    check_acknowledged(ledger, [stands("hub", []), stands("cloud", []), stands("tablet", [])])


def test_a_hub_that_lost_nothing_is_not_excused_by_a_new_epoch() -> None:
    """A promise binds a hub that began a new epoch, too, where its storage never went back."""
    op = made()
    ledger = Ledger()
    ledger.authored(op, "tablet", 1.0)
    ledger.acked(op.op_id, "hub", "hub", HUB_ID, EPOCH, 2.0)
    refused(check_acknowledged, ledger, [stands("hub", [], epoch=new_id())], "level hub")


def test_an_op_of_a_destroyed_hub_comes_again_from_its_author() -> None:
    """What only a destroyed hub and the author had is in the cloud after the healing."""
    op = made()
    ledger = Ledger()
    ledger.authored(op, "tablet", 1.0)
    ledger.acked(op.op_id, "hub", "hub", HUB_ID, EPOCH, 2.0)
    ledger.went_back("hub", back_to=None, at=5.0, gone=True)
    refused(check_acknowledged, ledger, [stands("cloud", []), stands("tablet", [op])], "not come to cloud")
    check_acknowledged(ledger, [stands("cloud", [op]), stands("tablet", [op])])


def test_a_device_forgets_only_what_the_cloud_has() -> None:
    """Letting go of an op at hub level is a violation, even while the hub still has it."""
    op = made()
    ledger = Ledger()
    ledger.authored(op, "tablet", 1.0)
    ledger.acked(op.op_id, "here", "tablet", at=1.0)
    ledger.acked(op.op_id, "hub", "hub", HUB_ID, EPOCH, 2.0)
    ledger.forgot("tablet", [op.op_id], 3.0, in_cloud=[])
    holdings = [stands("cloud", [op]), stands("hub", [op]), stands("tablet", [], whole=False)]
    refused(check_acknowledged, ledger, holdings, "forgot")
    lawful = Ledger()
    lawful.authored(op, "tablet", 1.0)
    lawful.acked(op.op_id, "here", "tablet", at=1.0)
    lawful.forgot("tablet", [op.op_id], 3.0, in_cloud=[op.op_id])
    check_acknowledged(lawful, holdings)


def test_an_op_of_an_identity_that_was_given_up_is_the_one_that_repeats_it() -> None:
    """Where a cloned tablet has recorded an op again under a new identity, that one has to be there."""
    old, new = made(), made(device_id=new_id())
    ledger = Ledger()
    ledger.authored(old, "tablet", 1.0)
    ledger.acked(old.op_id, "here", "tablet", at=1.0)
    tablet = stands("tablet", [new], renamed={old.op_id: new.op_id}, device_id=new.device_id)
    check_acknowledged(ledger, [stands("cloud", [new]), tablet])
    refused(check_acknowledged, ledger, [stands("tablet", [])], "level here")


# ---------------------------------------------------------------------------------------- 2: agreement


def test_servers_hold_the_same_ops() -> None:
    """An op that one server has and another has not is a violation, in whatever order they have the rest."""
    one, other = made(), made()
    check_agreeing(Ledger(), [stands("cloud", [one, other]), stands("hub", [other, one])])
    found = refused(
        check_agreeing, Ledger(), [stands("cloud", [one, other]), stands("hub", [one])], "same ops"
    )
    assert found.ops == [other.op_id]


def test_servers_hold_the_same_content_under_an_id() -> None:
    """Two ops with one id are a violation."""
    op = made()
    twin = made('{"status":"preliminary"}', op_id=op.op_id, entity_id=op.entity_id)
    refused(check_agreeing, Ledger(), [stands("cloud", [op]), stands("hub", [twin])], "different ops")


def test_a_server_holds_an_op_once() -> None:
    """An op that was stored twice is a violation."""
    op = made()
    both = [stands("cloud", [op, op], [(op, alone(op))]), stands("hub", [op, op], [(op, alone(op))])]
    refused(check_agreeing, Ledger(), both, "twice")


@pytest.mark.parametrize("party", ["hub", "tablet"])
def test_everybody_shows_the_same_state(party: str) -> None:
    """A state that differs by a zero is a violation; so are heads and conflicts."""
    op = made('{"value":120.50}')
    cloud = stands("cloud", [op])
    refused(
        check_agreeing, Ledger(), [cloud, stands(party, [op], [(op, shown({"value": "120.5"}, op))])], "state"
    )
    refused(
        check_agreeing, Ledger(), [cloud, stands(party, [op], [(op, shown({"value": "120.50"}))])], "heads"
    )
    torn = (HeldConflict("c", "edit", ("value",), (op.op_id,)),)
    different = [(op, shown({"value": "120.50"}, op, conflicts=torn))]
    refused(check_agreeing, Ledger(), [cloud, stands(party, [op], different)], "conflicts")


def test_servers_list_the_same_conflicts() -> None:
    """A conflict that one server lists and another does not, or tells otherwise, is a violation."""
    op = made()
    resolved = {"c": b'{"kind":"edit","state":"resolved"}'}
    cloud = stands("cloud", [op], conflicts=resolved)
    refused(check_agreeing, Ledger(), [cloud, stands("hub", [op])], "list the same conflicts")
    by_another = {"c": b'{"kind":"edit","state":"resolved","resolved_by":"x"}'}
    refused(check_agreeing, Ledger(), [cloud, stands("hub", [op], conflicts=by_another)], "differently")


def test_a_server_lists_the_conflicts_that_it_shows() -> None:
    """An open conflict that an entity shows and no list has is a violation, and the other way round."""
    op = made('{"value":1}')
    torn = (HeldConflict("c", "edit", ("value",), (op.op_id,)),)
    entities = [(op, shown({"value": "1"}, op, conflicts=torn))]
    refused(check_agreeing, Ledger(), [stands("hub", [op], entities)], "does not list")
    listed = {"c": b'{"kind":"edit","state":"open"}'}
    refused(check_agreeing, Ledger(), [stands("hub", [op], conflicts=listed)], "does not list")
    check_agreeing(Ledger(), [stands("hub", [op], entities, conflicts=listed)])


def test_a_front_desks_tablet_holds_less() -> None:
    """A tablet of a narrow scope lacks nothing when it has what that scope is told."""
    seen, unseen = made(), made(entity_type="Condition")
    servers = [stands("cloud", [seen, unseen]), stands("hub", [seen, unseen])]
    check_agreeing(Ledger(), [*servers, stands("tablet", [seen], scope="front_desk")])
    refused(check_agreeing, Ledger(), [*servers, stands("tablet", [seen])], "lacks")
    refused(check_agreeing, Ledger(), [*servers, stands("tablet", [], scope="front_desk")], "lacks")


def test_a_tablet_that_began_from_a_snapshot_shows_the_same() -> None:
    """Of a log that is not whole only the entities are compared, and that it has nothing of its own making."""
    op = made()
    entities = [(op, alone(op))]
    cloud = stands("cloud", [op])
    check_agreeing(Ledger(), [cloud, stands("tablet", [], entities, whole=False)])
    refused(check_agreeing, Ledger(), [cloud, stands("tablet", [], [], whole=False)], "same entities")
    refused(
        check_agreeing, Ledger(), [cloud, stands("tablet", [op, made()], entities, whole=False)], "has not"
    )


def test_who_was_revoked_is_not_asked() -> None:
    """A tablet that nobody tells anything any more may lack what came later."""
    check_agreeing(Ledger(), [stands("cloud", [made()]), stands("tablet", [], in_touch=False)])


def test_the_last_copy_of_a_lost_op_may_lie_on_a_tablet() -> None:
    """An op of an author who lost it, on a hub that lost it, is left out where another tablet had read it."""
    op = made(device_id=new_id())
    author = stands("tablet-b", [op], device_id=op.device_id)
    holdings = [stands("cloud", []), stands("tablet", [op])]
    ledger = Ledger()
    ledger.authored(op, "tablet-b", 1.0)
    refused(check_agreeing, ledger, holdings, "has not")
    ledger.went_back("hub", back_to=None, at=5.0)
    refused(check_agreeing, ledger, [*holdings, author], "has not")  # who has it still, and brings it
    check_agreeing(ledger, [*holdings, dataclasses.replace(author, ops=(), entities={})])


# ------------------------------------------------------------------------------------------ 3: reading


def read(ledger: Ledger, after: str | None, cursor: str, *ops: tuple[str, int], epoch: str = EPOCH) -> None:
    ledger.read("reader", "hub", HUB_ID, epoch, after=after, cursor=cursor, ops=ops, at_end=True)


def numbered(ops: Sequence[Operation]) -> list[tuple[str, int]]:
    return [(op.op_id, seq) for seq, op in enumerate(ops, 1)]


def test_a_reader_skips_nothing_within_a_page() -> None:
    """A page with a hole in it is a violation."""
    ops = [made(), made(), made()]
    first, _, third = numbered(ops)
    ledger = Ledger()
    read(ledger, None, "3", first, third)
    refused(check_reading, ledger, [stands("hub", ops)], "2 of the ops 1 to 3")


def test_a_reader_skips_nothing_between_pages() -> None:
    """A page that begins behind the place where the one before it ended is a violation."""
    ops = [made(), made(), made()]
    first, _, third = numbered(ops)
    ledger = Ledger()
    read(ledger, None, "1", first)
    read(ledger, "1", "3", third)
    refused(check_reading, ledger, [stands("hub", ops)], "of the ops 2 to 3")


def test_a_front_desks_reader_skips_what_it_may_not_see() -> None:
    """Numbers that a narrow scope is not told are no hole; one that it is told and was not given is."""
    ops = [made(), made(entity_type="Condition"), made(), made()]
    first, _, third, fourth = numbered(ops)
    for given, holds in (((first, third, fourth), True), ((first, fourth), False)):
        ledger = safe(*ops)
        ledger.read("reader", "hub", HUB_ID, EPOCH, after=None, cursor="4", ops=given, scope="front_desk")
        if holds:
            check_reading(ledger, [stands("hub", ops)])
        else:
            refused(check_reading, ledger, [stands("hub", ops)], "skipped")


def test_a_reader_is_given_nothing_twice() -> None:
    """A page that gives again what lies before its cursor is a violation; to ask with an old cursor is none."""
    ops = [made(), made(), made()]
    first, second, third = numbered(ops)
    ledger = Ledger()
    read(ledger, None, "2", first, second)
    read(ledger, "2", "3", second, third)
    refused(check_reading, ledger, [stands("hub", ops)], "after 2")
    ledger = Ledger()
    read(ledger, None, "1", first)
    read(ledger, "1", "3", second, third)
    read(ledger, "1", "3", second, third)  # its answer was lost on the way
    check_reading(ledger, [stands("hub", ops)])


def test_a_number_is_one_op_within_an_epoch() -> None:
    """A server_seq that two were told of two ops is a violation, unless the log went back in between."""
    one, other = made(), made()
    ledger = Ledger()
    for op, at in ((one, 100.0), (other, 1_000.0)):
        ledger.authored(op, "tablet", at)
        ledger.acked(op.op_id, "hub", "hub", HUB_ID, EPOCH, at, seq=1, told="tablet")
    refused(check_reading, ledger, [], "two ops")
    ledger.went_back("hub", back_to=50.0, at=500.0)
    check_reading(ledger, [])


def test_an_op_has_one_number_within_an_epoch() -> None:
    """An op that was answered with two numbers is a violation."""
    op = made()
    ledger = Ledger()
    ledger.authored(op, "tablet", 1.0)
    ledger.acked(op.op_id, "hub", "hub", HUB_ID, EPOCH, 1.0, seq=1, told="tablet")
    ledger.acked(op.op_id, "hub", "hub", HUB_ID, EPOCH, 2.0, seq=2, told="tablet")
    refused(check_reading, ledger, [], "server_seq 2 and 1")


def test_a_resume_leads_behind_nothing_that_the_reader_lacks() -> None:
    """A cursor for what a reader has that stands behind an op that it has not is a violation."""
    ops = [made(), made(), made()]
    first, second, third = numbered(ops)
    for cursor_gives, holds in (((second, third), True), ((third,), False)):
        ledger = Ledger()
        read(ledger, None, "x", first, epoch=new_id())
        ledger.resumed("reader", "hub", HUB_ID, EPOCH, cursor="r", have=[ops[0].op_id], at=2.0)
        read(ledger, "r", "3", *cursor_gives)
        if holds:
            check_reading(ledger, [stands("hub", ops)])
        else:
            assert refused(check_reading, ledger, [stands("hub", ops)]).ops == [ops[1].op_id]


def test_a_reader_that_is_told_that_there_is_no_more_has_all() -> None:
    """Who is told that there is no more, and lacks what somebody was promised before it asked, was passed over."""
    ops = [made(), made()]
    ledger = safe(*ops)
    first, _ = numbered(ops)
    ledger.read(
        "reader", "hub", HUB_ID, EPOCH, after=None, cursor="1", ops=[first], at_end=True, at=9.0, asked=1.5
    )
    check_reading(ledger, [stands("hub", ops)])
    ledger.read(
        "reader", "hub", HUB_ID, EPOCH, after="1", cursor="1", ops=[], at_end=True, at=12.0, asked=11.0
    )
    refused(check_reading, ledger, [stands("hub", ops)], "lacks")
