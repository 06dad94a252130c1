"""`medxz` about entities, as real processes against a real hub: what is shown, searched, in conflict, and settled."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medxz.ids import RandomIds
from tests.system.hub_process import DEADLINE_S, HubProcess, environment, wait_until
from tests.system.tablet import PROGRAM, Tablet

pytestmark = pytest.mark.slow
ADA = (
    '{"resourceType":"Patient","name":[{"family":"Müller","given":["Ada"]}],"birthDate":"1980-02-29",'
    '"multipleBirthInteger":2}'
)
TELECOM = '{"telecom":[{"system":"phone","value":"%s"}]}'


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubProcess]:
    """One for each test: another's patients would be found too."""
    process = HubProcess(tmp_path).start("--plain-http", "--no-mdns")
    yield process
    process.kill()


@pytest.fixture
def second(hub: HubProcess, tmp_path: Path) -> Iterator[Tablet]:
    tablet = Tablet(tmp_path / "second", hub).begin()
    yield tablet
    tablet.end()


def torn(first: Tablet, second: Tablet) -> tuple[str, dict[str, Any]]:
    """A patient whose phone two devices changed at once, and the conflict."""
    patient = first.record(ADA)["entity_id"]
    first.ask("sync")
    second.ask("sync")
    for tablet, number in ((first, "1"), (second, "2")):
        tablet.record(TELECOM % number, "--op", "update", "--id", patient)
    first.ask("sync")
    done = second.ask("sync")
    assert done["open_conflicts"] == 1
    [conflict] = second.ask("conflicts")["conflicts"]
    return patient, conflict


def test_from_conflict_to_its_end(first: Tablet, second: Tablet) -> None:
    """A conflict is shown with both sides, settled by a number of one of them, and gone on both devices; history tells it."""
    patient, conflict = torn(first, second)
    shown = second.run("conflicts").stdout
    assert all(
        said in shown for said in (first.device_id, second.device_id, '"value":"1"', '"value":"2"', "telecom")
    )
    assert second.ask("show", "Patient", patient)["conflicts"] == [conflict]
    assert second.ask("conflicts", conflict["conflict_id"]) == conflict
    settled = second.ask("resolve", conflict["conflict_id"], "--take", "1", "--reason", "asked Ada")
    assert settled["open_conflicts"] == []
    second.ask("sync")
    first.ask("sync")
    for tablet in (first, second):
        assert tablet.ask("status")["open_conflicts"] == 0
        state = tablet.ask("show", "Patient", patient)["state"]
        assert state["telecom"] == conflict["sides"][0]["values"]["telecom"]
        [resolved] = tablet.ask("conflicts", "--state", "resolved")["conflicts"]
        assert resolved["resolved_by"] == settled["op_id"]
    history = first.ask("history", "Patient", patient, "--limit", "3")
    assert [item["op_type"] for item in history["history"]] == ["create", "update", "update"]
    rest = first.ask("history", "Patient", patient, "--cursor", history["next_cursor"])
    assert (rest["history"][0]["op_type"], rest["next_cursor"]) == ("resolve", None)
    told = first.run("history", "Patient", patient).stdout
    assert "~ telecom: " in told
    assert '"asked Ada"' in told
    assert f"settled conflict {conflict['conflict_id']}" in told


def test_lists_and_searches(first: Tablet) -> None:
    """Patients are found by what people type, entities by type, patient and date, in pages."""
    patient = first.record(ADA)["entity_id"]
    for day in ("20", "21"):
        first.ask(
            "record", "--type", "Observation", "--op", "create", "--payload",
            '{"resourceType":"Observation","status":"final","code":{"text":"Pulse"},"subject":{"reference":"Patient/'
            + patient + '"},"effectiveDateTime":"2026-11-' + day + '","valueQuantity":{"value":72.50}}',
        )  # fmt: skip
    found = first.run("search", "muller 1980", "--json").stdout
    assert patient in found
    assert '"multipleBirthInteger":2' in found
    assert first.ask("search", "meier")["entities"] == []
    assert '"value":72.50' in first.run("list", "Observation", "--json").stdout, "byte for byte"
    page = first.ask("list", "Observation", "--limit", "1")
    rest = first.ask("list", "Observation", "--cursor", page["next_cursor"])
    assert len(page["entities"]) == len(rest["entities"]) == 1
    dated = first.ask("list", "Observation", "--patient", patient, "--from", "2026-11-21", "--to", "2026")
    assert [item["state"]["effectiveDateTime"] for item in dated["entities"]] == ["2026-11-21"]
    assert patient in first.run("list", "Patient").stdout


NOT_TO_BE_DONE = (
    (("show", "Patient", RandomIds().uuid7()), 1, "there is no Patient/"),
    (("show", "Patient", "x"), 2, "not a UUID"),
    (("history", "Patient", RandomIds().uuid7()), 1, "there is no Patient/"),
    (("conflicts", RandomIds().uuid7()), 1, "there is no conflict"),
    (("resolve", RandomIds().uuid7(), "--take", "1", "--reason", "x"), 1, "there is no conflict"),
    (("resolve", "x", "--take", "1", "--reason", "x"), 2, "not a UUID"),
    (("list", "Patient", "--from", "2026"), 2, "--patient"),
    (("list", "Observation", "--patient", RandomIds().uuid7(), "--from", "soon"), 2, "must be a date"),
)


def test_what_can_not_be_done(first: Tablet) -> None:
    """What is not there ends with status 1, what was asked wrongly with 2; both say what is wrong."""
    for arguments, status, said in NOT_TO_BE_DONE:
        done = first.run(*arguments, "--json")
        assert (done.returncode, said in done.stderr) == (status, True), done.stderr
        assert json.loads(done.stderr)["message"]


def test_decisions_that_are_none(first: Tablet, second: Tablet) -> None:
    """Without a decision or a reason nothing is recorded, and the status says wrong usage."""
    _, conflict = torn(first, second)
    for words in ((), ("--take", "1"), ("--reason", "x"), ("--take", "3", "--reason", "x"),
                  ("--take", "1", "--take", "telecom=2", "--reason", "x"), ("--set", "telecom", "--reason", "x"),
                  ("--set", "telecom={", "--reason", "x"), ("--payload", "[", "--reason", "x")):  # fmt: skip
        done = second.run("resolve", conflict["conflict_id"], *words)
        assert done.returncode == 2, (words, done.stderr)
    assert second.ask("status")["open_conflicts"] == 1
    value = '[{"system":"phone","value":"3"}]'
    second.ask("resolve", conflict["conflict_id"], "--set", f"telecom={value}", "--reason", "a new one")
    assert second.ask("status")["open_conflicts"] == 0


def test_asked_on_a_terminal(first: Tablet, second: Tablet) -> None:
    """On a terminal both sides stand beside each other, and it is asked for each field whose value is to stand, and why."""
    patient, conflict = torn(first, second)
    terminal, inner = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, "resolve", "--store", str(second.store), conflict["conflict_id"]],
        stdin=inner, stdout=inner, stderr=inner, env=environment() | {"COLUMNS": "160", "TERM": "xterm", "NO_COLOR": "1"},
    )  # fmt: skip
    os.close(inner)
    shown = ""
    for question, said in (("telecom: which side", "1\n"), ("why", "asked Ada\n")):
        while question not in shown:
            shown += os.read(terminal, 4_096).decode()
        os.write(terminal, said.encode())
    process.wait(DEADLINE_S)
    os.close(terminal)
    assert process.returncode == 0
    assert all(device_id in shown for device_id in (first.device_id, second.device_id))
    state = second.ask("show", "Patient", patient)["state"]
    assert state["telecom"] == conflict["sides"][0]["values"]["telecom"]


def test_reading_beside_a_watch(first: Tablet, second: Tablet) -> None:
    """While `watch` has the store, what arrives is listed by others at once, and settling has to wait its turn."""
    watching, _ = second.watch()
    patient = first.record(ADA)["entity_id"]
    first.ask("sync")
    wait_until(lambda: bool(second.ask("search", "Müller 1980-02-29")["entities"]), "the patient in a search")
    assert patient in {item["entity_id"] for item in second.ask("list", "Patient")["entities"]}
    refused = second.run("resolve", f"Patient/{patient}", "--set", "active=true", "--reason", "x")
    assert refused.returncode == 1
    assert "in use" in refused.stderr
    watching.terminate()
    watching.communicate(timeout=DEADLINE_S)
    second.ask("resolve", f"Patient/{patient}", "--set", "active=true", "--reason", "x")
    assert second.ask("show", "Patient", patient)["state"]["active"] is True
