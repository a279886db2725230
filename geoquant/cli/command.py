"""How commands present themselves: examples in the help, commands in the order of the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Command(click.Command):
    """A command whose help ends with examples.

    Parameters
    ----------
    *args, **kwargs
        As for ``click.Command``.
    examples : sequence of str
        Whole command lines that work, shown as they are.

    Examples
    --------
    >>> from geoquant.cli.command import Command
    >>> Command("fit", examples=["geoquant fit latents.npy -k 64"]).examples
    ('geoquant fit latents.npy -k 64',)
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples below the options."""
        write_examples(formatter, self.examples)
        super().format_epilog(ctx, formatter)


class Commands(click.Group):
    """A group whose help lists its commands by what they are for, in the order of the work.

    Parameters
    ----------
    *args, **kwargs
        As for ``click.Group``.
    examples : sequence of str
        Whole command lines that work, shown as they are.

    Examples
    --------
    >>> import click
    >>> from geoquant.cli.command import Commands
    >>> group = Commands("geoquant")
    >>> group.add_section("Look", [click.Command("b"), click.Command("a")])
    >>> group.list_commands(click.Context(group))
    ['b', 'a']
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self._sections: dict[str, list[str]] = {}

    def add_section(self, title: str, commands: Sequence[click.Command]) -> None:
        """Add commands that go together."""
        for command in commands:
            self.add_command(command)
        self._sections[title] = [str(command.name) for command in commands]

    @property
    def sections(self) -> Mapping[str, Sequence[str]]:
        """Names of commands by the title they stand under."""
        return self._sections

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands in the order of the help."""
        return [name for names in self._sections.values() for name in names]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each section with its commands, all in one column."""
        width = max(len(name) for name in self.list_commands(ctx))
        room = formatter.width - width - 6
        for title, names in self._sections.items():
            rows = [(n.ljust(width), self.commands[n].get_short_help_str(room)) for n in names]
            with formatter.section(title):
                formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples below the commands."""
        write_examples(formatter, self.examples)
        super().format_epilog(ctx, formatter)


def write_examples(formatter: click.HelpFormatter, examples: Sequence[str]) -> None:
    """Write command lines one below the other, not wrapped, so that they can be copied.

    Examples
    --------
    >>> import click
    >>> from geoquant.cli.command import write_examples
    >>> formatter = click.HelpFormatter()
    >>> write_examples(formatter, ["geoquant demo"])
    >>> formatter.getvalue().strip().splitlines()
    ['Examples:', '  geoquant demo']
    """
    if not examples:
        return
    with formatter.section("Examples"):
        for line in examples:
            formatter.write(f"{'':{formatter.current_indent}}{line}\n")
