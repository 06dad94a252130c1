"""The two authors of ops: lawful, the same twice, of the right size, and strangers to each other."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator
from statistics import mean
from typing import Any

import orjson
import pytest
import zstandard

from bench.measured_ops import MeasuredFamily
from bench.ops import Fleet, push_body
from bench.train_dictionary import CHOOSING_SEED, HELD_OUT, REPORTING_SEED, TRAINING_SEED, samples, share
from bench.training_ops import TrainingFamily
from medxz.op import Operation
from medxz.rules import check, decode_op
from medxz.store.dictionaries import shipped_dictionary

FAMILIES = (TrainingFamily, MeasuredFamily)
families = pytest.mark.parametrize("family", FAMILIES)

# what FHIR itself brings: status words, codes of its own value sets, units that are written in one way only
FHIRS_OWN = {
    "final", "completed", "finished", "active", "female", "male", "phone", "mmol/L", "%", "low", "high",
    "AuditEvent", "Observation", "Patient", "Condition", "Encounter", "Appointment", "Immunization",
    "MedicationRequest", "MedicationAdministration",
}  # fmt: skip
NO_WORDS = re.compile(
    r"https?://\S+|[A-Z][A-Za-z]+/[0-9a-f-]{36}|\d{4}-\d\d-\d\d(T[\d:.]+Z)?|[\d .+-]+|\w{1,2}"
)


def written(
    family: type[TrainingFamily | MeasuredFamily], seed: int = 5, count: int = 4_000
) -> list[Operation]:
    fleet = Fleet(family, seed=seed, devices=4)
    return [fleet.take(number % 4, 1)[0] for number in range(count)]


def words(value: Any) -> Iterator[str]:
    """Every text in a payload that somebody chose."""
    if isinstance(value, dict):
        for member in value.values():
            yield from words(member)
    elif isinstance(value, list):
        for member in value:
            yield from words(member)
    elif isinstance(value, str) and not NO_WORDS.fullmatch(value):
        yield re.sub(r"\d+", "#", value)


@families
def test_every_op_is_lawful(family) -> None:
    """Each op passes every rule of the envelope, and reads back as what it was."""
    for op in written(family, count=2_000):
        check(op)
        assert decode_op(op.json()) == op


@families
def test_one_seed_gives_the_same_bytes(family) -> None:
    """Two runs of one seed give the same ops, and another seed gives others."""
    assert push_body(written(family, 5, 300)) == push_body(written(family, 5, 300))
    assert push_body(written(family, 5, 300)) != push_body(written(family, 6, 300))


@families
def test_numbers_have_no_gaps(family) -> None:
    """Each device counts 1, 2, 3 … whoever else writes in between."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for op in written(family, count=400):
        numbers[op.device_id].append(op.device_seq)
    assert len(numbers) == 4
    assert all(own == list(range(1, len(own) + 1)) for own in numbers.values())


@families
def test_op_ids_rise(family) -> None:
    """Op ids come in the order of writing: a UNIQUE index is appended to, not scattered over."""
    op_ids = [op.op_id for op in written(family, count=1_000)]
    assert op_ids == sorted(set(op_ids))


@families
def test_a_change_names_what_it_changes(family) -> None:
    """Every op but a create has for its only parent the newest op of its entity."""
    heads: dict[str, str] = {}
    for op in written(family):
        assert op.parents == ((heads[op.entity_id],) if op.entity_id in heads else ())
        assert (op.op_type == "create") == (not op.parents)
        heads[op.entity_id] = op.op_id


@families
def test_an_op_weighs_about_seven_hundred_bytes(family) -> None:
    """The mean op has 650 to 770 bytes of JSON, and none is out of all proportion."""
    sizes = [len(text) for text in samples(family, 5, 2_000)]
    assert 650 <= mean(sizes) <= 770
    assert 400 <= min(sizes) <= max(sizes) <= 1_500


@families
def test_many_types_are_written(family) -> None:
    """A log holds what a clinic writes: nine types and more, none of them more than half."""
    types = [op.entity_type for op in written(family)]
    assert len(set(types)) >= 9
    assert max(types.count(kind) for kind in set(types)) <= len(types) / 2


def test_the_authors_share_no_words() -> None:
    """No display, name, note or code of one author is in the other's ops; FHIR's own words alone are in both."""
    theirs = {
        family: {word for op in written(family) for word in words(orjson.loads(bytes(op.payload)))}
        for family in FAMILIES
    }
    assert min(map(len, theirs.values())) > 100
    assert theirs[TrainingFamily] & theirs[MeasuredFamily] <= FHIRS_OWN


def test_the_dictionary_was_not_trained_on_what_is_measured() -> None:
    """No sentence of the measured author stands in the dictionary."""
    content = shipped_dictionary()
    notes = {
        word
        for op in written(MeasuredFamily)
        for word in words(orjson.loads(bytes(op.payload)))
        if len(word) > 12
    }
    assert [note for note in notes - FHIRS_OWN if note.encode() in content] == []


def test_the_dictionary_is_worth_its_place() -> None:
    """Another author's ops, each by itself, come to little more than half of what they would without it."""
    dictionary = zstandard.ZstdCompressionDict(shipped_dictionary())
    texts = samples(MeasuredFamily, REPORTING_SEED, HELD_OUT)
    assert share(dictionary, texts) < 0.36
    assert share(dictionary, texts) < 0.6 * share(None, texts)


def test_samples_are_the_same_twice() -> None:
    """What the dictionary is trained on hangs on its seed alone, and the seeds give different samples."""
    digests = [
        hashlib.sha256(b"".join(samples(TrainingFamily, seed, 400))).hexdigest()
        for seed in (TRAINING_SEED, TRAINING_SEED, CHOOSING_SEED)
    ]
    assert digests[0] == digests[1] != digests[2]
