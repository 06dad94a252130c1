"""What clinicians write in a world: few entities that many touch, lawful payloads, and numbers whose digits must survive."""

from __future__ import annotations

import random
from typing import Final

TYPES: Final = ("Patient", "Observation", "Condition", "Encounter")
"""One of each policy, and a second one that merges; no tablet of the front desk may write the middle two."""
UNHEARD_OF: Final = "Constellation"
NEWER_VERSION: Final = 7

_FAMILIES: Final = ("Achieng", "Barasa", "Chebet", "Daudi")
_SUBJECT: Final = '"subject":{"reference":"Patient/01900000-0000-7000-8000-000000000001"}'


def whole(entity_type: str, chance: random.Random, mark: str) -> str:
    """A resource, as a create or an amend has it. `mark` stands in it, so that it is known where it went astray."""
    number = chance.randrange(1_000)
    match entity_type:
        case "Patient":
            family = chance.choice(_FAMILIES)
            return (
                f'{{"name":[{{"family":"{family} {number}","text":"{mark}"}}],"gender":"{_gender(chance)}",'
                f'"telecom":[{{"system":"phone","value":"{number}"}}]}}'
            )
        case "Observation":
            return f'{{"status":"final","code":{{"text":"weight {mark}"}},"valueQuantity":{{"value":{number}.50}}}}'
        case "Condition":
            return f'{{{_SUBJECT},"code":{{"text":"{number}"}},"note":[{{"text":"{mark}"}}]}}'
        case "Encounter":
            return (
                f'{{"status":"planned","class":{{"code":"AMB"}},"serviceType":{{"text":"{mark} {number}"}}}}'
            )
        case _:
            return f'{{"stars":{number}.500,"digits":{10**22 + number},"name":"{mark}"}}'


def patch(entity_type: str, chance: random.Random, mark: str) -> str:
    """An update: one or two top-level fields, now and then one that goes."""
    number = chance.randrange(1_000)
    fields = {
        "Patient": (
            f'"gender":"{_gender(chance)}"',
            f'"telecom":[{{"system":"phone","value":"{number}"}}]',
            '"active":null',
        ),
        "Condition": (
            f'"code":{{"text":"{number}"}}',
            f'"note":[{{"text":"{number} {mark}"}}]',
            '"note":null',
        ),
        "Encounter": (f'"serviceType":{{"text":"{number}"}}', '"status":"arrived"', '"serviceType":null'),
    }.get(entity_type, (f'"stars":{number}.0', '"name":null'))
    return "{" + ",".join(chance.sample(fields, chance.randint(1, min(2, len(fields))))) + "}"


def _gender(chance: random.Random) -> str:
    return chance.choice(("female", "male", "other"))
