"""The directive ``command-help``: what a command of geoquant says with ``--help``.

It is read from click itself, so that the pages cannot differ from the program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import click
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from geoquant.cli import cli

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def help_of(name: str) -> str:
    """The help of a command, or with an empty name of the program."""
    settings = {"terminal_width": 90, **cli.context_settings}
    with click.Context(cli, info_name="geoquant", **settings) as context:
        if not name:
            return cli.get_help(context)
        command = cli.get_command(context, name)
        if command is None:
            raise KeyError(name)
        inner = click.Context(command, info_name=name, parent=context, **settings)
        return command.get_help(inner)


class CommandHelp(SphinxDirective):
    """Show the help of the command that the argument names."""

    optional_arguments: ClassVar[int] = 1

    def run(self) -> list[nodes.Node]:
        """Give a block of text as a terminal shows it."""
        name = self.arguments[0] if self.arguments else ""
        try:
            text = help_of(name)
        except KeyError:
            raise self.error(f"geoquant has no command {name!r}") from None
        block = nodes.literal_block(text, text, language="text")
        return [block]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
