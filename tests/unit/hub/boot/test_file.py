"""The card's file: every mistake is told by its line, in plain words, and what is right counts all the same."""

from __future__ import annotations

import base64
import re
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.boot import forms
from hub.boot.file import BootFile, check_bytes, check_text
from medxz.accounts import codes

TEMPLATE = (files("hub.boot") / "medxz-hub.toml").read_text("utf-8")
CODE = "7KQM-2R9T-WXYZ-3456-HJKM"
BLOB = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32)
KEY = f"ssh-ed25519 {base64.b64encode(BLOB).decode()} you@laptop"
WHOLE = f"""
[cloud]
url = "https://cloud.example/"
code = "{CODE.lower()}"
name = " Reception "

[wifi]
country = "de"
name = "Clinic"
password = 'a "quoted" \\ one'

[network]
address = "192.168.1.20/24"
router = "192.168.1.1"

[ssh]
enabled = true
keys = ["{KEY}"]

[system]
hostname = "Front-Desk"
language = "de_DE"
time_zone = "Europe/Berlin"
"""


def told(text: str) -> list[str]:
    return [str(problem) for problem in check_text(text).problems]


def test_a_whole_file_is_taken_as_it_is_meant() -> None:
    """Case and groups of a code, blanks around a name and a slash behind an address mean nothing."""
    checked = check_text(WHOLE)
    assert checked.problems == ()
    file = checked.file
    assert file.cloud is not None
    assert (file.cloud.url, file.cloud.code, file.cloud.name) == (
        "https://cloud.example", CODE.replace("-", ""), "Reception",
    )  # fmt: skip
    assert file.wifi is not None
    assert (file.wifi.country, file.wifi.password) == ("DE", 'a "quoted" \\ one')
    assert file.system is not None
    assert (file.system.hostname, file.system.language) == ("front-desk", "de_DE.UTF-8")


def test_the_template_asks_for_nothing() -> None:
    """As it is flashed the file is right and says nothing."""
    checked = check_text(TEMPLATE)
    assert checked.problems == ()
    assert checked.file == BootFile()


def test_the_template_has_every_setting() -> None:
    """Each section and each setting stands in the template, ready to be uncommented, and nothing that is unknown."""
    shown = re.sub(r"^#(?=[a-z_]+ = |\[)", "", TEMPLATE, flags=re.MULTILINE)
    assert not [line for line in told(shown) if "no setting" in line or "no section" in line]
    for section, model in BootFile.model_fields.items():
        assert f"\n[{section}]\n" in shown
        part = shown.partition(f"\n[{section}]\n")[2].partition("\n[")[0]
        kind = model.annotation.__args__[0]  # type: ignore[union-attr]
        assert {line.partition(" =")[0] for line in part.splitlines() if re.match("[a-z_]+ =", line)} == set(
            kind.model_fields
        )


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b""], ids=["with the mark of UTF-8", "without"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_windows_editors_are_as_good_as_any(mark: bytes, ending: str) -> None:
    """A mark at the beginning and Windows' line ends change nothing, the numbers of lines neither."""
    text = WHOLE + '\n[cluod]\nurl = "x"\n'
    content = mark + text.replace("\n", ending).encode()
    checked = check_bytes(content)
    assert [problem.line for problem in checked.problems] == [text.splitlines().index("[cluod]") + 1]
    assert checked.file == check_text(WHOLE).file


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[wifi]\n".encode("utf-16"), "UTF-16"),
        (b'[wifi]\nname = "Praxis M\xfcller"\n', "line 2: there is a character that is not UTF-8"),
        (b"#" * 70_000, "larger than"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_text_of_ours_says_why(content: bytes, said: str) -> None:
    """Another coding, and a file of another kind, are told with what to do."""
    [problem] = check_bytes(content).problems
    assert said in str(problem)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[cloud]\nurl = cloud.example\n", "line 2: url: the value can't be read; text stands in quotes"),
        ('[cloud]\nurl = “https://a.example”\n', "line 2: typographic quotes"),
        ('[cloud]\nurl = "http://a.example"\n', "line 2: url: must begin with https://"),
        ('[cloud]\nurl = "https://a.example/x?y"\n', "line 2: url: must be the address alone"),
        ('[cloud]\nurl = "https://a.example"\ncode = "7KQM"\nname = "a"', "line 3: code: a hub's code has 20"),
        ('[cloud]\nurl = "https://a.example"\ncode = "OOOO-0000-IIII-LLLL-UUUU"\nname = "a"', "line 3: code: there are letters"),
        (f'[cloud]\nurl = "https://a.example"\ncode = "{CODE}"\n', "line 1: [cloud]: name is missing"),
        ('[cloud]\nurl = "https://a.example"\nca_file = "../etc/x"', "line 3: ca_file: must be the name"),
        ('[cloud]\nurl "https://a.example"\n', "line 2: an = is missing"),
        ('[cloud\nurl = "https://a.example"\n', "line 1: a closing ] is missing"),
        ('[cloud]\nurl = "https://a.example\n', "line 2: url: the closing quote is missing"),
        ('[cloud]\nurl = "https://a.example"\nurl = "https://b.example"\n', "line 3: url: stands here a second time"),
        ('url = "https://a.example"\n', "line 1: url belongs into the section [cloud]"),
        ('[wifi]\nname = "a"\npassword = "long enough"\n', "line 1: country: is missing"),
        ('[wifi]\ncountry = "DE"\nname = "a"\n', "line 1: [wifi]: password is missing"),
        ('[wifi]\ncountry = "Germany"\nname = "a"\nopen = true\n', "line 2: country: must be the two letters"),
        ('[wifi]\ncountry = "DE"\nname = "a"\npasword = "x"\n', "line 4: pasword is no setting of [wifi]; did you mean password?"),
        ('[wifi]\ncountry = "DE"\nname = "a"\nopen = "yes"\n', "line 4: open: must be true or false"),
        ('[network]\naddress = "192.168.1.20"\n', "line 2: address: the length of the network is missing"),
        ('[network]\naddress = "192.168.1.255/24"\n', "line 2: address: no machine can have the address"),
        ('[network]\naddress = "192.168.1.2/24"\nrouter = "10.0.0.1"\n', "line 1: [network]: the router 10.0.0.1 is not in"),
        ('[network]\naddress = "192.168.1.2/24"\ndns = "1.1.1.1"\n', "line 3: dns: must be a list"),
        ("[ssh]\nenabled = true\n", "line 1: [ssh]: keys is missing"),
        ('[ssh]\nenabled = true\nkeys = ["ssh-ed25519 AAAA"]\n', "line 3: keys: the key is not whole"),
        ('[ssh]\nenabled = true\nkeys = ["-----BEGIN OPENSSH PRIVATE KEY-----"]\n', "line 3: keys: this is a private key"),
        ('[system]\nhostname = "my hub"\n', "line 2: hostname: may have letters"),
        ('[system]\ntime_zone = "Berlin"\n', "line 2: time_zone: "),
        ('[sistem]\nhostname = "hub"\n', "line 1: [sistem] is no section; did you mean system?"),
        ('[data]\nrecovery_key = "abc"\n', "line 2: recovery_key: a recovery key has eight groups"),
        ('[page]\nenabled = 1\n', "line 2: enabled: must be true or false"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_by_its_line(text: str, expected: str) -> None:
    """What is wrong, at which line, and what it must be; one mistake is one line."""
    lines = told(text)
    assert len(lines) == 1, lines
    assert lines[0].startswith(expected), lines


def test_all_mistakes_are_told_together() -> None:
    """A file with ten mistakes of every kind has all of them told at once, in the order of its lines."""
    text = (
        '[cloud]\nurl = "cloud.example"\n\n[wifi\ncountry = DE\nname = “x”\npassword = "short"\n\n'
        '[ssh]\nenabled = "yes"\n\n[netwrk]\n[system]\nhostname = "a b"\nhostnam = "c"\nhostname = "d"\n'
    )
    numbers = [problem.line for problem in check_text(text).problems]
    assert numbers == [2, 4, 5, 6, 7, 10, 12, 14, 15, 16]


def test_a_mistake_leaves_out_its_section_alone() -> None:
    """Wi-Fi works though the code is wrong: what is right counts."""
    checked = check_text(WHOLE.replace(CODE.lower(), "7KQM"))
    assert checked.left_out == {"cloud"}
    assert checked.file.cloud is None
    assert checked.file.wifi is not None
    # with a line that can't be read nobody knows what else the section should say
    checked = check_text(WHOLE.replace('name = "Clinic"', 'name = "Clinic"\nhidden true'))
    assert checked.left_out == {"wifi"}
    assert checked.file.wifi is None


@pytest.mark.parametrize(
    "text",
    [
        f'[cloud]\nurl = "x"\ncode = "{CODE}-SECRET"\nname = 5\n',
        '[wifi]\npassword = "SECRÉT"\n',
        '[wifi]\npassword = "SECRET\n',
        '[data]\nrecovery_key = "SECRET"\n',
        '[ssh]\nenabled = true\nkeys = ["-----BEGIN PRIVATE KEY----- SECRET"]\n',
    ],
)
def test_no_message_has_a_secret_in_it(text: str) -> None:
    """Codes, passwords and keys are told of and never told, and a model does not print them either."""
    assert told(text)
    assert not [line for line in told(text) if "SECR" in line]
    assert CODE.replace("-", "") not in repr(check_text(WHOLE).file)
    assert "quoted" not in repr(check_text(WHOLE).file)


def test_the_clouds_ca_lies_beside_it(tmp_path: Path) -> None:
    """A CA that is named and not there, or no certificate, is told at its line, and the cloud is left out."""
    text = b'[cloud]\nurl = "https://a.example"\nca_file = "ca.pem"\n'
    [missing] = check_bytes(text, tmp_path).problems
    assert str(missing).startswith("line 3: ca_file: there is no readable file ca.pem")
    (tmp_path / "ca.pem").write_text("no certificate")
    [wrong] = check_bytes(text, tmp_path).problems
    assert "has no certificate in it" in wrong.message
    assert check_bytes(text, tmp_path).file.cloud is None


@given(st.text(alphabet=codes.ALPHABET + codes.ALPHABET.lower() + "- ", max_size=30))
def test_a_code_looks_as_the_cloud_makes_it(typed: str) -> None:
    """What is held to be a code's letters, length and plain form is what the cloud's own says."""
    assert (codes.ALPHABET, codes.CHARS["hub"]) == (forms.CODE_ALPHABET, forms.CODE_CHARS)
    assert forms.plain_code(typed) == codes.plain(typed)


@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode)))
def test_nothing_that_lies_on_a_card_stops_a_box(content: bytes) -> None:
    """Whatever is in the file, it is answered with lines that it has."""
    checked = check_bytes(content)
    last = len(content.decode(errors="replace").splitlines()) + content.count(b"\n") + 1
    assert all(0 <= problem.line <= last for problem in checked.problems)


@given(st.data())
def test_a_damaged_file_is_told_of(data: st.DataObject) -> None:
    """A file with a stretch cut out or put in is read, or told of, and never stops a box."""
    begin = data.draw(st.integers(0, len(WHOLE)))
    end = data.draw(st.integers(begin, min(len(WHOLE), begin + 40)))
    text = WHOLE[:begin] + data.draw(st.text(alphabet="\"'[]=\n#\\ a1“", max_size=6)) + WHOLE[end:]
    checked = check_text(text)
    assert checked.left_out <= set(BootFile.model_fields)
