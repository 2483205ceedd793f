"""The command line: its commands, and the exit codes of what goes wrong before they run."""

from __future__ import annotations

from collections.abc import Sequence

import click

from .check import check
from .graph import graph
from .messages import say
from .run import run
from .stopping import INTERRUPTED, USAGE


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.version_option(package_name="conveyor", message="conveyor %(version)s")
@click.pass_context
def app(context: click.Context) -> int:
    """Run pipelines, and look at them, without writing a script."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        return USAGE
    return 0


for command in run, check, graph:
    app.add_command(command)


def call(args: Sequence[str] | None) -> int:
    """Run a command and return its exit code.

    Args:
        args: What follows the name of the program; ``None`` for those of this process.
    """
    try:
        code = app.main(args, prog_name="conveyor", standalone_mode=False)
    except click.UsageError as error:
        # What click has found in the arguments; the commands say all themselves.
        context = None if type(error) is click.UsageError else error.ctx
        hint = f" (see {context.command_path} --help)" if context is not None else ""
        say(f"Error: {error.format_message()}{hint}")
        return error.exit_code
    except click.ClickException as error:
        say(f"Error: {error.format_message()}")
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    return code if isinstance(code, int) else 0
