"""How a program's command ends: status 0 done, 1 failed, 2 wrong usage or settings, 3 needs the cloud.

Whatever fails is told on stderr in a line and a hint, with `--json` as one object; never as a stack trace. A service is
told of in one line alone, which `systemctl status` shows too.
"""

from __future__ import annotations

import json
import os
import traceback
from typing import Any

import click

from medxz.commandline import DONE, FAILED, NEEDS_THE_CLOUD, WRONG_USAGE
from medxz.errors import CloudRequired, ConfigurationError, Invalid, MedxzError
from medxz.program.systemd import tell_systemd


def tell(answer: dict[str, Any], as_json: bool, text: str) -> None:
    """What was done, on stdout."""
    click.echo(json.dumps(answer) if as_json else text)


def outcome(cli: click.Group, program: str, arguments: list[str], *, as_json: bool) -> int:
    """Run it; tell what fails."""
    try:
        result = cli.main(arguments, prog_name=program, standalone_mode=False)
    except click.exceptions.Exit as end:
        return end.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _complain(program, as_json, "interrupted", "interrupted", "", FAILED)
    except click.UsageError as error:
        return _wrong_usage(program, as_json, error)
    except ConfigurationError as error:
        hint = "docs/configuration.md lists every setting"
        return _complain(
            program, as_json, "configuration", str(error), hint, WRONG_USAGE, problems=error.problems
        )
    except MedxzError as error:
        code = getattr(error, "code", "failed")
        status = {CloudRequired.code: NEEDS_THE_CLOUD, Invalid.code: WRONG_USAGE}.get(code, FAILED)
        return _complain(program, as_json, code, str(error), error.hint, status)
    except OSError as error:
        message = f"{error.filename or program}: {error.strerror or error}"
        return _complain(program, as_json, "failed", message, "", FAILED)
    except Exception as error:  # noqa: BLE001  the root of the program: no stack trace in an operator's face
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{type(error).__name__} at {where.filename}:{where.lineno}"
        return _complain(
            program, as_json, "internal", f"a mistake of ours: {place}", "please report it", FAILED
        )
    return result if isinstance(result, int) else DONE


def _wrong_usage(program: str, as_json: bool, error: click.UsageError) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return WRONG_USAGE
    hint = f"{error.ctx.command_path if error.ctx is not None else program} --help"
    return _complain(program, as_json, "usage", error.format_message(), hint, WRONG_USAGE)


def _complain(
    program: str, as_json: bool, code: str, message: str, hint: str, status: int, **more: object
) -> int:
    """What failed and what to do, on stderr."""
    in_a_line = f"{'; '.join(message.splitlines())}{f' ({hint})' if hint else ''}"
    is_service = tell_systemd(f"failed: {in_a_line}", os.environ)
    if as_json:
        click.echo(json.dumps({"code": code, "message": message, "hint": hint, **more}), err=True)
    elif is_service:
        click.echo(f"{program}: {in_a_line}", err=True)
    else:
        click.echo(f"{program}: {message}" + (f"\nhint: {hint}" if hint else ""), err=True)
    return status
