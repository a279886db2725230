"""``geoquant completion``: what makes a shell complete commands, options and file names."""

from __future__ import annotations

import os

import click

from geoquant.cli.command import Command

PROGRAM = "geoquant"
VARIABLE = "_GEOQUANT_COMPLETE"
_SHELLS = ("bash", "zsh", "fish")


@click.command(
    cls=Command,
    examples=[
        "geoquant completion bash > geoquant.bash  # and source it in ~/.bashrc",
        "geoquant completion fish > geoquant.fish",
    ],
)
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes a shell complete commands and options."""
    from click.shell_completion import get_completion_class

    complete = get_completion_class(shell)
    if complete is None:
        raise click.BadParameter(f"{shell} is not known to this release of click")
    found = complete(context.find_root().command, {}, PROGRAM, VARIABLE)
    # Not source(), which asks the bash there is for its release, and warns on stdout.
    click.echo(found.source_template % found.source_vars())


def completed(command: click.Command) -> int | None:
    """Answer a shell that asks for completions, and give the exit code.

    Parameters
    ----------
    command : click.Command
        What is completed.

    Returns
    -------
    int or None
        None if no shell asks.

    Examples
    --------
    >>> from geoquant.cli import cli
    >>> from geoquant.cli.completion import completed
    >>> completed(cli) is None
    True
    """
    instruction = os.environ.get(VARIABLE)
    if not instruction:
        return None
    from click.shell_completion import shell_complete

    return shell_complete(command, {}, PROGRAM, VARIABLE, instruction)
