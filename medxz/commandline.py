"""What the command lines of the programs share: exit statuses, help that ends with an example, ids as they are typed."""

from __future__ import annotations

from typing import Any

import click

DONE, FAILED, WRONG_USAGE, NEEDS_THE_CLOUD = 0, 1, 2, 3


class Example(click.Command):
    """A command whose help ends with an example."""

    def __init__(self, *args: Any, example: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's
        _write_example(self.example, formatter)


class Examples(click.Group):
    """The program itself: its help ends with an example too, and is shown where no command was given."""

    def __init__(self, *args: Any, example: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's
        _write_example(self.example, formatter)


class Uuid(click.ParamType[str]):
    """An id, in any case of letters; it is passed on in the protocol's spelling."""

    name = "uuid"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from medxz.ids import is_uuid

        text = str(value).lower()
        if not is_uuid(text):
            self.fail(f"{value!r} is not a UUID", param, ctx)
        return text


def _write_example(example: str, formatter: click.HelpFormatter) -> None:
    formatter.write("\nExample:\n")
    for line in example.splitlines():
        formatter.write(f"  {line}\n")
