"""Inputs made of other inputs, from a seed: byte by byte, and member by member where they are JSON.

The JSON here is text with a shape: what is put in may be a repeated name, a lone surrogate, a number of a thousand
digits or no JSON at all, which no library would write.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

Node = "tuple[str, list[list[Node]]] | str"  # an object or an array of its pieces; anything else is its text

HOSTILE: Final = (
    b"\x00", b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\n", b"\r\n", b"\\", b'"', b"{", b"[", b"]}", b",", b":", b"%00",
    b"../", b"//", b"\xef\xbb\xbf", b"=", b"-", b".", b"\xf0\x9f\x98\x80", b"\x7f", b"\x80", b"0", b"\xe2\x80\xa8", b" ",
)  # fmt: skip
TEXTS: Final = (
    "null", "true", "false", "0", "-1", "1", "-0", "1.0", "1e0", "9007199254740991", "9007199254740992", "1e400",
    "1" * 40, "1" * 5_000, "0.1e-400", "NaN", "Infinity", '""', '"\\u0000"', '"\\ud800"', '"\\udc00\\ud800"', '"a\nb"',
    '"\x00"', '"\\ud83d\\ude00"', '"' + "x" * 300 + '"', "[]", "{}", "[[]]", '{"":0}', "[" * 70 + "]" * 70, "[" * 1_500 + "]" * 1_500,
    '{"a":' * 66 + "1" + "}" * 66, '{"a":1,"a":2}', "[null]", '"\xff"', "", "01", "+1", ".5", '"%00"', '"\\/"', "1E+2",
    '{"a":1,"\\u0061":2}', '"__proto__"', '"constructor"', "'a'", "/**/1", '"019a8c5e-7d0f-7b11-8d55-6f0e2c4b8a77"',
    '"019A8C5E-7D0F-7B11-8D55-6F0E2C4B8A77"', '"019a8c5e-7d0f-7b11-8d55-6f0e2c4b8a77\\n"', '"2026-02-30T10:00:00.000Z"',
    '"2026-11-21T10:00:00.000Z"', '"2026-11-21T24:00:00.000Z"', '"9999-12-31T23:59:59.999Z"', '"create"', '"retract"',
    '"Patient"', '"Observation"', '"Aa\\n"', '"١٢٣"', '"\u212a"',
)  # fmt: skip


def changed(data: bytes, others: Sequence[bytes], random: Random, *, is_json: bool, bytes_max: int) -> bytes:
    """Another input, made of this one and perhaps of a piece of another."""
    if is_json and random.random() < 0.7:
        data = changed_json(data, random)
        if random.random() < 0.7:
            return data[:bytes_max]
    for _ in range(random.choice((1, 1, 2, 4))):
        data = _changed_bytes(data, others, random)
    return data[:bytes_max]


def _changed_bytes(data: bytes, others: Sequence[bytes], random: Random) -> bytes:  # noqa: PLR0911  one of nine
    at = random.randint(0, len(data))
    to = min(len(data), at + random.choice((1, 1, 2, 4, 16, 64)))
    match random.randrange(9):
        case 0 if data:
            at = min(at, len(data) - 1)
            return data[:at] + bytes([data[at] ^ (1 << random.randrange(8))]) + data[at + 1 :]
        case 1:
            return data[:at] + data[to:]
        case 2:
            return data[:at] + random.choice(HOSTILE) + data[at:]
        case 3:
            return data[:to] + data[at:to] * random.choice((1, 1, 3, 50)) + data[to:]
        case 4:
            return data[:at] + random.randbytes(to - at) + data[to:]
        case 5:
            return data[:at]
        case 6 if others:
            other = random.choice(others)
            return data[:at] + other[random.randint(0, len(other)) :]
        case 7 if others:
            other = random.choice(others)
            start = random.randint(0, len(other))
            return data[:at] + other[start : start + random.randint(1, 64)] + data[to:]
        case _:
            return data[:at] + random.choice(HOSTILE) + data[to:]


def changed_json(data: bytes, random: Random) -> bytes:
    """The same text with a few of its members others; as it is where it has no shape."""
    before = min((at for at in (data.find(b"{"), data.find(b"[")) if at >= 0), default=0)
    text = data[before:].decode("utf-8", "surrogateescape")
    try:
        root, end = _read(text, 0)
    except (ValueError, IndexError, RecursionError):
        return data
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        places = _places(root)
        if not places:
            return data[:before] + random.choice(TEXTS).encode("utf-8", "surrogateescape")
        _change(*random.choice(places), random, places)
    return data[:before] + (_text(root) + text[end:]).encode("utf-8", "surrogateescape")


def _change(items: list[list[object]], at: int, random: Random, places: list[tuple]) -> None:
    item = items[at]
    match random.randrange(7):
        case 0:
            del items[at]
        case 1:
            items.insert(random.randint(0, len(items)), list(item))
        case 2 if len(item) == 2:
            item[0] = random.choice(
                (f'"{chr(random.randrange(32, 0x300))}"', '"op_id"', '""', '"\\u006fp_id"')
            )
        case 3:
            others, place = random.choice(places)
            item[-1] = others[place][-1]
        case 4:
            random.shuffle(items)
        case 5 if isinstance(item[-1], str) and item[-1].startswith('"') and len(item[-1]) > 2:
            text = item[-1]
            cut = random.randrange(1, len(text))
            put = random.choice(("a", "0", "\\n", "\\u0000", "é", "😀", " ", "\\ud800", "/", "Z", "-"))
            item[-1] = text[:cut] + put + text[cut + random.randint(0, 1) :]
        case _:
            item[-1] = random.choice(TEXTS)


def _places(root: object) -> list[tuple[list[list[object]], int]]:
    found: list[tuple[list[list[object]], int]] = []
    stack = [root]
    while stack and len(found) < 2_000:
        node = stack.pop()
        if isinstance(node, tuple):
            found += [(node[1], at) for at in range(len(node[1]))]
            stack += [item[-1] for item in node[1]]
    return found


def _text(root: object) -> str:
    """A node's text; a node may stand in itself, so that there is an end to it."""
    left = 20_000

    def told(node: object, depth: int) -> str:
        nonlocal left
        left -= 8
        if isinstance(node, str):
            left -= len(node)
            return node if left > 0 else "0"
        assert isinstance(node, tuple), "an object or an array"
        kind, items = node
        if left < 0 or depth > 150:  # where it is a node within itself
            return "0"
        inner = ",".join(":".join([*item[:-1], told(item[-1], depth + 1)]) for item in items)
        return f"{{{inner}}}" if kind == "{" else f"[{inner}]"

    return told(root, 0)


_SPACE: Final = " \t\r\n"
_ENDS: Final = ",]}: \t\r\n"


def _read(text: str, at: int, depth: int = 0) -> tuple[object, int]:
    """A node and where it ends. Lenient: whatever can be given a shape gets one."""
    if depth > 100:
        raise ValueError("too deep")
    at = _past(text, at)
    if text[at] not in "{[":
        return _word(text, at)
    kind, end = text[at], "}" if text[at] == "{" else "]"
    items: list[list[object]] = []
    at = _past(text, at + 1)
    while text[at] != end:
        item: list[object] = []
        if kind == "{":
            name, at = _word(text, at)
            item.append(name)
            at = _past(text, at)
            if text[at] != ":":
                raise ValueError("no colon")
            at += 1
        value, at = _read(text, at, depth + 1)
        items.append([*item, value])
        at = _past(text, at)
        if text[at] == ",":
            at = _past(text, at + 1)
    return (kind, items), at + 1


def _word(text: str, at: int) -> tuple[str, int]:
    end = at + 1
    if text[at] == '"':
        while text[end] != '"':
            end += 2 if text[end] == "\\" else 1
        return text[at : end + 1], end + 1
    while end < len(text) and text[end] not in _ENDS:
        end += 1
    return text[at:end], end


def _past(text: str, at: int) -> int:
    while text[at] in _SPACE:
        at += 1
    return at
