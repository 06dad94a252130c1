"""The family that is measured: a city clinic by the sea and its two health posts, in another program's hand.

It shares with `bench/training_ops.py` what FHIR itself brings (names of fields, addresses of code systems, status
words) and nothing else: other lists, other templates, another order of keys. No dictionary is trained on it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson

from bench.ops import Draft, Payload, Scene

SIGNS: Final = {
    "9279-1": ("Respiratory rate", "breaths/min", (9, 41), "%d"),
    "59408-5": ("Oxygen saturation in Arterial blood by Pulse oximetry", "%", (84, 100), "%d"),
    "38208-5": ("Pain severity - Reported", "{score}", (0, 10), "%d"),
    "8287-5": ("Head Occipital-frontal circumference by Tape measure", "centimetres", (31, 52), "%.1f"),
    "8280-0": ("Waist Circumference at umbilicus by Tape measure", "centimetres", (58, 131), "%.1f"),
    "9269-2": ("Glasgow coma score total", "points", (6, 15), "%d"),
}
CHEMISTRY: Final = {
    "2823-3": ("Potassium [Moles/volume] in Serum or Plasma", "mmol/L", (2.7, 6.4), "%.1f", "3.5 - 5.1"),
    "2951-2": ("Sodium [Moles/volume] in Serum or Plasma", "mmol/L", (121, 152), "%d", "136 - 145"),
    "4548-4": ("Hemoglobin A1c/Hemoglobin.total in Blood", "% of total", (4.6, 13.2), "%.2f", "4.0 - 5.6"),
    "3094-0": ("Urea nitrogen [Mass/volume] in Serum or Plasma", "mg/100mL", (5, 64), "%d", "7 - 20"),
    "1988-5": ("C reactive protein [Mass/volume] in Serum or Plasma", "mg/L", (0.3, 188), "%.1f", "< 5"),
    "2093-3": ("Cholesterol [Mass/volume] in Serum or Plasma", "mg/100mL", (102, 318), "%d", "< 200"),
    "789-8": ("Erythrocytes [#/volume] in Blood by Automated count", "million/uL", (2.6, 6.3), "%.2f", "4.1 - 5.9"),
    "14627-4": ("Bicarbonate [Moles/volume] in Venous blood", "mmol/L", (14, 31), "%.1f", "22 - 29"),
}  # fmt: skip
DRUGS: Final = (
    ("C09AA02", "Enalapril maleate 10 mg tab", "1 tab OD in the morning"),
    ("A10BA02", "Metformin HCl 500 mg tab", "1 tab BID with meals"),
    ("C08CA01", "Amlodipine besilate 5 mg tab", "1 tab OD at bedtime"),
    ("R03AC02", "Salbutamol 100 mcg/puff MDI", "2 puffs q4h as needed for wheeze"),
    ("A02BC01", "Omeprazole 20 mg cap", "1 cap OD before breakfast"),
    ("C10AA01", "Simvastatin 20 mg tab", "1 tab OD after supper"),
    ("J01DD04", "Ceftriaxone 1 g vial", "1 g IV OD after negative skin test"),
    ("R06AE07", "Cetirizine 10 mg tab", "1 tab OD for itch, may cause drowsiness"),
    ("C03CA01", "Furosemide 40 mg tab", "half tab OD, weigh daily"),
)
DIAGNOSES: Final = (
    ("I10", "38341003", "Essential (primary) hypertension"),
    ("E11.9", "44054006", "Type 2 diabetes mellitus without complications"),
    ("J45.9", "195967001", "Asthma, unspecified"),
    ("K29.7", "4556007", "Gastritis, unspecified"),
    ("A91", "20927009", "Dengue haemorrhagic fever"),
    ("L20.9", "24079001", "Atopic dermatitis, unspecified"),
    ("M54.5", "279039007", "Low back pain"),
    ("N18.3", "433144002", "Chronic kidney disease, stage 3"),
)
FIRST_NAMES: Final = (
    "Maria Luz", "Jose Miguel", "Althea", "Rodel", "Cristina", "Benjie", "Lourdes", "Nathaniel", "Jocelyn", "Efren",
    "Princess Mae", "Carlo", "Rosalinda", "Dodong", "Angelica", "Renato", "Marites", "Jun-jun", "Imelda", "Arvin",
)  # fmt: skip
LAST_NAMES: Final = (
    "Dela Cruz", "Villanueva", "Bautista", "Ocampo", "Magsaysay", "Santiago", "Peñaflor", "Alcantara", "Macaraeg",
    "Dimaculangan", "Sarmiento", "Gatdula", "Lacson", "Ibañez", "Tolentino", "Pangilinan", "Abueva", "Yumul",
)  # fmt: skip
BARANGAYS: Final = (
    "Brgy. Poblacion",
    "Brgy. San Isidro",
    "Brgy. Mabini",
    "Purok 4, Looc",
    "Sitio Baybay",
    "Brgy. Talon",
)
CLINICIANS: Final = (
    "C. Villaruel, MD",
    "R. Manlapig, RN",
    "T. Aguinaldo, RMT",
    "L. Evangelista, MD",
    "B. Roxas, RM",
)
REMARKS: Final = (
    "pt seen w/ daughter, complains of on-and-off headache x {d} wks, worse in PM",
    "BP meds missed for {d} days because of work at the port. Advised re compliance.",
    "s/p nebulization x{d}, wheeze decreased, SOB relieved",
    "No known exposure. Last meal {d} hours PTA.",
    "TCB after {d} days with CBC + fasting sugar result",
    "ambulatory, not in distress, cuff: large adult, L arm",
    "Feet inspected: no ulcer, sensation intact at {d}/10 points",
    "Rash started {d} days ago after eating shellfish; lungs clear",
    "hemolyzed sample, extracted again by RMT on duty",
    "Walks along the seawall {d}x a week, stopped smoking",
)
COMPLAINTS: Final = (
    "Follow-up: hypertension",
    "Prenatal consult 2nd trimester",
    "Suture removal",
    "Diabetes club day",
)
ACTIONS: Final = (
    "vitals chart viewed",
    "referral letter exported",
    "med history viewed",
    "consent form signed off",
)
POSTS: Final = ("Main clinic - Rm 2", "Health post Looc", "Health post Mabini", "Teleconsult booth")


class MeasuredFamily:
    """Drafts in the hand of the second author."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.rng = scene, scene.rng
        self.registered = [scene.past.uuid7() for _ in range(650)]
        self.consults = [scene.past.uuid7() for _ in range(40)]
        self.staff = [scene.past.uuid7() for _ in range(9)]
        self.shares: dict[Callable[[], Draft], int] = {
            self.sign: 21, self.pressure: 8, self.result: 14, self.given: 11, self.consult: 14, self.person: 7,
            self.diagnosis: 7, self.order: 6, self.booking: 6, self.trail: 5, self.shot: 1,
        }  # fmt: skip
        self.turns = list(self.shares)
        self.weights = list(self.shares.values())

    def draft(self) -> Draft:
        return self.rng.choices(self.turns, self.weights)[0]()

    def sign(self) -> Draft:
        code = self.rng.choice(list(SIGNS))
        title, unit, span, form = SIGNS[code]
        body: dict[str, Any] = {
            "subject": self.of_patient(),
            "resourceType": "Observation",
            "effectiveDateTime": self.scene.moment(-self.rng.randrange(9)),
            "code": {"text": title, "coding": [{"code": code, "system": "http://loinc.org"}]},
            "status": "final",
            "valueQuantity": {"unit": unit, "value": orjson.Fragment(form % self.rng.uniform(*span))},
        }
        if self.rng.random() < 0.2:
            body["performer"] = [{"reference": f"Practitioner/{self.rng.choice(self.staff)}"}]
        if self.rng.random() < 0.15:
            body["note"] = [{"text": self.remark()}]
        return self.scene.create("Observation", body)

    def pressure(self) -> Draft:
        parts = [
            {
                "code": {"coding": [{"code": code, "system": "http://loinc.org"}]},
                "valueQuantity": {"unit": "mmHg", "value": self.rng.randrange(low, high)},
            }
            for code, low, high in (("8480-6", 88, 192), ("8462-4", 51, 118))
        ]
        return self.scene.create(
            "Observation",
            {
                "subject": self.of_patient(),
                "resourceType": "Observation",
                "effectiveDateTime": self.scene.now(),
                "code": {"text": "BP"},
                "component": parts,
                "status": "final",
            },
        )

    def result(self) -> Draft:
        code = self.rng.choice(list(CHEMISTRY))
        title, unit, span, form, normal = CHEMISTRY[code]
        body: dict[str, Any] = {
            "subject": self.of_patient(),
            "resourceType": "Observation",
            "issued": self.scene.now(),
            "code": {"text": title, "coding": [{"code": code, "system": "http://loinc.org"}]},
            "status": "preliminary" if self.rng.random() < 0.1 else "final",
            "valueQuantity": {"unit": unit, "value": orjson.Fragment(form % self.rng.uniform(*span))},
        }
        if self.rng.random() < 0.4:
            body["referenceRange"] = [{"text": normal}]
        if self.rng.random() < 0.1:
            body["specimen"] = {"display": f"venous, tube {self.rng.randrange(1000, 9999)}"}
        return self.scene.create("Observation", body)

    def given(self) -> Draft:
        code, label, _ = self.rng.choice(DRUGS)
        body: dict[str, Any] = {
            "subject": self.of_patient(),
            "resourceType": "MedicationAdministration",
            "medicationCodeableConcept": {
                "text": label,
                "coding": [{"code": code, "system": "http://www.whocc.no/atc"}],
            },
            "status": "completed",
            "effectivePeriod": {"start": self.scene.moment(-2)},
        }
        if self.rng.random() < 0.3:
            body["context"] = {"reference": f"Encounter/{self.rng.choice(self.consults)}"}
        if self.rng.random() < 0.2:
            body["note"] = [{"text": self.remark()}]
        return self.scene.create("MedicationAdministration", body)

    def consult(self) -> Draft:
        if self.rng.random() < 0.4:
            closing = {
                "period": {"end": self.scene.now(), "start": self.scene.moment(-35)},
                "status": "finished",
            }
            changed = self.scene.change("Encounter", "update", closing)
            if changed is not None:
                return changed
        draft = self.scene.create(
            "Encounter",
            {
                "subject": self.of_patient(),
                "resourceType": "Encounter",
                "period": {"start": self.scene.now()},
                "serviceProvider": {"display": self.rng.choice(POSTS)},
                "reasonCode": [{"text": self.remark()}],
                "status": "triaged",
                "class": {"code": "VR" if self.rng.random() < 0.1 else "SS"},
            },
            changeable=True,
        )
        self.consults[self.rng.randrange(40)] = draft.entity.entity_id
        return draft

    def person(self) -> Draft:
        mobile = f"0917 {self.rng.randrange(1000):03d} {self.rng.randrange(10_000):04d}"
        if self.rng.random() < 0.4:
            moved = {"address": [{"line": [self.rng.choice(BARANGAYS)]}], "telecom": [{"value": mobile}]}
            changed = self.scene.change("Patient", "update", moved)
            if changed is not None:
                return changed
        given, family = self.rng.choice(FIRST_NAMES), self.rng.choice(LAST_NAMES)
        body: dict[str, Any] = {
            "birthDate": self.scene.day(-self.rng.randrange(30, 31_000)),
            "gender": "female" if self.rng.random() < 0.56 else "male",
            "name": [{"text": f"{given} {family}", "given": given.split(), "family": family}],
            "resourceType": "Patient",
            "address": [
                {"line": [self.rng.choice(BARANGAYS)], "postalCode": str(4200 + self.rng.randrange(40))}
            ],
            "telecom": [{"value": mobile, "system": "phone"}],
            "identifier": [{"value": f"{self.rng.randrange(10**12):012d}", "system": "urn:philhealth:pin"}],
        }
        if self.rng.random() < 0.15:
            body["contact"] = [{"name": {"text": f"{self.rng.choice(FIRST_NAMES)} {family}"}}]
        draft = self.scene.create("Patient", body, changeable=True)
        self.registered[self.rng.randrange(650)] = draft.entity.entity_id
        return draft

    def diagnosis(self) -> Draft:
        if self.rng.random() < 0.2:
            changed = self.scene.change("Condition", "amend", self.problem())
            if changed is not None:
                return changed
        return self.scene.create("Condition", self.problem(), changeable=True)

    def problem(self) -> Payload:
        icd, snomed, title = self.rng.choice(DIAGNOSES)
        codings = [{"code": icd, "system": "http://hl7.org/fhir/sid/icd-10"}]
        if self.rng.random() < 0.25:
            codings.append({"code": snomed, "system": "http://snomed.info/sct"})
        body: Payload = {
            "subject": self.of_patient(),
            "resourceType": "Condition",
            "code": {"text": title, "coding": codings},
            "recordedDate": self.scene.now(),
        }
        if self.rng.random() < 0.4:
            body["note"] = [{"text": self.remark()}]
        return body

    def order(self) -> Draft:
        code, label, sig = self.rng.choice(DRUGS)
        return self.scene.create(
            "MedicationRequest",
            {
                "subject": self.of_patient(),
                "resourceType": "MedicationRequest",
                "medicationCodeableConcept": {"text": label, "coding": [{"code": code}]},
                "dosageInstruction": [{"text": sig}],
                "dispenseRequest": {"quantity": {"value": self.rng.choice((7, 14, 21, 28, 60))}},
                "requester": {"display": self.rng.choice(CLINICIANS)},
                "intent": "plan",
                "status": "active",
            },
        )

    def booking(self) -> Draft:
        if self.rng.random() < 0.35:
            reason = {
                "status": "cancelled",
                "cancelationReason": {"text": f"sent SMS, moved {self.rng.randrange(2, 9)} d"},
            }
            changed = self.scene.change("Appointment", "update", reason)
            if changed is not None:
                return changed
        ahead = self.rng.randrange(3, 90) * 480
        return self.scene.create(
            "Appointment",
            {
                "participant": [{"status": "needs-action", "actor": self.of_patient()}],
                "resourceType": "Appointment",
                "minutesDuration": 15,
                "start": self.scene.moment(ahead),
                "serviceType": [{"text": self.rng.choice(COMPLAINTS)}],
                "comment": self.remark(),
                "status": "proposed",
            },
            changeable=True,
        )

    def trail(self) -> Draft:
        return self.scene.create(
            "AuditEvent",
            {
                "recorded": self.scene.now(),
                "resourceType": "AuditEvent",
                "entity": [{"what": self.of_patient(), "description": self.rng.choice(ACTIONS)}],
                "agent": [{"name": self.rng.choice(CLINICIANS), "requestor": False}],
                "action": "E",
                "source": {"site": self.rng.choice(POSTS)},
            },
        )

    def shot(self) -> Draft:
        name = self.rng.choice(("Flu quadrivalent 2026", "Pneumo PPV23", "Td booster", "Hep B (adult)"))
        return self.scene.create(
            "Immunization",
            {
                "patient": self.of_patient(),
                "resourceType": "Immunization",
                "vaccineCode": {"text": name},
                "occurrenceString": "given at barangay caravan",
                "expirationDate": self.scene.day(self.rng.randrange(40, 700)),
                "status": "completed",
            },
        )

    def of_patient(self) -> Payload:
        return {"reference": f"Patient/{self.rng.choice(self.registered)}"}

    def remark(self) -> str:
        return self.rng.choice(REMARKS).format(d=self.rng.randrange(2, 11))
