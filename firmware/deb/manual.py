"""Manual pages out of the command lines' own help, so that neither says what the other does not."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping

import click

_STATUS = (
    ("0", "It was done."),
    ("1", "It failed; a line on stderr says why, and what to do."),
    ("2", "Wrong usage or settings."),
    ("3", "It needs the cloud, which can't be reached."),
)


def page(program: str, module: str, files: Mapping[str, str], date: str, version: str) -> str:
    """The page of a program, in roff. `files`: what lies where, and what it is."""
    group = importlib.import_module(f"{module}.cli").cli
    assert isinstance(group, click.Group)
    lines = [
        f'.TH {program.upper()} 1 "{date}" "medxz {version}" "medxz"',
        ".SH NAME",
        f"{_text(program)} \\- {_text(_first_sentence(group.help or program))}",
        ".SH SYNOPSIS",
        f".B {_text(program)}",
        r".I COMMAND \fR[\fIOPTIONS\fR]",
        ".SH DESCRIPTION",
        *_paragraphs(group.help or ""),
        ".SH COMMANDS",
        *_commands(program, group),
        ".SH EXIT STATUS",
    ]
    for status, meaning in _STATUS:
        lines += [".TP", f".B {status}", _text(meaning)]
    lines.append(".SH FILES")
    for path, meaning in files.items():
        lines += [".TP", f".I {_text(path)}", _text(meaning)]
    return "\n".join(lines) + "\n"


def _commands(program: str, group: click.Group) -> Iterator[str]:
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from _commands(f"{program} {name}", command)
            continue
        yield f".SS {_text(f'{program} {name}')}"
        yield from _paragraphs(command.help or "")
        context = click.Context(command, info_name=f"{program} {name}")
        for parameter in command.get_params(context):
            if (record := parameter.get_help_record(context)) is not None:
                yield from (".TP", f".B {_text(record[0])}", _text(record[1]))
        yield from _example(command)


def _example(command: click.Command) -> Iterator[str]:
    example: str | None = getattr(command, "example", None)
    if example is not None:
        yield from (".PP", "Example:", ".RS", ".nf", *map(_text, example.splitlines()), ".fi", ".RE")


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        yield from (".PP", _text(" ".join(paragraph.split())))


def _first_sentence(text: str) -> str:
    return text.split("\n\n", maxsplit=1)[0].replace("\n", " ").strip().rstrip(".")


def _text(text: str) -> str:
    """Plain text as roff has to have it: no control line, hyphens that can be copied."""
    plain = text.replace("\\", r"\e").replace("-", r"\-").replace("\n", " ").strip()
    return rf"\&{plain}" if plain.startswith((".", "'")) else plain
