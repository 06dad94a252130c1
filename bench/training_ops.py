"""The family that the compression dictionary is trained on: rural health centres and their district hospital.

No two records order their keys alike, so each instance writes in a way of its own: as drawn up here, sorted or
shuffled, concepts by display or by text. Nothing is measured with it: `bench/measured_ops.py` is another author,
with other lists and templates.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

import orjson

from bench.ops import Draft, Payload, Scene

T = TypeVar("T")

LOINC: Final = "http://loinc.org"
SNOMED: Final = "http://snomed.info/sct"
UCUM: Final = "http://unitsofmeasure.org"
RXNORM: Final = "http://www.nlm.nih.gov/research/umls/rxnorm"
CVX: Final = "http://hl7.org/fhir/sid/cvx"
TERMS: Final = "http://terminology.hl7.org/CodeSystem/"

# code, display, lowest, highest, decimals, unit, UCUM
VITALS: Final = (
    ("8867-4", "Heart rate", 48, 138, 0, "beats/minute", "/min"),
    ("8310-5", "Body temperature", 35.2, 40.4, 1, "degrees C", "Cel"),
    ("29463-7", "Body weight", 3.1, 104, 1, "kg", "kg"),
    ("8302-2", "Body height", 49, 188, 0, "cm", "cm"),
    ("39156-5", "Body mass index (BMI) [Ratio]", 13, 38, 2, "kg/m2", "kg/m2"),
    ("56072-2", "Circumference Mid upper arm - right", 9, 33, 1, "cm", "cm"),
)
LABS: Final = (
    ("718-7", "Hemoglobin [Mass/volume] in Blood", 5.1, 17.8, 1, "g/dL", "g/dL"),
    ("2339-0", "Glucose [Mass/volume] in Blood", 58, 320, 0, "mg/dL", "mg/dL"),
    ("2160-0", "Creatinine [Mass/volume] in Serum or Plasma", 0.4, 4.2, 2, "mg/dL", "mg/dL"),
    ("6690-2", "Leukocytes [#/volume] in Blood by Automated count", 2.1, 21, 1, "10*3/uL", "10*3/uL"),
    ("777-3", "Platelets [#/volume] in Blood by Automated count", 42, 510, 0, "10*3/uL", "10*3/uL"),
    ("1742-6", "Alanine aminotransferase [Enzymatic activity/volume] in Serum or Plasma", 7, 190, 0, "U/L", "U/L"),
    ("51587-4", "Plasmodium sp Ag [Presence] in Blood", 0, 1, 0, "index", "{index}"),
)  # fmt: skip
MEDICINES: Final = (
    ("308182", "Amoxicillin 250 MG Oral Capsule", 250, "mg", "8h"),
    ("313782", "Acetaminophen 325 MG Oral Tablet", 650, "mg", "6h"),
    ("847728", "Artemether 20 MG / lumefantrine 120 MG Oral Tablet", 4, "tablet", "12h"),
    ("198335", "Sulfamethoxazole 800 MG / Trimethoprim 160 MG Oral Tablet", 1, "tablet", "12h"),
    ("314108", "Metronidazole 500 MG Oral Tablet", 500, "mg", "8h"),
    ("310325", "Ferrous sulfate 325 MG Oral Tablet", 325, "mg", "24h"),
    ("1856546", "Zinc sulfate 20 MG Oral Tablet", 20, "mg", "24h"),
    ("239191", "Ampicillin 500 MG Injection", 500, "mg", "6h"),
)
CONDITIONS: Final = (
    ("61462000", "Malaria"),
    ("233604007", "Pneumonia"),
    ("398032003", "Loose stool"),
    ("271737000", "Anemia"),
    ("54150009", "Upper respiratory infection"),
    ("68566005", "Urinary tract infectious disease"),
    ("238107002", "Deprivation of nutrition"),
    ("56717001", "Tuberculosis"),
)
GIVEN: Final = (
    "Amina", "Baraka", "Chausiku", "Daudi", "Esther", "Faraji", "Grace", "Hamisi", "Imani", "Juma", "Khadija",
    "Lulu", "Mwajuma", "Neema", "Omari", "Pendo", "Rehema", "Salim", "Tatu", "Upendo", "Wema", "Yusuf", "Zuhura",
)  # fmt: skip
SURNAMES: Final = (
    "Abdallah", "Bakari", "Chacha", "Kileo", "Komba", "Lyimo", "Massawe", "Mbwana", "Mushi", "Mwakyusa", "Ngowi",
    "Nyerere", "Rashidi", "Shayo", "Swai", "Temba", "Urassa", "Warioba", "Kessy", "Mrema",
)  # fmt: skip
VILLAGES: Final = ("Marangu", "Kibosho", "Machame", "Mwika", "Rombo Mkuu", "Himo", "Kirua Vunjo", "Uru North")
WARDS: Final = ("Outpatients", "Maternity ward", "Children's ward", "Under-five clinic", "Injection room")
STAFF: Final = ("Sr. Anna Mallya", "Dr. P. Kimaro", "CO Joseph Tarimo", "RN Mary Assey", "Dr. H. Mtui")
DEVICES: Final = ("Welch Allyn Spot", "ward thermometer 3", "hanging scale", "HemoCue 201+")
NOTES: Final = (
    "Fever for {n} days, no convulsions. Mother says the child drinks well.",
    "Cough and fast breathing since {n} days; chest indrawing not seen.",
    "Taken after {n} minutes of rest, patient seated.",
    "Looks better than yesterday, eats half of the meals.",
    "Repeated because the first reading was doubtful ({n} min apart).",
    "Pale conjunctiva. Walks {n} km to the health centre.",
    "Slept under a net; {n} others in the household are ill.",
    "Referred from the dispensary with a letter, waiting since {n}:15.",
    "Vomited {n} times last night, keeps ORS down now.",
)
REASONS: Final = ("Review of laboratory results", "Antenatal visit", "Wound dressing", "Growth monitoring")
AUDITED: Final = ("opened the chart", "printed the lab slip", "searched by name", "closed the visit")
SHORT_NAMES: Final = {"Children's ward": "CW", "Maternity ward": "MW", "Outpatients": "OPD"}


class TrainingFamily:
    """Drafts in the hand of the first author."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._order = scene.rng.choice(("drawn up", "sorted", "shuffled"))
        self._concepts = scene.rng.choice(("display", "display", "text beside", "text beside", "text"))
        self._salt = scene.rng.random()
        self._patients = [scene.past.uuid7() for _ in range(400)]
        self._practitioners = [scene.past.uuid7() for _ in range(12)]
        self._visits = [scene.past.uuid7() for _ in range(60)]
        self._kinds: list[Callable[[], Draft]] = []
        for weight, kind in (
            (28, self._vital), (12, self._lab), (12, self._dose), (12, self._visit), (6, self._patient),
            (7, self._condition), (6, self._prescription), (7, self._appointment), (6, self._audit),
            (4, self._score), (2, self._immunization), (2, self._allergy),
        ):  # fmt: skip
            self._kinds += [kind] * weight

    def draft(self) -> Draft:
        draft = self._scene.rng.choice(self._kinds)()
        return draft if self._order == "drawn up" else replace(draft, payload=self._ordered(draft.payload))

    def _ordered(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._ordered(item) for item in value]
        if not isinstance(value, dict):
            return value
        keys = sorted(value)
        if self._order == "shuffled":
            random.Random(f"{self._salt} {keys}").shuffle(keys)
        return {key: self._ordered(value[key]) for key in keys}

    def _vital(self) -> Draft:
        payload = self._measurement(VITALS, "vital-signs", "Vital Signs")
        if self._often(0.1):
            payload["device"] = {"display": self._one(DEVICES)}
        if self._often(0.1):
            payload["note"] = [{"text": self._note()}]
        return self._scene.create("Observation", payload)

    def _lab(self) -> Draft:
        payload = self._measurement(LABS, "laboratory", "Laboratory")
        if self._often(0.2):
            payload["referenceRange"] = [
                {"text": f"{self._scene.rng.randrange(1, 40)} to {self._scene.rng.randrange(41, 90)}"}
            ]
        if self._often(0.1):
            code, display = self._one((("H", "High"), ("L", "Low"), ("N", "Normal")))
            system = TERMS + "v3-ObservationInterpretation"
            payload["interpretation"] = [{"coding": [{"system": system, "code": code, "display": display}]}]
        return self._scene.create("Observation", payload)

    def _score(self) -> Draft:
        parts = [
            {
                "code": self._concept(LOINC, code, display),
                "valueQuantity": {"value": self._scene.rng.randrange(3)},
            }
            for code, display in (("32406-1", "Apgar color"), ("32407-9", "Apgar heart rate"))
        ]
        payload: Payload = {
            "resourceType": "Observation",
            "status": "final",
            "code": {"text": "Apgar at five minutes"},
            "subject": self._subject(),
            "effectiveDateTime": self._scene.now(),
            "component": parts,
        }
        return self._scene.create("Observation", payload)

    def _measurement(
        self, table: tuple[tuple[str, str, float, float, int, str, str], ...], category: str, label: str
    ) -> Payload:
        code, display, low, high, decimals, unit, ucum = self._one(table)
        payload: Payload = {"resourceType": "Observation", "status": "final"}
        if self._often(0.1):
            system = TERMS + "observation-category"
            payload["category"] = [{"coding": [{"system": system, "code": category, "display": label}]}]
        payload["code"] = self._concept(LOINC, code, display)
        payload["subject"] = self._subject()
        if self._often(0.12):
            payload["encounter"] = {"reference": f"Encounter/{self._one(self._visits)}"}
        payload[self._one(("effectiveDateTime", "effectiveDateTime", "issued"))] = self._scene.now()
        if self._often(0.12):
            payload["performer"] = [self._practitioner()]
        value = orjson.Fragment(f"{self._scene.rng.uniform(low, high):.{decimals}f}")
        quantity: Payload = {"value": value, "unit": unit}
        if self._often(0.25):
            quantity |= {"system": UCUM, "code": ucum}
        payload["valueQuantity"] = quantity
        return payload

    def _dose(self) -> Draft:
        code, display, amount, unit, _ = self._one(MEDICINES)
        payload: Payload = {
            "resourceType": "MedicationAdministration",
            "status": "completed",
            "medicationCodeableConcept": self._concept(RXNORM, code, display),
            "subject": self._subject(),
            "effectiveDateTime": self._scene.now(),
            "dosage": {"dose": {"value": amount, "unit": unit}},
        }
        if self._often(0.15):
            payload["performer"] = [{"actor": {"display": self._one(STAFF)}}]
        return self._scene.create("MedicationAdministration", payload)

    def _visit(self) -> Draft:
        if self._often(0.45):
            ended: Payload = {
                "status": "finished",
                "period": {"start": self._scene.moment(-50), "end": self._scene.now()},
            }
            change = self._scene.change("Encounter", "update", ended)
            if change is not None:
                return change
        ward = self._one(WARDS)
        draft = self._scene.create(
            "Encounter",
            {
                "resourceType": "Encounter",
                "status": "in-progress",
                "class": {"code": "AMB", "display": "ambulatory"},
                "subject": self._subject(),
                "period": {"start": self._scene.now()},
                "reasonCode": [{"text": self._note()}],
                "location": [{"location": {"display": SHORT_NAMES.get(ward, ward)}}],
            },
            changeable=True,
        )
        self._visits[self._scene.rng.randrange(len(self._visits))] = draft.entity.entity_id
        return draft

    def _patient(self) -> Draft:
        rng = self._scene.rng
        phone = f"+2557{rng.randrange(10**8):08d}"
        if self._often(0.35):
            telecom: Payload = {"telecom": [{"system": "phone", "value": phone, "use": "mobile"}]}
            change = self._scene.change("Patient", "update", telecom)
            if change is not None:
                return change
        number = f"KCH-{rng.randrange(10**6):06d}"
        draft = self._scene.create(
            "Patient",
            {
                "resourceType": "Patient",
                "identifier": [{"system": "urn:oid:2.16.840.1.113883.4.1", "value": number}],
                "active": True,
                "name": [{"use": "official", "family": self._one(SURNAMES), "given": [self._one(GIVEN)]}],
                "telecom": [{"system": "phone", "value": phone, "use": "mobile"}],
                "gender": self._one(("female", "male")),
                "birthDate": self._scene.day(-rng.randrange(20, 30_000)),
                "address": [
                    {"use": "home", "city": self._one(VILLAGES), "district": "Moshi Rural", "country": "TZ"}
                ],
            },
            changeable=True,
        )
        self._patients[rng.randrange(len(self._patients))] = draft.entity.entity_id
        return draft

    def _condition(self) -> Draft:
        if self._often(0.2):
            resolved = {"coding": [{"system": TERMS + "condition-clinical", "code": "resolved"}]}
            over: Payload = {"clinicalStatus": resolved, "abatementDateTime": self._scene.now()}
            change = self._scene.change("Condition", "update", over)
            if change is not None:
                return change
        code, display = self._one(CONDITIONS)
        payload: Payload = {
            "resourceType": "Condition",
            "clinicalStatus": {"coding": [{"system": TERMS + "condition-clinical", "code": "active"}]},
            "code": self._concept(SNOMED, code, display),
            "subject": self._subject(),
            "onsetDateTime": self._scene.day(-self._scene.rng.randrange(12)),
        }
        if self._often(0.5):
            payload["note"] = [{"text": self._note()}]
        return self._scene.create("Condition", payload, changeable=True)

    def _prescription(self) -> Draft:
        code, display, amount, unit, every = self._one(MEDICINES)
        days = self._scene.rng.choice((3, 5, 7, 10, 30))
        return self._scene.create(
            "MedicationRequest",
            {
                "resourceType": "MedicationRequest",
                "status": "active",
                "intent": "order",
                "medicationCodeableConcept": self._concept(RXNORM, code, display),
                "subject": self._subject(),
                "authoredOn": self._scene.now(),
                "dosageInstruction": [{"text": f"{amount} {unit} every {every} for {days} days"}],
                "requester": self._practitioner(),
            },
        )

    def _appointment(self) -> Draft:
        if self._often(0.3):
            arrived: Payload = {"status": self._one(("arrived", "noshow", "fulfilled"))}
            change = self._scene.change("Appointment", "update", arrived)
            if change is not None:
                return change
        begins = self._scene.rng.randrange(1, 40) * 60
        return self._scene.create(
            "Appointment",
            {
                "resourceType": "Appointment",
                "status": "booked",
                "description": self._one(REASONS),
                "start": self._scene.moment(begins),
                "end": self._scene.moment(begins + 20),
                "participant": [
                    {"actor": self._subject(), "status": "accepted"},
                    {"actor": {"display": self._one(STAFF)}, "status": "tentative"},
                ],
            },
            changeable=True,
        )

    def _audit(self) -> Draft:
        return self._scene.create(
            "AuditEvent",
            {
                "resourceType": "AuditEvent",
                "type": {"system": TERMS + "audit-event-type", "code": "rest"},
                "action": self._one(("R", "C", "U")),
                "recorded": self._scene.now(),
                "outcome": "0",
                "outcomeDesc": self._one(AUDITED),
                "agent": [{"who": self._practitioner(), "requestor": True}],
                "entity": [{"what": self._subject()}],
            },
        )

    def _immunization(self) -> Draft:
        code, display = self._one(
            (("19", "BCG"), ("89", "polio, unspecified formulation"), ("05", "measles"))
        )
        return self._scene.create(
            "Immunization",
            {
                "resourceType": "Immunization",
                "status": "completed",
                "vaccineCode": self._concept(CVX, code, display),
                "patient": self._subject(),
                "occurrenceDateTime": self._scene.now(),
                "lotNumber": f"T{self._scene.rng.randrange(10**5):05d}",
            },
        )

    def _allergy(self) -> Draft:
        code, display = self._one(
            (("764146007", "Penicillin"), ("387406002", "Sulfonamide"), ("256349002", "Peanut"))
        )
        return self._scene.create(
            "AllergyIntolerance",
            {
                "resourceType": "AllergyIntolerance",
                "clinicalStatus": {
                    "coding": [{"system": TERMS + "allergyintolerance-clinical", "code": "active"}]
                },
                "criticality": self._one(("low", "high")),
                "code": self._concept(SNOMED, code, display),
                "patient": self._subject(),
                "reaction": [
                    {"manifestation": [{"text": self._one(("rash", "swollen lips", "short of breath"))}]}
                ],
            },
        )

    def _concept(self, system: str, code: str, display: str) -> Payload:
        """A CodeableConcept in the way of this record: with its display, with its text, or by text alone."""
        if self._concepts == "text":
            return {"text": display}
        if self._concepts == "display":
            return {"coding": [{"system": system, "code": code, "display": display}]}
        return {"coding": [{"system": system, "code": code}], "text": display}

    def _subject(self) -> Payload:
        return {"reference": f"Patient/{self._one(self._patients)}"}

    def _practitioner(self) -> Payload:
        if self._often(0.5):
            return {"display": self._one(STAFF)}
        return {"reference": f"Practitioner/{self._one(self._practitioners)}"}

    def _note(self) -> str:
        return self._one(NOTES).format(n=self._scene.rng.randrange(2, 15))

    def _often(self, share: float) -> bool:
        return self._scene.rng.random() < share

    def _one(self, values: Sequence[T]) -> T:
        return self._scene.rng.choice(values)
