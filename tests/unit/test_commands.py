"""docs/commands.md, held against the tables of the programs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cloud.cli import cli as cloud_program
from hub.cli import cli as hub_program
from medxz.device.cli import cli as device_program

COMMANDS = (Path(__file__).resolve().parents[2] / "docs" / "commands.md").read_text("utf-8")
PROGRAMS = {"medxz-hub": hub_program, "medxz-cloud": cloud_program, "medxz": device_program}


def commands_of(name: str, group: click.Group) -> Iterator[tuple[str, click.Command]]:
    for word, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands_of(f"{name} {word}", command)
        else:
            yield f"{name} {word}", command


ALL = [found for name, program in PROGRAMS.items() for found in commands_of(name, program)]


def told() -> dict[str, str]:
    """command -> its usage, as the document has it."""
    return dict(re.findall(r"^### `([a-z -]+)`\n+```\n(.*?)```", COMMANDS, re.MULTILINE | re.DOTALL))


def test_every_command_is_told() -> None:
    """The document has a section for each command of every program, and for no other."""
    assert sorted(told()) == sorted(name for name, _ in ALL)


@pytest.mark.parametrize(("name", "command"), ALL, ids=[name for name, _ in ALL])
def test_every_option_is_told(name: str, command: click.Command) -> None:
    """A command's usage names each of its options, and none that it has not; what must be given is not in brackets."""
    usage = told()[name]
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    known = {flag for option in options for flag in (*option.opts, *option.secondary_opts)}
    assert set(re.findall(r"--[a-z-]+", usage)) == known
    bare = re.sub(r"\[[^\]]*\]", "", usage)
    # a directory may stand in the environment, and is shown as what must be given all the same
    must = {option.opts[0] for option in options if option.required} | ({"--data"} & known)
    assert set(re.findall(r"--[a-z-]+", bare)) == must


@pytest.mark.parametrize(("name", "command"), ALL, ids=[name for name, _ in ALL])
def test_every_option_says_what_it_is(name: str, command: click.Command) -> None:
    """Each command and each of its options has a line of help."""
    assert command.help
    silent = [
        option.opts[0] for option in command.params if isinstance(option, click.Option) and not option.help
    ]
    assert silent == []
